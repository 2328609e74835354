"""BLEU and chrF of whole suites, from the scorer to the gate: sacrebleu's numbers, paired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.estimates import ALPHAS, LEVEL, SMALL_ALPHAS
from evalkit.gate.decide import decide
from evalkit.records import Completion, Delta, Result, Run
from evalkit.scorers.repeats import score_each
from reports.summary import summarise
from tests.builders import make_info, make_run
from tests.scorers.examples import make_sample, make_scorer

SUITE = "translation/tiny"
SAYING = "the cat sat on a mat while dogs ran over green hills and sang old songs"
WORDS = SAYING.split()
NAMES = ("bleu", "chrf")


def written(segments: int, *slips: float, seed: int = 1) -> tuple[list[str], ...]:
    """References, and arms that replace each word at random with these chances."""
    rng = np.random.default_rng(seed)
    texts: list[list[str]] = [[] for _ in range(len(slips) + 1)]
    for _ in range(segments):
        words = rng.choice(WORDS, size=int(rng.integers(6, 16)))
        texts[0].append(" ".join(words))
        for mine, slip in zip(texts[1:], slips, strict=True):
            swapped = np.where(rng.uniform(size=len(words)) < slip, rng.choice(WORDS), words)
            mine.append(" ".join(swapped))
    return tuple(texts)


def translated(
    arm: str, name: str, answers: Sequence[Sequence[str]], references: Sequence[str]
) -> Run:
    """A run of a suite scored by `name`, gated by its corpus score."""
    scorer = make_scorer(name)
    metric = next(one for one in scorer.metrics if one.name == f"corpus_{name}")
    info = replace(make_info(SUITE, metric=metric.name, samples=len(references)), metrics=(metric,))
    run = make_run(arm, {SUITE: [None] * len(references)}, infos=[info], adapter=arm)
    results = tuple(
        _scored(result, name, texts, reference)
        for result, texts, reference in zip(run.results, answers, references, strict=True)
    )
    return replace(run, results=results)


def _scored(result: Result, name: str, texts: Sequence[str], reference: str) -> Result:
    completions = [
        Completion(key=f"{text} {place}", text=text, stop_reason="stop")
        for place, text in enumerate(texts)
    ]
    sample = replace(make_sample(reference, name=result.sample.id), suite=SUITE)
    scores = score_each(make_scorer(name), sample, completions)
    kept = tuple(score for score in scores if score.scorer == f"corpus_{name}")
    return Result(sample=sample, completions=tuple(completions), scores=kept)


def pair(name: str, references: list[str], base: list[str], tuned: list[str]) -> tuple[Run, Run]:
    return (
        translated("base", name, [[text] for text in base], references),
        translated("tuned", name, [[text] for text in tuned], references),
    )


def delta_of(runs: tuple[Run, Run]) -> Delta:
    return compare(*runs).deltas[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_are_sacrebleus_and_the_test_is_theirs(name: str) -> None:
    references, base, tuned = written(150, 0.30, 0.26)
    delta = delta_of(pair(name, references, base, tuned))
    corpus = sacrebleu.corpus_bleu if name == "bleu" else sacrebleu.corpus_chrf
    assert delta.base == pytest.approx(corpus(base, [references]).score)
    assert delta.tuned == pytest.approx(corpus(tuned, [references]).score)
    called, metric = ("BLEU", BLEU()) if name == "bleu" else ("chrF2", CHRF())
    named = [("base", base), ("tuned", tuned)]
    oracle = PairedTest(named, {called: metric}, [references], "ar", n_samples=2000)()[1]
    expected = oracle[called][1].p_value
    assert delta.p_value is not None
    slack = math.sqrt(expected * (1 - expected) * (1 / 2000 + 1 / 10_000))
    assert delta.p_value == pytest.approx(expected, abs=4 * slack + 1 / 2000)
    assert (delta.interval, delta.n, delta.clusters) == ("bootstrap", 150, 150)
    assert delta.low is not None
    assert delta.high is not None
    assert delta.difference is not None
    assert delta.low < delta.difference < delta.high
    assert [tail.alpha for tail in delta.tails] == [*ALPHAS, *SMALL_ALPHAS]
    assert "segments" in delta.method


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_samples_changes_nothing(name: str) -> None:
    references, base, tuned = written(60, 0.30, 0.25, seed=2)
    runs = pair(name, references, base, tuned)
    order = np.random.default_rng(3).permutation(60)
    moved = tuple(replace(run, results=tuple(run.results[i] for i in order)) for run in runs)
    assert delta_of((moved[0], moved[1])) == delta_of(runs)
    assert summarise(moved[1]) == summarise(runs[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("slip", "outcome"), [(0.2, "pass"), (0.6, "fail"), (0.33, "inconclusive")]
)
def test_the_gate_decides_on_the_difference_of_corpus_scores(
    name: str, slip: float, outcome: str
) -> None:
    references, base, tuned = written(120, 0.30, slip, seed=4)
    comparison = compare(*pair(name, references, base, tuned))
    assert decide(comparison, GateConfig(margin=2.0)).outcome == outcome


def test_equal_arms_too_few_segments_and_none_have_no_interval() -> None:
    references, base, tuned = written(9, 0.30, 0.60, seed=5)
    few = delta_of(pair("bleu", references, base, tuned))
    assert few.difference is not None
    assert (few.low, few.high, few.interval) == (None, None, "none")
    assert few.note == "too few segments for an interval, or all alike"
    runs = pair("chrf", references * 3, base * 3, tuned * 3)
    twin = replace(runs[1], results=runs[0].results)
    verdict = decide(compare(runs[0], replace(twin, results=_reworded(twin))), GateConfig())
    assert verdict.outcome == "inconclusive", "equal statistics are no proof of equal models"


def _reworded(run: Run) -> tuple[Result, ...]:
    """Other words with the same scores, or the comparison would be refused."""
    return tuple(
        replace(one, completions=(replace(one.completions[0], text="other"),))
        for one in run.results
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_arm_alone_has_the_corpus_score_and_an_interval(name: str) -> None:
    references, texts, _ = written(100, 0.30, 0.30)
    (row,) = summarise(translated("base", name, [[text] for text in texts], references))
    corpus = sacrebleu.corpus_bleu if name == "bleu" else sacrebleu.corpus_chrf
    assert row.value == pytest.approx(corpus(texts, [references]).score)
    assert row.low is not None
    assert row.high is not None
    assert row.value is not None
    assert row.low < row.value < row.high
    assert (row.n, row.missing, LEVEL) == (100, 0, 0.95)


def test_several_answers_are_one_corpus_drawn_by_sample() -> None:
    references, *texts = written(80, 0.3, 0.3, 0.25, 0.25, seed=6)
    base, tuned = list(zip(*texts[:2], strict=True)), list(zip(*texts[2:], strict=True))
    runs = (
        translated("base", "chrf", base, references),
        translated("tuned", "chrf", tuned, references),
    )
    delta = delta_of(runs)
    whole = sacrebleu.corpus_chrf([*texts[0], *texts[1]], [references * 2]).score
    assert delta.base == pytest.approx(whole)
    assert (delta.n, delta.clusters, delta.completions) == (80, 80, 2)
    assert (delta.between, delta.within_base) == (None, None)
    turned = translated("base", "chrf", [answers[::-1] for answers in base], references)
    assert delta_of((turned, runs[1])) == delta
