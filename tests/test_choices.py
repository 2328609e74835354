"""Flips between wrong answers, and how far the choices' probabilities moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from evalkit.choices import ChoiceFlips, choice_flips, divergences
from evalkit.compare import compare
from evalkit.records import Completion, Metric, Pair, Result, Run, Sample
from tests.builders import make_info, make_run
from tests.scorers.examples import make_scorer

ACCURACY = Metric(name="accuracy", kind="binary")
SUITE = "knowledge/tiny"
CHOICES = ("ox", "a horse", "the donkey")


def _result(
    likelihoods: Sequence[float], number: int = 0, choices: tuple[str, ...] = CHOICES
) -> Result:
    """A question whose first choice is right, scored by the real scorer."""
    sample = Sample(id=f"s{number}", suite=SUITE, prompt="?", choices=choices, answer=0)
    completions = tuple(Completion(key=str(i), logprobs=(v,)) for i, v in enumerate(likelihoods))
    scores = make_scorer("choice_accuracy").score(sample, completions)
    return Result(sample=sample, completions=completions, scores=tuple(scores))


def _pair(base: Sequence[float], tuned: Sequence[float]) -> Pair:
    return Pair(base=_result(base), tuned=_result(tuned))


def _apart(pair: Pair) -> float:
    one, other = ([c.loglikelihood for c in arm.completions] for arm in (pair.base, pair.tuned))
    return float(stats.entropy(special.softmax(one), special.softmax(other)))


@given(
    st.lists(st.tuples(st.floats(-60, 0), st.floats(-60, 0)), min_size=2, max_size=6),
)
def test_the_divergence_is_scipys_entropy(rows: list[tuple[float, float]]) -> None:
    base, tuned = np.array(rows).T
    oracle = stats.entropy(special.softmax(base), special.softmax(tuned))
    assert divergences(base[None], tuned[None])[0] == pytest.approx(oracle, abs=1e-9)


def test_a_divergence_has_a_direction_and_stays_finite() -> None:
    base, tuned = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    by_hand = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert divergences(base, tuned)[0] == pytest.approx(by_hand)
    assert divergences(tuned, base)[0] != pytest.approx(by_hand)
    assert divergences(base, base)[0] == 0.0
    far = divergences(np.array([[0.0, -2e3]]), np.array([[-2e3, 0.0]]))[0]
    assert far == pytest.approx(2e3)


def test_only_another_wrong_answer_is_a_change() -> None:
    right, horse, donkey = (-1.0, -2.0, -3.0), (-3.0, -1.0, -2.0), (-3.0, -2.0, -1.0)
    pairs = [
        _pair(right, horse),
        _pair(horse, right),
        _pair(horse, donkey),
        _pair(donkey, donkey),
        _pair(donkey, horse),
    ]
    found = choice_flips(ACCURACY, pairs)
    assert found is not None
    assert found.changed == 2
    apart = [_apart(pair) for pair in pairs]
    assert found.divergence == pytest.approx(np.mean(apart))
    assert choice_flips(ACCURACY, pairs[::-1]) == pytest.approx(found)


def test_each_accuracy_chooses_by_its_own_length() -> None:
    """By sum "a horse" stays, by character it gives way to "the donkey"; "ox" is never chosen."""
    pair = _pair((-90.0, -7.0, -11.0), (-90.0, -7.0, -9.0))
    by_sum = choice_flips(ACCURACY, [pair])
    by_character = choice_flips(replace(ACCURACY, name="accuracy_char"), [pair])
    assert by_sum is not None
    assert by_character is not None
    assert (by_sum.changed, by_character.changed) == (0, 1)
    assert by_sum.divergence == by_character.divergence
    unknown = choice_flips(replace(ACCURACY, name="mine"), [pair])
    assert unknown == ChoiceFlips(None, by_sum.divergence)


def test_questions_may_have_different_numbers_of_choices() -> None:
    three = _pair((-3.0, -1.0, -2.0), (-3.0, -2.0, -1.0))
    one = _result((-2.0, -1.0), choices=CHOICES[:2])
    other = _result((-1.5, -1.0), choices=CHOICES[:2])
    two = Pair(base=one, tuned=other)
    found = choice_flips(ACCURACY, [three, two])
    assert found is not None
    assert found.changed == 1
    assert found.divergence == pytest.approx((_apart(three) + _apart(two)) / 2)


def test_without_likelihoods_nothing_is_said() -> None:
    pair = _pair((-1.0, -2.0, -3.0), (-2.0, -1.0, -3.0))
    text = replace(pair.tuned, completions=(Completion(key="0", text="ox"),))
    broken = replace(pair.tuned.completions[0], logprobs=(-math.inf,))
    without = replace(pair.tuned, completions=(broken, *pair.tuned.completions[1:]))
    assert choice_flips(ACCURACY, []) is None
    assert choice_flips(ACCURACY, [replace(pair, tuned=text)]) is None
    assert choice_flips(ACCURACY, [pair, replace(pair, tuned=without)]) is None
    assert choice_flips(Metric(name="choice_probability"), [pair]) is None


def _run(name: str, rows: Sequence[Sequence[float]], adapter: str = "") -> Run:
    infos = [make_info(SUITE)]
    made = make_run(name, {SUITE: [0.0] * len(rows)}, infos=infos, adapter=adapter)
    return replace(made, results=tuple(_result(row, i) for i, row in enumerate(rows)))


def test_a_comparison_tells_flips_that_accuracy_does_not_see() -> None:
    base = _run("base", [(-3.0, -1.0, -2.0)] * 4)
    tuned = _run("tuned", [(-3.0, -2.0, -1.0)] * 3 + [(-1.0, -2.0, -3.0)], adapter="a")
    delta = compare(base, tuned).deltas[0]
    assert (delta.gained, delta.lost, delta.changed) == (1, 0, 3)
    assert delta.divergence is not None
    assert delta.divergence > 0.1
    free = compare(
        make_run("base", {SUITE: [1.0, 0.0]}), make_run("tuned", {SUITE: [0.0, 0.0]}, adapter="a")
    ).deltas[0]
    assert free.changed is None
    assert free.divergence is None
