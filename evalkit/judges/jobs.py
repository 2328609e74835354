"""What judges are asked to judge, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evalkit.records import Judgement, Protocol

if TYPE_CHECKING:
    from evalkit.judges.matters import Matter
    from evalkit.judges.rubrics import Rubric


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One suite's samples to be judged by one rubric; a limit has left out what it leaves out."""

    suite: str
    rubric: Rubric
    protocol: Protocol
    matters: tuple[Matter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """How a judge did on the known-answer probes: of `asked` pairs it read `passed` as everybody
    would. `failed` is a sentence where that is too few, empty where it is enough."""

    passed: int
    asked: int
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a judge has cost now: stored answers cost nothing and are counted in `stored` alone.

    `calls` are questions that were put to it, repairs and probes among them, each once however
    often it had to be sent. `cost` is in the currency of the configured prices, None without any.
    `taken_tokens` and `taken_money` are what a budget counts: where the endpoint does not tell what
    an answer cost, the most that it can have.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    stored: int = 0
    taken_tokens: int = 0
    taken_money: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """All that the judges said, in the order of the judges, the jobs and their samples.

    `probes` and `spent` are by judge; those without known-answer probes are not in `probes`.
    `notes` are sentences for the reader: a budget that ended, rows of a file that were not used.
    """

    judgements: tuple[Judgement, ...]
    probes: Mapping[str, Probed] = field(default_factory=dict)
    spent: Mapping[str, Spent] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeEstimate:
    """What a judge would be asked, before it is.

    `calls` counts all, probes among them, `stored` those of them that are answered already. Tokens
    and cost are of the others: tokens_in about, tokens_out at most. `cost` is None without prices.
    """

    judge: str
    calls: int
    stored: int
    tokens_in: int
    tokens_out: int
    cost: float | None
