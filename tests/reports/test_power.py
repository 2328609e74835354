"""What can be decided, as a person and as a program read it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.config import GateConfig
from evalkit.gate.asked import Asked
from evalkit.noise import Noise
from evalkit.power import SuitePower
from reports.machine import plan_json, power_json
from reports.power import print_power, warnings
from tests.builders import make_info

GATE = GateConfig()
ASKED = Asked(
    info=make_info("knowledge/everyday"),
    metric="accuracy",
    policy="non_inferiority",
    margin=0.05,
)
SMALL = SuitePower(
    asked=ASKED,
    samples=200,
    clusters=200,
    noise=Noise(source="default", deviation=0.2**0.5, flips=0.2),
    detectable=0.0801,
    decides=False,
    chance=0.461,
    needed=507,
    least_margin=0.0133,
)
LARGE = replace(SMALL, samples=5000, clusters=5000, decides=True, detectable=0.016)
UNKNOWN = SuitePower(
    asked=replace(ASKED, info=make_info("style/length", kind="continuous")),
    samples=80,
    clusters=80,
    noise=Noise(source="unknown"),
    note="its noise is not known",
)


def _printed(*rows: SuitePower, width: int = 110) -> str:
    stream = io.StringIO()
    print_power(rows, GATE, Console(file=stream, width=width, markup=False))
    return stream.getvalue()


def test_a_suite_that_is_too_small_is_called_out_with_what_would_do() -> None:
    (told,) = warnings([SMALL, LARGE])
    assert told == (
        "knowledge/everyday: 200 samples are too few for a margin of 0.050: an unchanged model "
        "passes 46 times out of 100; a margin of 0.081 or about 507 samples would do"
    )
    text = _printed(SMALL, LARGE)
    assert "1 of 2 margins cannot be decided" in text
    assert "accept that a model as good as the base may end inconclusive" in " ".join(text.split())
    assert "one-sided at alpha 0.05, with a power of 80 %" in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_nothing_is_cut_however_narrow_the_terminal(width: int) -> None:
    text = _printed(SMALL, LARGE, UNKNOWN, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for word in ("20 % flip", "usual", "0.080", "0.013", "507", "✗ no", "✓ yes", "not known"):
        assert word in text, word


def test_all_is_well_where_every_margin_can_be_decided() -> None:
    assert "every margin can be decided" in _printed(LARGE)
    assert "!" not in _printed(LARGE)
    assert "every margin whose noise is known can be decided" in _printed(LARGE, UNKNOWN)
    assert "of no suite is it known" in _printed(UNKNOWN)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"margin": 0.01}, "200 samples can never meet a margin of 0.010, even if not one"),
        ({"margin": 0.0}, "a margin of 0 is never met by an unchanged model"),
        ({"policy": "superiority"}, "an unchanged model is refused 46 times"),
        ({"slice": "topic=war"}, "knowledge/everyday, topic=war: 200 samples"),
    ],
)
def test_why_a_margin_cannot_be_decided(changes: dict[str, object], told: str) -> None:
    asked = replace(ASKED, **changes)  # type: ignore[arg-type]
    assert told in next(warnings([replace(SMALL, asked=asked)]))


@pytest.mark.parametrize(
    ("changes", "must_be"),
    [
        ({}, "> −0.050"),
        ({"policy": "superiority"}, "> +0.050"),
        ({"policy": "equivalence"}, "± 0.050"),
        ({"policy": "absolute", "floor": 0.7}, "≥ 0.700"),
        ({"info": make_info(higher_is_better=False)}, "< +0.050"),
    ],
)
def test_what_must_be_is_said_in_the_metrics_own_direction(
    changes: dict[str, object], must_be: str
) -> None:
    asked = replace(ASKED, **changes)  # type: ignore[arg-type]
    assert must_be in _printed(replace(SMALL, asked=asked))


def test_clusters_are_shown_where_samples_belong_together() -> None:
    assert "50 clusters" in _printed(replace(SMALL, clusters=50))
    assert "clusters" not in _printed(SMALL)


def test_a_suites_name_cannot_write_on_the_terminal() -> None:
    hostile = replace(SMALL, asked=replace(ASKED, info=make_info("a\x1b[2Jb"), slice="k=\x1b[31m"))
    assert "\x1b" not in _printed(hostile)


def test_programs_read_whole_numbers_and_null_for_what_is_not_known() -> None:
    document = json.loads(power_json([SMALL, UNKNOWN], GATE))
    assert (document["schema_version"], document["alpha"], document["power"]) == (1, 0.05, 0.8)
    small, unknown = document["suites"]
    assert small == {
        "suite": "knowledge/everyday",
        "slice": "",
        "metric": "accuracy",
        "unit": "",
        "kind": "binary",
        "policy": "non_inferiority",
        "margin": 0.05,
        "threshold": -0.05,
        "floor": None,
        "ceiling": None,
        "samples": 200,
        "clusters": 200,
        "deviation": 0.2**0.5,
        "flips": 0.2,
        "noise_source": "default",
        "detectable": 0.0801,
        "decides": False,
        "chance": 0.461,
        "samples_needed": 507,
        "least_margin": 0.0133,
        "sequential": False,
        "note": "",
    }
    assert unknown["detectable"] is unknown["decides"] is unknown["deviation"] is None


def test_the_plan_of_a_comparison_holds_it_and_that_of_a_run_does_not() -> None:
    assert json.loads(plan_json([], [], [SMALL], GATE))["gate"]["suites"][0]["decides"] is False
    assert "gate" not in json.loads(plan_json([], []))


def test_a_suite_that_is_asked_whole_is_marked_beside_those_looked_at_early() -> None:
    early = replace(SMALL, sequential=True)
    assert "asked whole" in _printed(early, LARGE)
    assert "looked at after every block" in " ".join(_printed(early, LARGE).split())
    assert "asked whole" not in _printed(early)
    assert "asked whole" not in _printed(SMALL, LARGE)
