"""Where the time went: what was not measured is a dash, and the floor is what it is defined as."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.records import Manifest
from reports.machine import comparison_json, run_json
from reports.profile import STAGES, floor_text, print_profile, profiles
from tests.reports.examples import coin_suite, make_run, make_verdict

READING = {
    "load_seconds": 3.0,
    "tokenise_seconds": 0.5,
    "plan_seconds": 0.25,
    "prefill_seconds": 2.0,
    "score_seconds": 6.0,
    "decode_seconds": 0.0,
    "store_seconds": 0.125,
    "tokens_asked": 73_000.0,
    "tokens_unique": 4_100.0,
    "tokens_prefilled": 1_000.0,
    "tokens_scored": 3_000.0,
    "tokens_generated": 0.0,
    "packets": 12.0,
    "flop_done": 8.0e11,
    "flop_unique": 6.0e11,
    "peak_flop_per_second": 1.0e11,
    "peak_memory_bytes": 2.0 * 2**30,
    "weights_bytes": 0.5 * 2**30,
}


def _manifest(name: str, measures: Mapping[str, float], seconds: float = 12.0) -> Manifest:
    manifest = make_run(name, [coin_suite("s", {name: 0.5}, n=4)]).manifest
    return replace(manifest, measures={**measures, "seconds": seconds})


def _printed(*manifests: Manifest) -> str:
    stream = io.StringIO()
    print_profile(manifests, Console(file=stream, width=100, highlight=False, markup=False))
    return stream.getvalue()


def _row(text: str, stage: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [stage])


def test_every_stage_has_its_seconds_tokens_and_speed() -> None:
    text = _printed(_manifest("base", READING))
    assert _row(text, "load") == ["load", "3.00"]
    assert _row(text, "prefill") == ["prefill", "2.00", "1,000", "500"]
    assert _row(text, "score") == ["score", "6.00", "3,000", "500"]
    assert _row(text, "total") == ["total", "12.00"]
    assert "73,000 asked, 4,100 unique, in 12 packets" in text
    assert "100.0 GFLOP/s while reading" in text
    assert "2.00 GiB at most; the weights are 0.50 GiB" in text


def test_the_floor_is_the_unique_work_at_the_measured_peak_over_the_time_spent_reading() -> None:
    (one,) = profiles([_manifest("base", READING)])
    assert one.floor_seconds == pytest.approx(6.0)
    assert one.floor_share == pytest.approx(0.75)
    assert one.flop_per_second == pytest.approx(1.0e11)
    assert floor_text(one) == (
        "Reading took 8.00 s, and at the peak the unique tokens alone would need 6.00 s: 75 % of "
        "the floor was reached."
    ).replace(" %", "%")


def test_with_generated_texts_the_floor_is_said_to_be_that_of_reading() -> None:
    generated = {**READING, "decode_seconds": 9.0, "tokens_generated": 450.0}
    (one,) = profiles([_manifest("base", generated)])
    assert one.floor_share == pytest.approx(0.75)
    assert "for the reading part only" in floor_text(one)


@pytest.mark.parametrize("key", [key for key in READING if key.endswith("_seconds")])
def test_what_was_not_measured_is_a_dash_and_never_zero(key: str) -> None:
    measures = {name: value for name, value in READING.items() if name != key}
    assert _row(_printed(_manifest("base", measures)), key.removesuffix("_seconds"))[1] == "–"


def test_a_peak_that_was_not_measured_leaves_the_floor_unknown() -> None:
    measures = {k: v for k, v in READING.items() if k != "peak_flop_per_second"}
    (one,) = profiles([_manifest("base", measures)])
    assert (one.floor_seconds, one.floor_share) == (None, None)
    assert "is not known" in floor_text(one)
    assert "Peak       –" in _printed(_manifest("base", measures))


def test_answers_that_were_all_stored_reach_no_floor() -> None:
    stored = {**READING, "tokens_prefilled": 0.0, "tokens_scored": 0.0, "prefill_seconds": 0.0,
              "score_seconds": 0.0, "flop_done": 0.0, "flop_unique": 0.0}  # fmt: skip
    (one,) = profiles([_manifest("base", stored)])
    assert floor_text(one) == "Nothing was computed: every answer was stored already."


def test_arms_of_one_engine_are_shown_once_with_the_longest_total() -> None:
    later = {**READING, "peak_memory_bytes": 3.0 * 2**30}  # taken when the second arm was done
    arms = [_manifest("base", READING, 11.0), _manifest("tuned", later, 12.5)]
    other = _manifest("other", {**READING, "load_seconds": 4.0})
    assert [one.arms for one in profiles([*arms, other])] == [("base", "tuned"), ("other",)]
    text = _printed(*arms, other)
    assert text.count("Where the time went") == 2
    assert "base, tuned" in text
    assert "3.00 GiB at most" in text
    assert _row(text, "total") == ["total", "12.50"]


def test_a_model_that_is_not_computed_here_has_no_stages() -> None:
    text = _printed(_manifest("base", {}))
    assert "Nothing was measured" in text
    assert "0.00" not in text


def test_answers_from_elsewhere_have_no_floor() -> None:
    text = _printed(_manifest("base", {"tokenise_seconds": 0.5, "store_seconds": 0.1}))
    assert _row(text, "score") == ["score", "–", "–", "–"]
    assert "The answers came from elsewhere" in text
    assert "Floor" not in text


def test_the_json_has_the_profile_only_where_it_was_asked_for() -> None:
    comparisons, verdicts = make_verdict([coin_suite("s", {"base": 0.5, "tuned": 0.5})])
    assert "profile" not in json.loads(comparison_json(comparisons, verdicts))
    (both,) = json.loads(comparison_json(comparisons, verdicts, profiled=True))["profile"]
    assert both["arms"] == ["base", "tuned"]
    assert [stage["stage"] for stage in both["stages"]] == list(STAGES)
    assert both["floor_share"] is None
    run = make_run("base", [coin_suite("s", {"base": 0.5}, n=4)])
    run = replace(run, manifest=replace(run.manifest, measures=READING))
    (one,) = json.loads(run_json(run, profiled=True))["profile"]
    assert one["floor_share"] == pytest.approx(0.75)
    assert one["stages"][3] == {
        "stage": "prefill", "seconds": 2.0, "tokens": 1000.0, "tokens_per_second": 500.0,
    }  # fmt: skip
    assert one["seconds"] is None
