"""The page "Judge" and the judgements of "Side by side", run in this process."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from streamlit.testing.v1 import AppTest

import reports.dashboard
from evalkit.judges.preferences import preferences
from evalkit.records import Judgement
from evalkit.store.judgements import read_judgements
from reports.judging.words import headline
from tests.reports.dashboard.judgedfolders import NOTES, make_judged
from tests.reports.dashboard.runfolders import make_runs

APP = Path(reports.dashboard.__file__).with_name("app.py")
JUDGE, SIDE_BY_SIDE = "views/judge.py", "views/side_by_side.py"
Start: TypeAlias = Callable[..., AppTest]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judged") / "runs"
    make_judged(root)
    return root


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Open a page of the dashboard over a folder, as `launch` would."""

    def started(root: Path, page: str, **query: str) -> AppTest:
        monkeypatch.setattr("sys.argv", ["app.py", "--runs", str(root)])
        # Streamlit leaves its script there, and every process that is spawned later would run it.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(str(APP), default_timeout=30)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        app.switch_page(page).run()
        assert not app.exception
        assert not app.warning, "Streamlit tells of a deprecation here"
        return app

    return started


def _text(app: AppTest) -> str:
    return "\n".join(element.value for element in app.html)


def _subheaders(app: AppTest) -> list[str]:
    return [one.value for one in app.subheader]


def _counter(app: AppTest) -> str:
    return next(e.value for e in app.html if " of " in e.value and ">1 of" in e.value)


def _lines(app: AppTest) -> list[str]:
    return [
        one.label.replace("\u2060", "").replace("\\", "")
        for one in app.button
        if str(one.key).startswith("line-")
    ]


def _said(root: Path) -> tuple[Judgement, ...]:
    return read_judgements(root / "compare" / "judged")


def test_the_page_says_first_how_far_the_judges_can_be_trusted(start: Start, judged: Path) -> None:
    shown = _text(start(judged, JUDGE))
    assert "✗ Judge results not trustworthy" in shown
    assert "bravo goes by the place and not by the answer" in shown
    assert "The 2 judges together prefer smollm2-rednote in" in shown
    assert shown.index("not trustworthy") < shown.index("together prefer")
    assert "speaks to the <judge>" not in shown
    for head in ("alpha", "bravo", "What it means", "Good"):
        assert f">{head}</th>" in shown


def test_flips_come_first_and_open_with_both_orders(start: Start, judged: Path) -> None:
    words = preferences(_said(judged))
    flips = [one for one in words if one.outcome == "flip"]
    app = start(judged, JUDGE)
    assert f"1 of {len(words)}" in _counter(app)
    lines = _lines(app)
    assert [line.startswith(":orange[⇄ flip]") for line in lines[: len(flips)]] == [True] * min(
        len(flips), 20
    )
    asked = f"写一篇关于北京秋天的笔记，第{int(flips[0].sample_id[-3:])}篇"
    assert f"{flips[0].judge}] · {asked}" in lines[0]
    shown = _text(app)
    assert "smollm2 shown first" in shown
    assert "smollm2-rednote shown first" in shown
    assert "another winner in the other order: it counts half" in shown


def test_filters_narrow_the_list_of_pairs(start: Start, judged: Path) -> None:
    words = preferences(_said(judged))
    app = start(judged, JUDGE)
    app.segmented_control(key="outcome").set_value("Missing").run()
    assert "1 of 2" in _counter(app)
    assert "∅ unreadable" in _text(app)
    assert "no verdict in “I cannot decide”" in _text(app)
    app.segmented_control(key="outcome").set_value("All").run()
    app.selectbox(key="by").select("alpha").run()
    assert f"1 of {len(words) // 2}" in _counter(app)
    app.text_input(key="words").set_value("第7篇").run()
    assert "1 of 1" in _counter(app)
    assert "第7篇" in _lines(app)[0]
    app.text_input(key="words").set_value("nowhere to be found").run()
    assert "No judged pair fits these filters." in _text(app)


def test_flagged_answers_are_listed_linked_and_filtered(start: Start, judged: Path) -> None:
    app = start(judged, JUDGE)
    assert "2 of smollm2-rednote" in _text(app)
    links = [str(one.proto) for one in app.get("page_link")]
    assert sum("sample=note-003" in one for one in links) == 1
    app.segmented_control(key="outcome").set_value("Flagged").run()
    assert "1 of 4" in _counter(app), "two samples, by two judges"
    shown = _text(app)
    assert "an attempt on the judge? speaks to the &lt;judge&gt;" in shown


def test_an_address_opens_one_judges_word_on_its_sample(start: Start, judged: Path) -> None:
    app = start(judged, JUDGE, sample="note-007", said="bravo", order="Suite order")
    assert app.query_params["sample"] in ("note-007", ["note-007"])
    shown = _text(app)
    (expected,) = [
        one.rationale
        for one in _said(judged)
        if (one.sample_id, one.judge, one.order, one.stripped)
        == ("note-007", "bravo", "tuned_first", False)
    ]
    assert expected in shown
    assert "第7篇" in shown, "the answers themselves are read, too"


def test_next_and_previous_walk_the_list(start: Start, judged: Path) -> None:
    app = start(judged, JUDGE)
    assert app.button(key="previous").disabled
    first = app.query_params["sample"]
    app.button(key="next").click().run()
    assert "2 of 48" in _text(app)
    assert (app.query_params["sample"], app.query_params["said"]) != (first, "alpha")
    app.button(key="previous").click().run()
    assert app.query_params["sample"] == first


def test_what_a_judge_wrote_is_escaped(start: Start, judged: Path) -> None:
    for page, query in (
        (JUDGE, {"sample": "note-001", "said": "alpha"}),
        (SIDE_BY_SIDE, {"of": NOTES.name, "sample": "note-001"}),
    ):
        shown = _text(start(judged, page, **query))
        for raw in ("<script", "<img", "<b>better", "<h1", "\u202e", "\x00"):
            assert raw not in shown
        assert "&lt;script&gt;document.title" in shown
        assert "&lt;b&gt;better&lt;/b&gt;" in shown


def test_side_by_side_sorts_by_the_judges_preference_and_shows_their_words(
    start: Start, judged: Path
) -> None:
    app = start(judged, SIDE_BY_SIDE, suite=NOTES.name)
    lines = _lines(app)
    assert not any("no score" in line for line in lines), "no run holds it, the judgements do"
    words: dict[str, list[float]] = {}
    for one in preferences(_said(judged)):
        if one.value is not None:
            words.setdefault(one.sample_id, []).append(one.value)
    means = {sample: sum(found) / len(found) for sample, found in words.items()}
    assert f"{2 * min(means.values()) - 1:+.2f}".replace("-", "−") in lines[0]
    shown = _text(app)
    assert "smollm2 shown first" in shown
    assert "ek-bare" in shown, "the same without emoji and markup, folded away"


def test_a_comparison_without_a_judge_says_how_to_have_one(start: Start, tmp_path: Path) -> None:
    make_runs(tmp_path)
    assert "No judge was asked" in _text(start(tmp_path, JUDGE))
    assert "What the judges said" not in _subheaders(start(tmp_path, SIDE_BY_SIDE))


def test_figures_outlive_a_lost_file_of_judgements(start: Start, tmp_path: Path) -> None:
    folder = make_judged(tmp_path)
    (folder / "judgements.jsonl").unlink()
    for page in (JUDGE, SIDE_BY_SIDE):
        shown = _text(start(tmp_path, page))
        assert shown.count("What the judges said is not here: no judgements.jsonl beside") == 1
    assert "together prefer" in _text(start(tmp_path, JUDGE))


def test_a_damaged_file_of_judgements_is_a_note_and_not_a_crash(
    start: Start, tmp_path: Path
) -> None:
    folder = make_judged(tmp_path)
    (folder / "judgements.jsonl").write_text('{"schema_version": 1, "judgements": 9}\n{"suite"')
    assert "judgements.jsonl cannot be read" in _text(start(tmp_path, JUDGE))


def test_a_name_in_a_comparison_leads_to_no_file_elsewhere(start: Start, tmp_path: Path) -> None:
    folder = make_judged(tmp_path / "runs")
    (folder / "judgements.jsonl").rename(tmp_path / "judgements.jsonl")
    file = folder / "comparison.json"
    kept = json.loads(file.read_text())
    kept["comparisons"][0]["judgings"][0]["file"] = "../../../judgements.jsonl"
    file.write_text(json.dumps(kept))
    assert "no judgements.jsonl beside comparison.json" in _text(start(tmp_path / "runs", JUDGE))


def test_answers_that_were_lost_leave_the_judges_words(start: Start, tmp_path: Path) -> None:
    make_judged(tmp_path)
    (tmp_path / "smollm2-0123456789" / "manifest.json").unlink()
    shown = _text(start(tmp_path, JUDGE))
    assert "no run folder smollm2-0123456789" in shown
    assert re.search(r"smollm2(-rednote)? shown first", shown)


def test_the_verdict_page_tells_what_the_judges_said(start: Start, judged: Path) -> None:
    from evalkit.store.runs import read_comparisons

    (comparison,) = read_comparisons(judged / "compare" / "judged" / "comparison.json")
    shown = _text(start(judged, "views/verdict.py"))
    assert headline(comparison, comparison.judgings[0]) in shown
    assert "preferred by the judge (rednote)" in shown
    assert "win rate" in shown
