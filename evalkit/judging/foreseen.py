"""What the judging of a plan would take, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from evalkit.config import HumanJudge
from evalkit.judging.docket import Docket, jobs_of
from evalkit.planning import ArmPlan, Plan, by_suite
from evalkit.progress import Progress
from evalkit.records import Completion, Pair, Result, Sample
from evalkit.store.completions import CompletionStore
from evalkit.thinking import answer_only

if TYPE_CHECKING:
    from evalkit.judges.jobs import JudgeEstimate
    from evalkit.models.base import Prepared


class Foreseen(NamedTuple):
    """What one judge would be asked of one tuned arm."""

    arm: str
    judge: JudgeEstimate


def check_judges(
    docket: Docket,
    store: CompletionStore,
    *,
    offline: bool,
    several: bool = False,
    progress: Progress | None = None,
) -> None:
    """Find the judges now, rather than after an hour's work: they are asked nothing.

    Raises what asking them would raise before it asks: ModelError for a key, an address or a model
    that is not there, UsageError for a recording that cannot be read (or does not tell `several`
    tuned arms apart) and a budget without prices.
    """
    if docket.config is None or not docket.assignments:
        return
    from evalkit.judges.asking import judge
    from evalkit.judges.people import refuse_ratings

    for one in docket.config.judges:
        if isinstance(one, HumanJudge):
            refuse_ratings(one.name, docket.assignments)
    # People's words can be read beside the answers alone that they are about.
    found = tuple(one for one in docket.config.judges if not isinstance(one, HumanJudge))
    config = docket.config.model_copy(update={"judges": found})
    judge((), config, store, offline=offline, several=several, progress=progress)


def foresee(
    docket: Docket,
    plan: Plan,
    store: CompletionStore,
    *,
    offline: bool = False,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[Foreseen]:
    """What each judge would be asked of each tuned arm; `fresh`: though it was answered before.

    Answers that are stored are taken as they are, so that what was judged before is known; in the
    place of others stand texts as long as an answer can be. What the arms share is the first one's.
    """
    if docket.config is None or not docket.assignments:
        return []
    from evalkit.judges.asking import estimate

    found, config, seen = [], docket.config, set[str]()
    base, *others = plan.arms
    mine = _answers(docket, plan, base, store)
    for arm in others:
        theirs = _answers(docket, plan, arm, store)
        pairs = [Pair(base=mine[key], tuned=theirs[key]) for key in mine]
        jobs = jobs_of(pairs, docket.assignments, docket.seed).jobs
        told = estimate(
            jobs, config, store, offline=offline, fresh=fresh, seen=seen, progress=progress
        )
        found += [Foreseen(arm.config.name, one) for one in told]
        config = config.model_copy(update={"probes": "skip"})  # they are put once
    return found


def _answers(
    docket: Docket, plan: Plan, arm: ArmPlan, store: CompletionStore
) -> Mapping[tuple[str, str], Result]:
    """An arm's answer to every sample of the judged suites, as far as it is known."""
    judged = {one.suite for one in docket.assignments}
    asked = by_suite(arm)
    found = {}
    for suite in plan.suites:
        name = suite.info.name
        if name not in judged:
            continue
        mine: dict[str, list[Prepared]] = {}
        for one in asked[name]:
            mine.setdefault(one.request.sample_id, []).append(one)
        known = store.get(one.key for one in asked[name])
        for sample in suite.samples:
            said = tuple(_said(sample, mine[sample.id], known))
            found[name, sample.id] = Result(sample=sample, completions=said, scores=())
    return found


def _said(
    sample: Sample, asked: Sequence[Prepared], known: Mapping[str, Completion]
) -> Iterator[Completion]:
    """Answers to a sample: those of later turns are not known before the ones before them."""
    for one in asked:
        if one.key in known:
            tags = one.decoding.thinking if one.decoding else ()
            yield answer_only(known[one.key], tags, one.prompt_text)
        else:
            yield _longest(one)
        for _ in sample.then:
            yield _longest(one)


def _longest(one: Prepared) -> Completion:
    """A text of as many short words as there may be tokens.

    It is no other arm's, and another without its markup: each is a question of its own to a judge.
    """
    tokens = one.decoding.max_new_tokens if one.decoding else 0
    text = " ".join([f"**{one.request.arm}**", *["it"] * tokens])
    return Completion(key=one.key, text=text, stop_reason="length")
