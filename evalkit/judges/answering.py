"""One judge at work: what is stored is read, the rest is asked and stored as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from evalkit.errors import ModelError
from evalkit.judges.budget import Purse, tokens_of
from evalkit.judges.calls import Call, blank, judged
from evalkit.judges.jobs import Job, Spent
from evalkit.models.base import Engine, Prepared
from evalkit.progress import Progress
from evalkit.records import Completion, Judgement, Request
from evalkit.store.completions import CompletionStore
from evalkit.store.shelf import KEEP_AFTER, Shelf

if TYPE_CHECKING:
    from evalkit.judges.reading import Reading

_T = TypeVar("_T")

CHUNK = 1024
"""Calls that are rendered and asked at a time: the questions of all would fill the memory."""


class Voice(Protocol):
    """How a judge is asked, and how its answers are read."""

    def requests(self, call: Call, /) -> tuple[Request, ...]:
        """What is asked of the engine for a call."""

    def read(self, call: Call, answers: Sequence[Completion], /) -> Reading:
        """What the answers to those say."""

    def again(
        self, asked: Sequence[Request], answers: Sequence[Completion], reading: Reading, /
    ) -> tuple[Request, ...]:
        """What is asked once more where they say nothing; () where nothing is."""


class Ask(NamedTuple):
    """A call with its requests as the engine knows them."""

    call: Call
    prepared: tuple[Prepared, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of its completions."""
        return tuple(one.key for one in self.prepared)


@dataclass(slots=True)
class Tally:
    """What a judge has cost so far."""

    calls: int = 0
    answered: int = 0
    stored: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    untold: int = 0
    """Answers of which the endpoint did not tell how many tokens they were."""


@dataclass(slots=True, kw_only=True)
class Answering:
    """Asks one judge all its calls; `purse` says where that ends, `fresh` asks what is stored, too.

    Answers that cost something are stored one by one, so that a killed run has lost only those
    that were still on their way; those of a local model a few seconds' worth at a time.
    """

    judge: str
    engine: Engine
    voice: Voice
    store: CompletionStore
    purse: Purse
    progress: Progress
    paid: bool
    fresh: bool = False
    priced: bool = False
    tally: Tally = field(default_factory=Tally)
    now: set[str] = field(default_factory=set)
    """Keys that were answered in this run; with `fresh` no others count as stored."""
    unasked: int = 0
    error: str = ""
    """Of the last call that failed."""

    def judgements(self, calls: Iterable[Call]) -> Iterator[Judgement]:
        """What the judge says, in the order of the calls; `unasked` once the purse is empty.

        Raises ModelError where the judge answers nothing at all; what it answered is stored.
        """
        for chunk in chunks(calls, CHUNK):
            yield from self._chunk(chunk)
        if self.tally.calls and not self.tally.answered and self.error:
            raise ModelError(f"{self.judge}: not one call could be answered. {self.error}")

    @property
    def spent(self) -> Spent:
        """What the judge has cost so far."""
        told = self.priced and not self.tally.untold
        return Spent(
            calls=self.tally.calls,
            tokens_in=self.tally.tokens_in,
            tokens_out=self.tally.tokens_out,
            cost=self.purse.spent_money if told else None,
            stored=self.tally.stored,
            taken_tokens=self.purse.spent_tokens,
            taken_money=self.purse.spent_money,
        )

    def _chunk(self, calls: Sequence[Call]) -> list[Judgement]:
        asks = self._asks((call, self.voice.requests(call)) for call in calls)
        answers = self._answers(asks, told=True)
        readings = [
            self.voice.read(ask.call, found) if (found := answers[number]) else None
            for number, ask in enumerate(asks)
        ]
        repairs = {
            number: again
            for number, (ask, reading) in enumerate(zip(asks, readings, strict=True))
            if reading is not None
            and (again := self.voice.again(_requests(ask), answers[number], reading))
        }
        mended = self._asks((asks[number].call, again) for number, again in repairs.items())
        rounds = [[found] if found else [] for found in answers]
        for number, ask, found in zip(repairs, mended, self._answers(mended), strict=True):
            if found:
                readings[number] = self.voice.read(ask.call, found)
                rounds[number].append(found)
        return [
            self._judgement(ask.call, reading, told)
            for ask, reading, told in zip(asks, readings, rounds, strict=True)
        ]

    def _asks(self, asked: Iterable[tuple[Call, tuple[Request, ...]]]) -> list[Ask]:
        """The calls as the engine knows them, prepared together."""
        pairs = list(asked)
        if not pairs:
            return []
        prepared = iter(self.engine.prepare([one for _, requests in pairs for one in requests]))
        return [Ask(call, tuple(islice(prepared, len(requests)))) for call, requests in pairs]

    def _answers(self, asks: Sequence[Ask], *, told: bool = False) -> list[tuple[Completion, ...]]:
        """The completions of each ask; () where there was no money for it. `told`: as progress."""
        found = self._stored(key for ask in asks for key in ask.keys)
        free = [ask for ask in asks if all(key in found for key in ask.keys)]
        paid = _unique(ask for ask in asks if any(key not in found for key in ask.keys))
        self.tally.stored += len(asks) - len(paid)
        parts: dict[str, list[str]] = {}
        for ask in asks if told else ():
            parts.setdefault(ask.keys[0], []).append(part_of(self.judge, ask.call.job))
        for ask in free:
            self._advance(parts.pop(ask.keys[0], ()))
        while paid and (number := self._affordable(paid)):
            self._ask(paid[:number], found, parts)
            paid = paid[number:]
        complete = [all(key in found for key in ask.keys) for ask in asks]
        self.unasked += complete.count(False) if told else 0
        return [
            tuple(_restored(one, found[one.key]) for one in ask.prepared) if whole else ()
            for ask, whole in zip(asks, complete, strict=True)
        ]

    def _stored(self, keys: Iterable[str]) -> dict[str, Completion]:
        wanted = set(keys)
        return self.store.get(wanted & self.now if self.fresh else wanted)

    def _affordable(self, asks: Sequence[Ask]) -> int:
        """How many of the calls, the first of them, can be paid now; never one order alone."""
        if not self.purse.limited:
            return len(asks)
        number = self.purse.fits([self.purse.worst(ask.prepared) for ask in asks])
        while 0 < number < len(asks) and _subject(asks[number]) == _subject(asks[number - 1]):
            number -= 1
        return number

    def _ask(
        self,
        asks: Sequence[Ask],
        found: dict[str, Completion],
        parts: Mapping[str, Sequence[str]],
    ) -> None:
        """Ask all of it; each answer is stored before the next is waited for."""
        work = {one.key: one for ask in asks for one in ask.prepared}
        batches = [batch.without(found) for batch in self.engine.batches(list(work.values()))]
        with Shelf(self.store, after=0.0 if self.paid else KEEP_AFTER) as shelf:
            for batch in filter(len, batches):
                for answer in self.engine.complete(batch):
                    found[answer.key] = answer
                    if answer.error:
                        self.error = answer.error
                    else:
                        self.now.add(answer.key)
                        shelf.put(answer)
                        shelf.keep()
                    self._advance(parts.get(answer.key, ()))
        for ask in asks:
            self._pay(ask, [found[key] for key in ask.keys])

    def _advance(self, parts: Iterable[str]) -> None:
        for part in parts:
            self.progress.advance(part)

    def _pay(self, ask: Ask, answers: Sequence[Completion]) -> None:
        self.tally.untold += self.purse.pay(ask.prepared, answers)
        self.tally.calls += 1
        self.tally.answered += not any(one.error for one in answers)
        cost = tokens_of(answers)
        self.tally.tokens_in += cost.tokens_in
        self.tally.tokens_out += cost.tokens_out

    def _judgement(
        self, call: Call, reading: Reading | None, rounds: Sequence[Sequence[Completion]]
    ) -> Judgement:
        """`rounds` are the answers to the question, and to its repair where there was one."""
        if reading is None:
            return blank(call, self.judge)
        costs = [tokens_of(answers) for answers in rounds]
        return replace(
            judged(call, self.judge, reading),
            key=rounds[-1][-1].key,
            tokens_in=sum(one.tokens_in for one in costs),
            tokens_out=sum(one.tokens_out for one in costs),
        )


def part_of(judge: str, job: Job) -> str:
    """The part of the progress that shows this job's calls."""
    return f"{judge} · {job.suite} · {job.rubric.name}"


def chunks(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """The things, so many at a time."""
    waiting = iter(things)
    while chunk := list(islice(waiting, size)):
        yield chunk


def _requests(ask: Ask) -> tuple[Request, ...]:
    return tuple(one.request for one in ask.prepared)


def _subject(ask: Ask) -> tuple[object, ...]:
    return ask.call.subject


def _unique(asks: Iterable[Ask]) -> list[Ask]:
    """Each question once: an answer without markup reads the same when it is stripped."""
    return list({ask.keys: ask for ask in asks}.values())


def _restored(asked: Prepared, answer: Completion) -> Completion:
    return replace(answer, truncated=asked.truncated)
