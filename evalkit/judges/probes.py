"""Known-answer probes: pairs with an obvious winner, put to a judge before anything counts.

A judge fails where guessing would do as well. Pairwise a pair is passed where both orders name the
good answer, which coins do for one pair in four; pointwise where the good answer is rated higher,
which five random levels do for two pairs in five. The judge needs as many of a language's twelve
pairs as guessing reaches less than once in a hundred: 8 pairwise (3 in 1,000), 10 pointwise (3 in
1,000). One that reads nine pairs in ten right reaches 8 in 996 of 1,000 tries, and one that rates
97 in 100 right reaches 10 in 995.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit import jsonl
from evalkit.judges.jobs import Job, Probed
from evalkit.records import Judgement, Message, Protocol

if TYPE_CHECKING:
    from evalkit.judges.matters import Matter

SUITE = "known-answer-probes"
_FOLDER = Path(__file__).with_name("known")
_GUESSED: Mapping[Protocol, float] = {"pairwise": 1 / 4, "pointwise": 2 / 5}
_RARELY = 0.01


def probe_jobs(jobs: Sequence[Job]) -> list[Job]:
    """The probes for a judge of these jobs: in each language that it judges, by the rubric of
    helpfulness; pairwise where it judges anything so."""
    from evalkit.judges.rubrics import open_rubric

    pairwise = any(job.protocol == "pairwise" for job in jobs)
    languages = dict.fromkeys(job.rubric.language for job in jobs if job.matters)
    return [
        Job(
            suite=f"{SUITE}-{language}",
            rubric=open_rubric("helpful", language),
            protocol="pairwise" if pairwise else "pointwise",
            matters=known(language),
        )
        for language in languages
    ]


@lru_cache
def known(language: str) -> tuple[Matter, ...]:
    """The pairs of one language; by turns the good answer is the base's and the tuned arm's."""
    from evalkit.judges.matters import Matter

    lines = jsonl.numbered_lines((_FOLDER / f"{language}.jsonl").read_text(encoding="utf-8"))
    matters = []
    for number, (_, line) in enumerate(lines):
        row = json.loads(line)
        good, bad = (row["good"],), (row["bad"],)
        base, tuned = (bad, good) if good_is_tuned(number) else (good, bad)
        matters.append(
            Matter(
                suite=f"{SUITE}-{language}",
                sample_id=row["id"],
                language=language,
                turns=(Message(role="user", content=row["question"]),),
                base=base,
                tuned=tuned,
            )
        )
    return tuple(matters)


def good_is_tuned(number: int) -> bool:
    """Whether the tuned arm has the good answer of that pair."""
    return number % 2 == 1


def probed(judge: str, jobs: Sequence[Job], judgements: Iterable[Judgement]) -> Probed:
    """How a judge did; it fails where it fails in one language."""
    said: dict[tuple[str, str], list[Judgement]] = {}
    for one in judgements:
        said.setdefault((one.suite, one.sample_id), []).append(one)
    passed = asked = 0
    failed = []
    for job in jobs:
        right = sum(
            _passes(said.get((job.suite, matter.sample_id), ()), tuned=good_is_tuned(number))
            for number, matter in enumerate(job.matters)
        )
        needed = least(len(job.matters), job.protocol)
        if right < needed:
            failed.append(
                f"{right} of {len(job.matters)} in {_LANGUAGES[job.rubric.language]}, where a "
                f"judge that reads what it judges gets {needed} or more"
            )
        passed, asked = passed + right, asked + len(job.matters)
    told = f"the judge {judge!r} fails the known-answer probes: {'; '.join(failed)}"
    return Probed(passed=passed, asked=asked, failed=told if failed else "")


_LANGUAGES = {"en": "English", "zh": "Chinese"}


def _passes(said: Sequence[Judgement], *, tuned: bool) -> bool:
    """Whether all that was said of a pair is for the good answer; what is missing is not."""
    values = [one.value for one in said]
    if len(values) != 2 or any(value is None for value in values):
        return False
    if said[0].protocol == "pairwise":
        return all((value or 0.0) > 0.5 if tuned else (value or 0.0) < 0.5 for value in values)
    rated: dict[str, float] = {one.arm: one.value or 0.0 for one in said}
    return rated["tuned"] > rated["base"] if tuned else rated["base"] > rated["tuned"]


def least(pairs: int, protocol: Protocol) -> int:
    """The fewest passed pairs that guessing reaches less than once in a hundred."""
    chance = _GUESSED[protocol]
    tail, needed = 0.0, pairs + 1
    while needed > 0:
        one = (
            comb(pairs, needed - 1) * chance ** (needed - 1) * (1 - chance) ** (pairs - needed + 1)
        )
        if tail + one > _RARELY:
            break
        tail, needed = tail + one, needed - 1
    return min(needed, pairs)
