"""Ask the judges of a comparison: what is stored costs nothing, what is answered is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import assert_never

from evalkit.config import (
    HFModel,
    HumanJudge,
    JudgeConfig,
    JudgeMember,
    ModelJudge,
    OpenAIModel,
    RecordedJudge,
)
from evalkit.errors import ModelError, UsageError
from evalkit.judges.answering import CHUNK, Answering, Voice, chunks, part_of
from evalkit.judges.budget import Purse, about
from evalkit.judges.calls import Call, answers_id, calls_of, count_of
from evalkit.judges.jobs import Job, Judged, JudgeEstimate, Probed, Spent
from evalkit.judges.local import Scored
from evalkit.judges.probes import probe_jobs, probed
from evalkit.judges.written import Written
from evalkit.models.base import Engine
from evalkit.models.opening import open_each
from evalkit.progress import Progress, Silent
from evalkit.records import Judgement
from evalkit.store.completions import CompletionStore

__all__ = ["Job", "JudgeEstimate", "Judged", "Probed", "Spent", "estimate", "judge"]


def judge(
    jobs: Sequence[Job],
    config: JudgeConfig,
    store: CompletionStore,
    *,
    offline: bool,
    fresh: bool = False,
    now: set[str] | None = None,
    arm: str = "",
    several: bool = False,
    progress: Progress | None = None,
) -> Judged:
    """What every judge says of every sample of the jobs, in both orders or of each arm.

    Each answer is stored as it comes, so that whoever runs it again pays for what is missing only.
    `fresh` asks anew all but what is in `now`, where each answer's key is added: one set for
    several arms has what they share (a base's ratings) asked once. `arm` is the tuned arm's name,
    `several` that there are others beside it: a recorded judge must tell of which one it speaks.
    Raises ModelError where a judge answers nothing or fails the known-answer probes, and UsageError
    for a recorded or human judge's file that cannot be used.
    """
    work = _Work(
        jobs,
        config,
        store,
        fresh=fresh,
        now=set() if now is None else now,
        arm=arm,
        several=several,
        progress=progress or Silent(),
    )
    with ExitStack() as stack:
        # Whatever is wrong with any judge is told before the first one costs anything.
        asked = [work.opened(member, stack, offline=offline) for member in config.judges]
        said = [one for ask in asked for one in ask()]
    return Judged(
        judgements=tuple(_identified(said, jobs)),
        probes=work.probes,
        spent=work.spent,
        notes=tuple(dict.fromkeys(work.notes)),
    )


def _identified(said: Iterable[Judgement], jobs: Sequence[Job]) -> Iterator[Judgement]:
    """The judgements, each with what tells the answers that it is of from others."""
    matters = {
        (job.suite, job.rubric.name, one.sample_id): one for job in jobs for one in job.matters
    }
    for one in said:
        matter = matters[one.suite, one.rubric, one.sample_id]
        yield replace(one, answers=answers_id(matter, one.arm))


@dataclass(slots=True)
class _Work:
    """The judges of one comparison, one after the other."""

    jobs: Sequence[Job]
    config: JudgeConfig
    store: CompletionStore
    fresh: bool = field(kw_only=True)
    now: set[str] = field(kw_only=True)
    arm: str = field(kw_only=True)
    several: bool = field(kw_only=True)
    progress: Progress = field(kw_only=True)
    probes: dict[str, Probed] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    waiting: int = 0
    """Model judges that are still to be asked."""
    purse: Purse = field(default_factory=Purse)

    def __post_init__(self) -> None:
        self.purse = Purse.of(self.config.budget)

    def opened(
        self, member: JudgeMember, stack: ExitStack, *, offline: bool
    ) -> Callable[[], Sequence[Judgement]]:
        """Open a judge and check it as far as that costs nothing; gives what asks it."""
        match member:
            case ModelJudge():
                engine = _engine(member, offline=offline, progress=self.progress)
                stack.enter_context(closing(engine))
                self._check_prices(member)
                self.waiting += 1
                return lambda: self._asked(member, engine)
            case RecordedJudge():
                from evalkit.judges.recorded import read_recording, recorded_judgements

                recording = read_recording(member.path, member.name, several=self.several)
                said, notes = recorded_judgements(recording, self.jobs, member.name, arm=self.arm)
                self.notes += notes
                return lambda: said
            case HumanJudge():
                from evalkit.judges.people import human_judgements

                labels = human_judgements(member.path, self.jobs, member.name)
                return lambda: labels
            case _:
                assert_never(member)

    def _check_prices(self, member: ModelJudge) -> None:
        """Money can be counted where there is a price, or nothing to pay."""
        model = member.model
        if self.purse.money is None or not isinstance(model, OpenAIModel) or _priced(member):
            return
        from evalkit.models.endpoint import is_loopback

        if not (model.base_url and is_loopback(model.base_url)):
            raise UsageError(
                f"judge.budget.money: what {member.name!r} costs is not known. Give its model "
                "price_in and price_out, the prices of a million tokens, or limit tokens or calls."
            )

    def _asked(self, member: ModelJudge, engine: Engine) -> Sequence[Judgement]:
        model = member.model
        prices = (
            {"price_in": model.price_in, "price_out": model.price_out}
            if isinstance(model, OpenAIModel)
            else {}
        )
        share = self.purse.share(self.waiting, **prices)
        self.waiting -= 1
        answering = Answering(
            judge=member.name,
            engine=engine,
            voice=_voice(member, self.config),
            store=self.store,
            purse=share,
            progress=self.progress,
            paid=isinstance(model, OpenAIModel),
            priced=_priced(member),
            fresh=self.fresh,
            now=self.now,
        )
        try:
            self._probe(answering)
            return self._judgements(answering, _repeat(member, self.config))
        finally:
            engine.close()  # the next judge may need the memory
            self.purse.take(share)
            self.spent[member.name] = answering.spent
            self._note(answering, engine)

    def _probe(self, answering: Answering) -> None:
        """Put the known-answer probes; raises ModelError where a failing judge is refused."""
        jobs = probe_jobs(self.jobs) if self.config.probes != "skip" else []
        if not jobs:
            return
        for job in jobs:
            self.progress.start(part_of(answering.judge, job), count_of(job))
        found = probed(answering.judge, jobs, list(answering.judgements(calls_of(jobs))))
        if answering.unasked:
            raise UsageError(
                f"judge.budget does not pay for the known-answer probes of {answering.judge!r} "
                f"({sum(map(count_of, jobs))} calls). Raise it, or set judge.probes: skip."
            )
        self.probes[answering.judge] = found
        if found.failed and self.config.probes == "refuse":
            raise ModelError(
                f"{_sentence(found.failed)}. Its judgements would mean nothing, so nothing was "
                "judged. Take another judge, or set judge.probes: warn to see what it says."
            )
        if found.failed:
            self.notes.append(found.failed)

    def _judgements(self, answering: Answering, repeat: int) -> list[Judgement]:
        strip = self.config.strip
        for job in self.jobs:
            part = part_of(answering.judge, job)
            self.progress.start(part, count_of(job, repeat=repeat, strip=strip))
        return list(answering.judgements(calls_of(self.jobs, repeat=repeat, strip=strip)))

    def _note(self, answering: Answering, engine: Engine) -> None:
        name = answering.judge
        if answering.unasked:
            self.notes.append(
                f"{name}: judge.budget has ended; {answering.unasked:,} calls were not asked "
                "(unasked). Raise it and run the same command to go on: what was judged is stored "
                "and costs nothing"
            )
        if answering.tally.untold:
            self.notes.append(
                f"{name}: the endpoint does not tell how many tokens its answers cost, so that is "
                "not known; a budget counts the most that they can have cost"
            )
        self.notes += [one.message for one in engine.checks(name) if one.status != "ok"]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _engine(member: ModelJudge, *, offline: bool, progress: Progress) -> Engine:
    (engine,) = open_each({member.name: member.model}, offline=offline, progress=progress)
    return engine


def _voice(member: ModelJudge, config: JudgeConfig) -> Voice:
    match member.model:
        case HFModel():
            return Scored(judge=member)
        case OpenAIModel():
            return Written(judge=member, temperature=config.temperature, seed=config.seed)
        case _:
            assert_never(member.model)


def _repeat(member: ModelJudge, config: JudgeConfig) -> int:
    """How often each question is asked: what is scored is the same every time."""
    return config.repeat if isinstance(member.model, OpenAIModel) else 1


def _priced(member: ModelJudge) -> bool:
    model = member.model
    return isinstance(model, OpenAIModel) and bool(model.price_in or model.price_out)


def estimate(
    jobs: Sequence[Job],
    config: JudgeConfig,
    store: CompletionStore,
    *,
    offline: bool = False,
    fresh: bool = False,
    seen: set[str] | None = None,
    progress: Progress | None = None,
) -> tuple[JudgeEstimate, ...]:
    """What each judge that is a model would be asked, and what that costs; nothing is asked.

    `fresh` takes nothing for stored but what is in `seen`, where each question's key is added: one
    set for several arms counts what they share once. Repairs of unreadable answers are not
    foreseen. The budget is not applied.
    """
    found = []
    seen = set() if seen is None else seen
    for member in config.judges:
        if not isinstance(member, ModelJudge):
            continue
        probes = probe_jobs(jobs) if config.probes != "skip" else []
        with closing(_engine(member, offline=offline, progress=progress or Silent())) as engine:
            repeat = _repeat(member, config)
            asked = chain(calls_of(probes), calls_of(jobs, repeat=repeat, strip=config.strip))
            voice = _voice(member, config)
            there = None if fresh else store
            found.append(_estimated(member, engine, voice, asked, there, seen))
    return tuple(found)


def _estimated(
    member: ModelJudge,
    engine: Engine,
    voice: Voice,
    calls: Iterator[Call],
    store: CompletionStore | None,
    seen: set[str],
) -> JudgeEstimate:
    count = stored = tokens_in = tokens_out = 0
    for chunk in chunks(calls, CHUNK):
        requests = [voice.requests(call) for call in chunk]
        prepared = iter(engine.prepare([one for each in requests for one in each]))
        asks = [[next(prepared) for _ in each] for each in requests]
        known = store.known(one.key for ask in asks for one in ask) if store else set()
        count += len(asks)
        for ask in asks:
            if all(one.key in known or one.key in seen for one in ask):
                stored += 1
            else:
                tokens_in += max(map(about, ask))  # options share their prompt
                tokens_out += Purse().worst(ask).tokens_out
            seen.update(one.key for one in ask)
    model = member.model
    cost = None
    if isinstance(model, OpenAIModel) and _priced(member):
        cost = (tokens_in * model.price_in + tokens_out * model.price_out) / 1e6
    return JudgeEstimate(
        judge=member.name,
        calls=count,
        stored=stored,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost,
    )
