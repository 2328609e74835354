"""Which questions a job makes, in the order they are asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from evalkit.judges.jobs import Job
from evalkit.records import Judgement, Order, Side

if TYPE_CHECKING:
    from evalkit.judges.matters import Matter
    from evalkit.judges.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to a judge: one sample, in one order or of one arm. `matter` is as it is shown;
    `job` tells by which rubric it is judged."""

    job: Job
    matter: Matter
    order: Order = ""
    arm: Side | Literal[""] = ""
    repeat: int = 0
    stripped: bool = False

    @property
    def subject(self) -> tuple[str, str, str, int, bool]:
        """What it shares with the call of the other order or arm."""
        return (
            self.job.suite,
            self.job.rubric.name,
            self.matter.sample_id,
            self.repeat,
            self.stripped,
        )


def calls_of(jobs: Sequence[Job], *, repeat: int = 1, strip: bool = False) -> Iterator[Call]:
    """All questions of the jobs; whatever makes them end early leaves what counts most.

    Both orders (or arms) of a sample come together, and the jobs take turns. Further repeats come
    after all first ones, and the answers without emoji and markup last, once each.
    """
    for number in range(repeat):
        yield from _in_turns([_both(job, repeat=number) for job in jobs])
    if strip:
        styles = [job for job in jobs if job.rubric.style and job.protocol == "pairwise"]
        yield from _in_turns([_both(job, stripped=True) for job in styles])


def count_of(job: Job, *, repeat: int = 1, strip: bool = False) -> int:
    """How many calls `calls_of` makes of a job."""
    again = strip and job.rubric.style and job.protocol == "pairwise"
    return 2 * len(job.matters) * (repeat + again)


def _in_turns(jobs: Sequence[Iterator[tuple[Call, ...]]]) -> Iterator[Call]:
    for row in zip_longest(*jobs, fillvalue=()):
        for both in row:
            yield from both


def _both(job: Job, *, repeat: int = 0, stripped: bool = False) -> Iterator[tuple[Call, ...]]:
    """The calls of each sample."""
    from evalkit.judges.matters import stripped as without_markup

    for matter in job.matters:
        shown = without_markup(matter) if stripped else matter
        one = Call(job=job, matter=shown, repeat=repeat, stripped=stripped)
        if job.protocol == "pairwise":
            yield replace(one, order="base_first"), replace(one, order="tuned_first")
        else:
            yield replace(one, arm="base"), replace(one, arm="tuned")


def answers_id(matter: Matter, arm: Side | Literal[""] = "") -> str:
    """A hash of what is judged: the question and both answers, or the one that `arm` gave.

    The answers are those that the arms wrote, also where they are shown without markup.
    """
    answers = {"base": [matter.base], "tuned": [matter.tuned], "": [matter.base, matter.tuned]}
    asked = [(turn.role, turn.content) for turn in matter.turns]
    text = json.dumps([asked, matter.then, answers[arm]], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def blank(call: Call, judge: str) -> Judgement:
    """A judgement of this call that nobody has made yet."""
    return Judgement(
        suite=call.job.suite,
        sample_id=call.matter.sample_id,
        judge=judge,
        rubric=call.job.rubric.name,
        protocol=call.job.protocol,
        order=call.order,
        arm=call.arm,
        repeat=call.repeat,
        stripped=call.stripped,
        status="unasked",
    )


def judged(call: Call, judge: str, reading: Reading) -> Judgement:
    """What was read in an answer, said of the tuned arm where two answers were shown."""
    value = reading.value
    if value is not None and call.order == "base_first":
        value = 1.0 - value
    return replace(
        blank(call, judge),
        status=reading.status,
        value=value if reading.status == "judged" else None,
        level=reading.level,
        rationale=reading.rationale,
        error=reading.error,
    )
