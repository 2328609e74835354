"""Which pairs people are shown, and which answer on which side: random, repeatable, unguessable."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from evalkit.drawing import place
from evalkit.records import Manifest, Side

if TYPE_CHECKING:
    from evalkit.judges.jobs import Job
    from evalkit.judges.matters import Matter
    from evalkit.judges.rubrics import Rubric


_SIDES: tuple[Side, Side] = ("base", "tuned")


class Asked(NamedTuple):
    """A sample and the rubric by which somebody is to compare its two answers."""

    rubric: Rubric
    matter: Matter

    @property
    def same(self) -> bool:
        """Both arms wrote the same: nobody can prefer one of them."""
        return self.matter.base == self.matter.tuned


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """A pair as a person sees it; `left` is the arm whose answer stands there, which nobody is
    told before the vote."""

    id: str
    rubric: Rubric
    matter: Matter
    left: Side

    @property
    def shown(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The answers, by turn: the left one's and the right one's."""
        sides = self.matter.base, self.matter.tuned
        return sides if self.left == "base" else (sides[1], sides[0])


class Place(NamedTuple):
    """What an id stands for; `left` is "" where both answers are the same."""

    asked: Asked
    left: Side | str


def drawn(jobs: Iterable[Job], n: int | None, seed: int) -> tuple[Asked, ...]:
    """Up to `n` samples of each suite and rubric (all: None), each as likely as any other.

    Simple random sampling, which the correction by human labels rests on. They come in a random
    order, which stays what it is where `n` or the suite grows: whoever labels the first few only
    has labelled a random sample, too. It is the order in which `limit` takes a part of a suite by
    the same seed: people who are a judge of that part have labelled it.
    """
    found: list[Asked] = []
    for job in jobs:
        ranked = sorted(job.matters, key=lambda one: place(one.sample_id, seed))
        found += [Asked(job.rubric, matter) for matter in ranked[:n]]
    return tuple(found)


def blinding_key(base: Manifest, tuned: Manifest, seed: int, person: str) -> bytes:
    """By what the sides are chosen: it takes both runs' manifests, which no sheet holds, to know
    it. It differs by person, so that one side is not one arm's with everybody."""
    runs = [(run.run_id, run.started, dict(run.fingerprints)) for run in (base, tuned)]
    return _digest(runs, seed, person)


def blinded(asked: Iterable[Asked], key: bytes) -> tuple[Blind, ...]:
    """Each pair with its sides chosen by the key."""
    return tuple(_blinded(one, key) for one in asked)


def _blinded(asked: Asked, key: bytes) -> Blind:
    said = json.dumps([asked.matter.suite, asked.rubric.name, asked.matter.sample_id])
    coin = hmac.digest(key, said.encode(), "sha256")[0] & 1
    left: Side = "base" if coin else "tuned"
    shown = pair_id(asked.matter, asked.rubric.name, left)
    return Blind(id=shown, rubric=asked.rubric, matter=asked.matter, left=left)


def pair_id(matter: Matter, rubric: str, left: Side) -> str:
    """What a pair is called where it is shown: a hash of what is on the screen, in that order.

    It tells a file of other answers from this one's and, to whoever has both runs, the sides;
    nothing of the arms goes into it, so it tells nobody else.
    """
    sides = (matter.base, matter.tuned) if left == "base" else (matter.tuned, matter.base)
    asking = [(turn.role, turn.content) for turn in matter.turns]
    shown = (matter.suite, rubric, matter.sample_id, asking, matter.then, *sides)
    return "p" + _digest(*shown).hex()[:20]  # of digits alone, a spreadsheet would make a number


def pair_ids(matter: Matter, rubric: str) -> frozenset[str]:
    """Both ids that a pair can have: a word with one of them is of these very answers."""
    return frozenset(pair_id(matter, rubric, left) for left in _SIDES)


def opened_id(matter: Matter, rubric: str) -> str:
    """What a pair is called once the vote is cast: the same whichever answer stood on the left."""
    return pair_id(matter, rubric, "base")


def places(jobs: Iterable[Job]) -> Mapping[str, Place]:
    """Every id that a pair of these jobs can have, and what it stands for."""
    found = {}
    for job in jobs:
        for matter in job.matters:
            asked = Asked(job.rubric, matter)
            for left in _SIDES:
                found[pair_id(matter, job.rubric.name, left)] = Place(
                    asked, "" if asked.same else left
                )
    return found


def _digest(*parts: object) -> bytes:
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()
