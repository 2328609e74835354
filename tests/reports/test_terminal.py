"""The verdict at a terminal: no word that matters is cut, no colour stands alone."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.errors import ExitCode
from evalkit.records import Check, Run, Verdict
from reports.terminal import open_console, print_findings, print_run, print_verdict
from tests.reports import hostile
from tests.reports.examples import coin_suite, make_run, make_verdict, style_suite

ARMS = ("base", "tuned-model")


def _console(width: int, **options: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width, highlight=False, markup=False, **options), stream  # type: ignore[arg-type]


def _printed(width: int) -> str:
    console, stream = _console(width)
    suites = [
        style_suite(ARMS),
        coin_suite("knowledge/everyday-en", dict.fromkeys(ARMS, 0.5), n=30),
        coin_suite("chat/answers", {ARMS[0]: 0.9, ARMS[1]: 0.3}),
    ]
    print_verdict(*make_verdict(suites, ARMS), console=console)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_every_word_that_matters_is_whole_at_any_width(width: int) -> None:
    text = _printed(width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("style/rednote-zh", "knowledge/everyday-en", "chat/answers", "style_distance ↓",
                 "✓ pass", "? inconclusive", "✗ fail", "lower is better"):  # fmt: skip
        assert word in text
    assert "…" not in text


def test_the_last_lines_say_verdict_exit_code_and_what_to_do() -> None:
    lines = [line.rstrip() for line in _printed(120).splitlines() if line.strip()]
    start = next(i for i, line in enumerate(lines) if line.startswith("Verdict"))
    assert "FAIL" in lines[start]
    assert lines[start + 1].startswith("Exit code  1, at least one suite did not pass")
    assert lines[start + 2].startswith("What to do Do not ship tuned-model: chat/answers failed.")


def test_a_difference_and_its_interval_are_the_records_own() -> None:
    suite = coin_suite("chat/answers", {ARMS[0]: 0.9, ARMS[1]: 0.3})
    comparisons, verdicts = make_verdict([suite], ARMS)
    delta = comparisons[0].deltas[0]
    console, stream = _console(120)
    print_verdict(comparisons, verdicts, console=console)
    assert delta.low is not None
    assert delta.high is not None
    expected = f"[{delta.low:+.3f}, {delta.high:+.3f}]".replace("-", "−")
    assert expected in stream.getvalue()


def test_outcomes_keep_their_words_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console, stream = _console(100, force_terminal=True)
    print_verdict(*make_verdict([style_suite(ARMS)], ARMS), console=console)
    assert "✓ pass" in stream.getvalue()
    assert "\x1b[3" not in stream.getvalue()  # no colour; bold and dim may stay


def test_a_canary_that_is_not_well_is_told() -> None:
    comparisons, verdicts = make_verdict([style_suite(ARMS)], ARMS)
    check = Check(name="chat template", status="warning", message="differs")
    told = replace(verdicts[0], checks=(check,))
    console, stream = _console(80)
    print_verdict(comparisons, [told], console=console)
    assert "canary warns: chat template: differs" in stream.getvalue()


def test_missing_scores_are_told_beside_the_verdict() -> None:
    suite = coin_suite("chat/answers", dict.fromkeys(ARMS, 0.5))
    values = {arm: [list(row) for row in rows] for arm, rows in suite.values.items()}
    values[ARMS[1]][0] = [None]
    console, stream = _console(100)
    print_verdict(*make_verdict([replace(suite, values=values)], ARMS), console=console)
    assert "chat/answers: 1 without a score in tuned-model" in stream.getvalue()


def test_several_arms_have_a_table_each_and_the_hardest_decides() -> None:
    arms = ("base", "leaky", "mixed")
    suite = coin_suite("chat/answers", {"base": 0.8, "leaky": 0.3, "mixed": 0.95})
    comparisons, verdicts = make_verdict([suite], arms)
    console, stream = _console(100)
    print_verdict(comparisons, verdicts, console=console)
    text = stream.getvalue()
    assert "leaky against base" in text
    assert "mixed against base" in text
    assert "✗ leaky: fail (1 suite: 1 failed)" in text
    assert "✓ mixed: pass (1 suite: 1 passed)" in text
    assert "Exit code  1" in text


def test_a_suite_that_was_not_evaluated_has_no_numbers() -> None:
    comparisons, verdicts = make_verdict([style_suite(ARMS)], ARMS)
    lone = replace(verdicts[0].suites[0], delta=None, outcome="fail", reason="was not evaluated")
    verdict = Verdict(
        outcome="fail", exit_code=ExitCode.FAIL, suites=(lone,), checks=(), advice="Do not ship."
    )
    console, stream = _console(80)
    print_verdict(comparisons, [verdict], console=console)
    assert "was not evaluated" in stream.getvalue()


def test_terminal_escapes_in_names_do_not_reach_the_terminal() -> None:
    suite = replace(coin_suite("chat/answers", dict.fromkeys(ARMS, 0.5)), name=hostile.CONTROLS)
    console, stream = _console(80)
    print_verdict(*make_verdict([suite], ARMS), console=console)
    assert not set("\x00\x07\x1b\x85") & set(stream.getvalue())


def test_a_pipe_gets_room_for_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console(io.StringIO()).width == 120
    monkeypatch.setenv("COLUMNS", "90")
    assert open_console(io.StringIO()).width == 90


def _run() -> Run:
    return make_run("tuned", [coin_suite("chat/answers", {"tuned": 0.5}), style_suite(("tuned",))])


def test_one_run_shows_every_metric_with_its_interval() -> None:
    console, stream = _console(100)
    print_run(_run(), console=console)
    text = stream.getvalue()
    for word in ("chat/answers", "accuracy", "style_distance ↓", "emoji_per_100", "missing"):
        assert word in text


def test_findings_say_what_is_missing() -> None:
    console, stream = _console(80)
    findings = [
        Check(name="python", status="ok", message="3.11.7"),
        Check(name="[train]", status="warning", message="trl not installed: pip install …"),
    ]
    print_findings(findings, console=console)
    assert "✓" in stream.getvalue()
    assert "[train]" in stream.getvalue()
    assert "trl not installed" in stream.getvalue()
