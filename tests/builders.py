"""Small real records for tests: a suite's worth of results without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.records import (
    Completion,
    Manifest,
    Metric,
    MetricKind,
    Result,
    Run,
    Sample,
    Score,
    SuiteInfo,
)


def make_info(
    name: str = "knowledge/tiny",
    *,
    metric: str = "accuracy",
    kind: MetricKind = "binary",
    higher_is_better: bool | None = True,
    margin: float = 0.05,
    fingerprint: str = "suite-1",
    samples: int = 0,
) -> SuiteInfo:
    """A suite with one metric."""
    return SuiteInfo(
        name=name,
        title=name,
        language="en",
        task="generate",
        metric=metric,
        metrics=(Metric(name=metric, kind=kind, higher_is_better=higher_is_better),),
        fingerprint=fingerprint,
        path="suites/" + name,
        samples=samples,
        margin=margin,
    )


def make_run(
    name: str,
    values: Mapping[str, Sequence[float | None]],
    *,
    infos: Sequence[SuiteInfo] = (),
    adapter: str = "",
    clusters: Sequence[str] = (),
    slices: Sequence[str] = (),
) -> Run:
    """A run whose suites have these scores, in order; ids are s0, s1 …"""
    known = {info.name: info for info in infos} or {suite: make_info(suite) for suite in values}
    results = [
        _result(name, known[suite], number, value, clusters, slices)
        for suite, scores in values.items()
        for number, value in enumerate(scores)
    ]
    manifest = Manifest(
        schema_version=1,
        run_id=f"{name}-0123456789",
        name=name,
        config={"name": name, "gate": {}},
        fingerprints={"model": "tiny", "weights": "w", "adapter": adapter, "template": "t"},
        suites=tuple(known[suite] for suite in values),
        versions={"python": "3.11"},
        git_commit="",
        seed=0,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        counts={"samples": len(results)},
    )
    return Run(manifest=manifest, results=tuple(results))


def _result(
    arm: str,
    info: SuiteInfo,
    number: int,
    value: float | None,
    clusters: Sequence[str],
    slices: Sequence[str],
) -> Result:
    sample = Sample(
        id=f"s{number}",
        suite=info.name,
        prompt=f"Question {number} of {info.name}?",
        targets=("yes",),
        cluster=clusters[number] if clusters else "",
        slices={"topic": slices[number]} if slices else {},
    )
    completion = Completion(
        key=f"{arm}/{info.name}/{number}",
        text=f"{arm} says {value}",
        stop_reason="stop",
        prompt_text=sample.prompt if isinstance(sample.prompt, str) else "",
        prompt_hash=f"h{number}",
        tokens_in=5,
        tokens_out=3,
    )
    reason = "" if value is not None else "could not be scored"
    score = Score(sample_id=sample.id, scorer=info.metric, value=value, reason=reason)
    return Result(sample=sample, completions=(completion,), scores=(score,))
