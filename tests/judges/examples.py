"""Two recorded arms that wrote notes, and jobs made of them, for what people and exports do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.compare import compare, join
from evalkit.judges.jobs import Job
from evalkit.judges.matters import matter_of
from evalkit.judges.rubrics import open_rubric
from evalkit.records import (
    Judgement,
    Judging,
    Message,
    Order,
    Pair,
    Prompt,
    Run,
    SuiteInfo,
)
from evalkit.store.judgements import JUDGEMENTS, write_judgements
from evalkit.store.runs import write_comparisons, write_run
from tests.builders import make_info, make_run

SUITE = "chat/notes"


def make_arms(
    count: int = 6,
    *,
    same: Sequence[int] = (),
    suite: str = SUITE,
    plain: bool = False,
    base: str = "Plain answer {n}.",
    tuned: str = "✨ Lively answer {n}!",
) -> tuple[Run, Run]:
    """A base and a tuned run of `count` chat samples; those in `same` they answered alike."""
    info: SuiteInfo = replace(make_info(suite), license="CC0-1.0")
    runs = []
    for name, text in (("base", base), ("tuned", tuned)):
        run = make_run(name, {suite: [1.0] * count}, infos=[info], adapter=name)
        results = []
        for n, result in enumerate(run.results):
            said = (base if n in same else text).format(n=n)
            sample = replace(result.sample, prompt=_prompt(n, plain=plain))
            done = replace(result.completions[0], text=said)
            results.append(replace(result, sample=sample, completions=(done,)))
        runs.append(replace(run, results=tuple(results)))
    return runs[0], runs[1]


def _prompt(n: int, *, plain: bool) -> Prompt:
    if plain:
        return f"Write note {n}."
    return (
        Message(role="system", content="You write notes."),
        Message(role="user", content=f"Write note {n}."),
    )


def make_pairs(base: Run, tuned: Run) -> tuple[Pair, ...]:
    """The pairs of all suites."""
    return tuple(join(base, tuned, [info.name for info in base.manifest.suites])[0])


def make_job(
    pairs: Sequence[Pair], rubric: str = "helpful", suite: str = SUITE, language: str = "en"
) -> Job:
    """All pairs of a suite, to be compared by one rubric."""
    mine = [pair for pair in pairs if pair.base.sample.suite == suite]
    matters = [matter_of(pair, language) for pair in mine]
    return Job(
        suite=suite,
        rubric=open_rubric(rubric, language),
        protocol="pairwise",
        matters=tuple(one for one in matters if one is not None),
    )


def make_judgements(
    words: Mapping[str, tuple[float | None, float | None]],
    judge: str = "strict",
    *,
    rubric: str = "helpful",
    suite: str = SUITE,
) -> list[Judgement]:
    """What a judge said of samples in both orders: utilities for the tuned arm; None is missing."""
    orders: tuple[Order, Order] = ("base_first", "tuned_first")
    return [
        Judgement(
            suite=suite,
            sample_id=sample_id,
            judge=judge,
            rubric=rubric,
            protocol="pairwise",
            order=order,
            status="judged" if value is not None else "refused",
            value=value,
        )
        for sample_id, values in words.items()
        for order, value in zip(orders, values, strict=True)
    ]


def make_judging(
    rubric: str = "helpful",
    suite: str = SUITE,
    flagged: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
) -> Judging:
    """The record by which a comparison knows that a suite was judged."""
    return Judging(
        suite=suite,
        rubric=rubric,
        metric=f"judge.{rubric}",
        protocol="pairwise",
        judges=(),
        flagged=flagged or {},
        file=JUDGEMENTS,
    )


def write_judged(
    root: Path,
    arms: tuple[Run, Run],
    judgements: Sequence[Judgement] = (),
    judgings: Sequence[Judging] = (),
) -> Path:
    """Both runs and their comparison, with what was judged, below `root`; returns its folder."""
    base, tuned = (write_run(root / run.manifest.run_id, run.manifest, run.results) for run in arms)
    folder = root / "compare" / "base-vs-tuned"
    write_comparisons(folder, [replace(compare(base, tuned), judgings=tuple(judgings))])
    if judgements:
        write_judgements(folder, judgements)
    return folder
