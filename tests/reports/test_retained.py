"""The matrix of what was retained and gained: its counts are those of the samples themselves."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.records import Comparison, SuiteInfo
from reports.html import report_html
from reports.retained import cells, retained, rows
from reports.terminal import print_verdict
from tests.builders import make_info, make_run

RNG = random.Random(4)
BASE = [float(RNG.random() < 0.7) for _ in range(60)]
TUNED = [float(RNG.random() < 0.6) for _ in range(60)]


def compared(
    info: SuiteInfo, base: list[float | None], tuned: list[float | None], aspect: str = "reasoning"
) -> Comparison:
    infos = [replace(info, aspect=aspect)]
    runs = [
        make_run("base", {info.name: base}, infos=infos),
        make_run("tuned", {info.name: tuned}, infos=infos, adapter="a"),
    ]
    return compare(*runs)


def counted(right: float) -> tuple[int, ...]:
    """The four fields of the table, from the samples: both, lost, gained, neither."""
    pairs = [(b == right, t == right) for b, t in zip(BASE, TUNED, strict=True)]
    return tuple(pairs.count(one) for one in [(True, True), (True, False), (False, True),
                                              (False, False)])  # fmt: skip


@pytest.mark.parametrize(("higher", "right"), [(True, 1.0), (False, 0.0)])
def test_the_four_counts_are_those_of_the_samples(higher: bool, right: float) -> None:
    info = make_info("a/b", higher_is_better=higher)
    (one,) = retained(compared(info, [*BASE], [*TUNED]))
    both, lost, gained, neither = counted(right)
    assert (one.both, one.lost, one.gained, one.neither) == (both, lost, gained, neither)
    assert one.share == pytest.approx(both / (both + lost))
    assert both + lost + gained + neither == 60
    assert min(both, lost, gained, neither) > 0


@pytest.mark.parametrize(("higher", "share"), [(True, 0.75), (False, 4 / 3)])
def test_a_score_that_is_not_right_or_wrong_is_a_share_alone(higher: bool, share: float) -> None:
    info = make_info("a/b", kind="continuous", higher_is_better=higher)
    (one,) = retained(compared(info, [0.8, 0.4, 1.2], [0.6, 0.3, 0.9]))
    assert one.share == pytest.approx(share)
    assert (one.both, one.lost, one.gained, one.neither) == (None, None, None, None)
    assert cells(one)[3:8] == ["–", "–", "–", "–", f"{100 * share:.1f} %"]


def test_a_base_that_got_nothing_right_had_nothing_to_retain() -> None:
    (one,) = retained(compared(make_info("a/b"), [0.0] * 4, [1.0, 0.0, 0.0, 0.0]))
    assert (one.both, one.lost, one.gained, one.neither, one.share) == (0, 0, 1, 3, None)


def test_samples_without_a_score_are_in_no_count() -> None:
    (one,) = retained(compared(make_info("a/b"), [1.0, 1.0, 0.0], [1.0, None, 0.0]))
    assert (one.both, one.lost, one.gained, one.neither) == (1, 0, 0, 1)


def test_reports_show_the_matrix_of_a_set_and_of_nothing_else() -> None:
    info = make_info("a/b")
    for aspect in ("reasoning <b>", ""):
        comparison = compared(info, [*BASE], [*TUNED], aspect)
        verdict = decide(comparison, GateConfig())
        page = report_html([comparison], [verdict])
        stream = io.StringIO()
        print_verdict([comparison], [verdict], console=Console(file=stream, width=120))
        assert ("Retained and gained" in page) == bool(aspect)
        assert ("wrong in both" in stream.getvalue()) == bool(aspect)
        assert bool(rows(comparison)) == bool(aspect)
        if aspect:
            assert "reasoning &lt;b&gt;" in page
            assert f">{counted(1.0)[0]}</td>" in page
            assert "reasoning <b>" in stream.getvalue()
