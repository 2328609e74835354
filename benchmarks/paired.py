"""What `benchmarks.statistics` measures: suites of made-up paired samples, estimated one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.compare import join, suite_deltas
from evalkit.estimates import Scored, estimated, grouped
from evalkit.records import Delta, Manifest, Metric, Result, Run, Sample, Score, SuiteInfo
from evalkit.stats.base import Reals
from evalkit.stats.corpus import bleu_score, chrf_score, corpus_difference

BINARY = Metric(name="accuracy", kind="binary", least=0.0, most=1.0)
CONTINUOUS = Metric(name="similarity", least=0.0, most=1.0)
PERPLEXITY = Metric(name="perplexity", kind="perplexity", higher_is_better=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of suite: its metric, its values [2, n], and into how many clusters it falls."""

    name: str
    metric: Metric
    draw: Callable[[np.random.Generator, int], Reals]
    clusters: Callable[[int], int] = lambda _: 0
    slices: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One kind of suite: samples, and processor seconds of joining, of deltas, of the estimate."""

    name: str
    samples: int
    join: float
    deltas: float
    estimates: float


def _binary(rng: np.random.Generator, n: int) -> Reals:
    base = rng.random(n) < 0.6
    flips = rng.random(n) < 0.1
    return np.stack([base, base ^ flips]).astype(np.float64)


def _continuous(rng: np.random.Generator, n: int) -> Reals:
    return rng.beta(2, 2, (2, n))


def _averaged(rng: np.random.Generator, n: int) -> Reals:
    return rng.binomial(5, rng.beta(0.5, 0.5, n), (2, n)) / 5


SHAPES = (
    Shape(name="binary", metric=BINARY, draw=_binary),
    Shape(name="binary, 10 slices", metric=BINARY, draw=_binary, slices=10),
    Shape(name="continuous", metric=CONTINUOUS, draw=_continuous),
    Shape(name="means of 5 completions", metric=BINARY, draw=_averaged),
    Shape(name="clusters of 10", metric=BINARY, draw=_binary, clusters=lambda n: n // 10),
    Shape(name="30 clusters", metric=CONTINUOUS, draw=_continuous, clusters=lambda _: 30),
    Shape(name="perplexity", metric=PERPLEXITY, draw=_continuous),
)
TWENTY = {
    "binary": 8,
    "binary, 10 slices": 1,
    "continuous": 4,
    "means of 5 completions": 2,
    "clusters of 10": 2,
    "30 clusters": 1,
    "perplexity": 2,
}
"""How many of twenty suites are of which kind."""


def measure(samples: int, suites: Mapping[str, int]) -> list[Taken]:
    """So many suites of each kind, one after the other, none of which stays in memory."""
    shapes = {shape.name: shape for shape in SHAPES}
    return [
        _measured(shapes[name], samples, seed)
        for name, times in suites.items()
        for seed in range(times)
    ]


def _measured(shape: Shape, n: int, seed: int) -> Taken:
    info, base, tuned, scored = _made(shape, n, np.random.default_rng(seed))
    started = time.process_time()
    pairs, _ = join(base, tuned, [info.name])
    joined = time.process_time()
    suite_deltas(info, pairs)
    ended = time.process_time()
    delta = Delta(
        suite="", metric=shape.metric, base=None, tuned=None, difference=None, low=None, high=None
    )
    estimated(delta, scored)
    return Taken(
        name=shape.name,
        samples=n,
        join=joined - started,
        deltas=ended - joined,
        estimates=time.process_time() - ended,
    )


def _made(shape: Shape, n: int, rng: np.random.Generator) -> tuple[SuiteInfo, Run, Run, Scored]:
    info = SuiteInfo(
        name=shape.name,
        title="",
        language="en",
        task="generate",
        metric=shape.metric.name,
        metrics=(shape.metric,),
        fingerprint="",
        path="",
        samples=n,
    )
    groups = shape.clusters(n)
    names = [f"cluster {place}" for place in rng.integers(0, groups, n)] if groups else [""] * n
    topics = (
        [f"topic {place}" for place in rng.integers(0, shape.slices, n)] if shape.slices else []
    )
    samples = [
        Sample(
            id=f"sample-{place}",
            suite=info.name,
            prompt="",
            cluster=names[place],
            slices={"topic": topics[place]} if topics else {},
        )
        for place in range(n)
    ]
    tokens = rng.integers(20, 200, n).tolist()
    arms = [_scores(shape, values.tolist(), tokens) for values in shape.draw(rng, n)]
    base, tuned = (_run(info, samples, scores) for scores in arms)
    return info, base, tuned, Scored(arms[0], arms[1], grouped(names))


def corpora(samples: int) -> list[Taken]:
    """BLEU and chrF of a corpus of so many segments, from their sufficient statistics."""
    rng = np.random.default_rng(0)
    found = []
    for name, score, columns in (("BLEU", bleu_score, 10), ("chrF", chrf_score, 18)):
        base, tuned = rng.integers(1, 30, (2, samples, columns)).astype(np.float64)
        started = time.process_time()
        corpus_difference(base, tuned, score, 0.95)
        seconds = time.process_time() - started
        found.append(Taken(name=name, samples=samples, join=0.0, deltas=0.0, estimates=seconds))
    return found


def _scores(shape: Shape, values: Sequence[float], tokens: Sequence[int]) -> list[Score]:
    name = shape.metric.name
    if shape.metric.kind == "perplexity":
        rows = zip(values, tokens, strict=True)
        return [
            Score(sample_id="", scorer=name, value=value, stats=(value * count, float(count)))
            for value, count in rows
        ]
    return [Score(sample_id="", scorer=name, value=value) for value in values]


def _run(info: SuiteInfo, samples: Sequence[Sample], scores: Sequence[Score]) -> Run:
    manifest = Manifest(
        schema_version=1,
        run_id="",
        name="",
        config={},
        fingerprints={},
        suites=(info,),
        versions={},
        git_commit="",
        seed=0,
        started="",
        finished="",
        counts={},
    )
    rows = zip(samples, scores, strict=True)
    results = tuple(Result(sample=one, completions=(), scores=(score,)) for one, score in rows)
    return Run(manifest=manifest, results=results)
