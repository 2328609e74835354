"""Which pairs people see and on which side: random, repeatable, and not to be guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.harnesses.native import subset
from evalkit.judges.blinding import blinded, blinding_key, drawn, pair_id, pair_ids, places
from tests.judges.examples import SUITE, make_arms, make_job, make_pairs

BASE, TUNED = make_arms(400)
JOB = make_job(make_pairs(BASE, TUNED))
KEY = blinding_key(BASE.manifest, TUNED.manifest, 0, "Ana")


def test_the_same_seed_draws_the_same_samples_and_a_larger_draw_begins_with_them() -> None:
    few = [one.matter.sample_id for one in drawn([JOB], 50, seed=0)]
    assert few == [one.matter.sample_id for one in drawn([JOB], 120, seed=0)][:50]
    assert len(set(few)) == 50
    assert set(few) != {one.matter.sample_id for one in drawn([JOB], 50, seed=1)}
    assert len(drawn([JOB], None, seed=0)) == 400


def test_people_are_shown_the_samples_that_a_limit_leaves_to_judge() -> None:
    samples = [one.base.sample for one in make_pairs(BASE, TUNED)]
    for seed in (0, 5):
        kept = {one.id for one in subset(samples, 50, seed)}
        assert {one.matter.sample_id for one in drawn([JOB], 50, seed)} == kept


def test_each_suite_and_rubric_is_drawn_by_itself() -> None:
    other = make_job(make_pairs(BASE, TUNED), "harmless")
    found = drawn([JOB, other], 30, seed=0)
    assert [one.rubric.name for one in found] == ["helpful"] * 30 + ["harmless"] * 30


def test_every_sample_is_as_likely_as_any_other() -> None:
    """Of 400 draws of 100 of 400, a sample is in 100 on average, with deviation sqrt(75): all of
    400 samples within five deviations, and early ones no more often than late ones."""
    counts = dict.fromkeys((one.sample_id for one in JOB.matters), 0)
    for seed in range(400):
        for one in drawn([JOB], 100, seed=seed):
            counts[one.matter.sample_id] += 1
    assert all(abs(count - 100) < 5 * 75**0.5 for count in counts.values())
    early = sum(list(counts.values())[:200])
    assert abs(early - 20_000) < 5 * (400 * 100 * 0.5 * 0.5) ** 0.5


def test_sides_are_a_fair_coin_that_differs_by_person_and_seed() -> None:
    asked = drawn([JOB], None, seed=0)
    sides = [one.left for one in blinded(asked, KEY)]
    assert abs(sides.count("base") - 200) < 5 * 10
    assert sides == [one.left for one in blinded(asked, KEY)]
    for seed, person in ((0, "Bo"), (1, "Ana")):
        key = blinding_key(BASE.manifest, TUNED.manifest, seed, person)
        same = sum(a == b.left for a, b in zip(sides, blinded(asked, key), strict=True))
        assert abs(same - 200) < 5 * 10


def test_sides_hang_on_what_no_sheet_tells() -> None:
    """With the same texts and another run behind them, the sides are others."""
    asked = drawn([JOB], None, seed=0)
    other = replace(TUNED.manifest, run_id="tuned-9876543210")
    key = blinding_key(BASE.manifest, other, 0, "Ana")
    pairs = zip(blinded(asked, KEY), blinded(asked, key), strict=True)
    assert abs(sum(a.left == b.left for a, b in pairs) - 200) < 5 * 10


def test_an_id_tells_the_sides_to_whoever_has_both_runs_and_to_nobody_else() -> None:
    matter = JOB.matters[0]
    swapped = replace(matter, base=matter.tuned, tuned=matter.base)
    # The same screen has the same id, whichever arm wrote what.
    assert pair_id(matter, "helpful", "base") == pair_id(swapped, "helpful", "tuned")
    assert len(pair_ids(matter, "helpful") | pair_ids(matter, "funny")) == 4
    found = places([JOB])
    assert len(found) == 800
    for left in ("base", "tuned"):
        assert found[pair_id(matter, "helpful", left)].left == left


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "chat/others"},
        {"sample_id": "s9"},
        {"base": ("Another answer.",)},
        {"then": ("And then?",)},
        {"turns": ()},
    ],
)
def test_other_content_has_another_id(change: dict[str, object]) -> None:
    matter = JOB.matters[0]
    other = replace(matter, **change)  # type: ignore[arg-type]
    assert not pair_ids(matter, "helpful") & pair_ids(other, "helpful")


def test_a_shown_pair_has_the_answers_on_its_sides() -> None:
    for one in blinded(drawn([JOB], 20, seed=0), KEY):
        left, right = one.shown
        assert left == (one.matter.base if one.left == "base" else one.matter.tuned)
        assert {left, right} == {one.matter.base, one.matter.tuned}
        assert one.matter.suite == SUITE
