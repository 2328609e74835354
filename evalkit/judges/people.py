"""People as a judge: their labels, read as judgements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from evalkit.errors import UsageError
from evalkit.judges.labels import read_words
from evalkit.judges.votes import Vote, Word
from evalkit.records import Judgement, Protocol

if TYPE_CHECKING:
    from evalkit.judges.jobs import Job
    from evalkit.judges.rubrics import Rubric

_UTILITY: Mapping[Word, float] = {"base": 0.0, "tie": 0.5, "tuned": 1.0}


class Asked(TypingProtocol):
    """One suite that is to be judged by one rubric."""

    @property
    def suite(self) -> str: ...
    @property
    def rubric(self) -> Rubric: ...
    @property
    def protocol(self) -> Protocol: ...


def refuse_ratings(name: str, asked: Iterable[Asked]) -> None:
    """UsageError where people, who compare answers, are to rate them."""
    rated = next((one for one in asked if one.protocol == "pointwise"), None)
    if rated is not None:
        raise UsageError(
            f"The judge {name!r} is people who compare answers, and {rated.suite} asks for "
            f"ratings (protocol: pointwise) by {rated.rubric.name}. Judge it pairwise, or leave "
            "the judge out."
        )


def human_judgements(
    file: Path, jobs: Sequence[Job], name: str = "people"
) -> tuple[Judgement, ...]:
    """What people said of the samples of these jobs, in the jobs' order; `repeat` tells people
    apart.

    A person sees each pair once and blind, so there is no order to a judgement. A sample that
    nobody labelled is `unasked` (all are where the labels are of other answers, as those of another
    tuned arm), one that everybody skipped `refused`. UsageError where the file cannot be read, or a
    job asks for ratings, which people have not given.
    """
    refuse_ratings(name, jobs)
    said: dict[tuple[str, str, str], list[Vote]] = defaultdict(list)
    for vote in read_words(file, jobs, may_lack=True).votes:
        said[vote.suite, vote.rubric, vote.sample_id].append(vote)
    return tuple(
        judgement
        for job in jobs
        for matter in job.matters
        for judgement in _judgements(
            job, matter.sample_id, said[job.suite, job.rubric.name, matter.sample_id], name
        )
    )


def _judgements(
    job: Job, sample_id: str, votes: Sequence[Vote], name: str
) -> tuple[Judgement, ...]:
    told = sorted((one for one in votes if one.preferred != "skip"), key=lambda one: one.person)
    blank = Judgement(
        suite=job.suite,
        sample_id=sample_id,
        judge=name,
        rubric=job.rubric.name,
        protocol="pairwise",
    )
    if not votes:
        return (replace(blank, status="unasked", error="nobody labelled it"),)
    if not told:
        return (replace(blank, status="refused", error="everybody skipped it"),)
    return tuple(
        replace(blank, repeat=place, value=_UTILITY[one.preferred])
        for place, one in enumerate(told)
    )
