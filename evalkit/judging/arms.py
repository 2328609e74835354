"""What comes of judging: each tuned arm compared with the base, judgements and all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from evalkit.compare import compare, join
from evalkit.config import Budget, JudgeConfig
from evalkit.judging.docket import Assignment, Docket, Submitted, jobs_of
from evalkit.judging.findings import findings_of
from evalkit.progress import Progress, Silent
from evalkit.records import (
    Comparison,
    Delta,
    Judgement,
    Run,
    Score,
    Side,
    SuiteInfo,
)
from evalkit.store.completions import CompletionStore
from evalkit.store.judgements import JUDGEMENTS

if TYPE_CHECKING:
    from evalkit.judges.jobs import Judged, Probed, Spent

_Scores: TypeAlias = Mapping[tuple[str, str], Sequence[Score]]
"""By suite and sample id: what the judges make of one arm's answer, a score for each rubric."""


class Compared(NamedTuple):
    """One tuned arm compared with the base; its judgements go to `file`, empty without any."""

    comparison: Comparison
    judgements: tuple[Judgement, ...] = ()
    file: str = ""


def compare_arms(
    docket: Docket,
    runs: Sequence[Run],
    store: CompletionStore,
    *,
    offline: bool = False,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[Compared]:
    """Compare every run with the first; what the docket holds is judged before.

    The arms share one budget, in their order. Raises what asking the judges raises (ModelError for
    a judge that answers nothing or fails the probes): what was answered until then is stored.
    """
    base, *others = runs
    if docket.config is None or not docket.assignments:
        return [Compared(compare(base, tuned)) for tuned in others]
    from evalkit.judges.asking import judge

    found, left, tell = list[Compared](), docket.config, progress or Silent()
    probes: Mapping[str, Probed] = {}
    now: set[str] = set()
    for tuned in others:
        name = tuned.manifest.name
        pairs, _ = join(base, tuned, {one.suite for one in docket.assignments})
        submitted = jobs_of(pairs, docket.assignments, docket.seed)
        said = judge(
            submitted.jobs,
            left,
            store,
            offline=offline,
            fresh=fresh,
            now=now,
            arm=name,
            several=len(others) > 1,
            progress=tell,
        )
        probes = {**probes, **said.probes}
        said = replace(said, probes=probes)
        for note in said.notes:
            tell.say(f"{name}: {note}")
        file = JUDGEMENTS if len(others) == 1 else f"judgements-{name}.jsonl"
        found.append(_compared(docket, submitted, said, base, tuned, file))
        left = _left(left, said.spent)
        if probes:  # they are not put again, least of all with nothing left to pay for them
            left = left.model_copy(update={"probes": "skip"})
    return found


def _left(config: JudgeConfig, spent: Mapping[str, Spent]) -> JudgeConfig:
    """The configuration with what is left of its budget for the arms to come."""
    budget, costs = config.budget, spent.values()
    tokens = sum(one.taken_tokens for one in costs)
    calls = sum(one.calls for one in costs)
    money = sum(one.taken_money for one in costs)
    # Nothing left is a budget that buys nothing; none at all would be without end.
    left = Budget.model_construct(
        money=None if budget.money is None else max(0.0, budget.money - money),
        tokens=None if budget.tokens is None else max(0, budget.tokens - tokens),
        calls=None if budget.calls is None else max(0, budget.calls - calls),
    )
    return config.model_copy(update={"budget": left})


def _compared(
    docket: Docket, submitted: Submitted, said: Judged, base: Run, tuned: Run, file: str
) -> Compared:
    scores = _scores(docket.assignments, submitted, said)
    mine = _with_scores(base, docket.infos, scores["base"])
    theirs = _with_scores(tuned, docket.infos, scores["tuned"])
    comparison = compare(mine, theirs)
    found = findings_of(docket, submitted, said, (base.manifest, tuned.manifest))
    judgings = tuple(replace(one, file=file) for one in found.judgings)
    wanted = {(one.suite, one.metric.name): one for one in found.corrected}
    deltas = tuple(_set_right(one, wanted) for one in comparison.deltas)
    return Compared(replace(comparison, judgings=judgings, deltas=deltas), said.judgements, file)


def _set_right(delta: Delta, corrected: Mapping[tuple[str, str], Delta]) -> Delta:
    """The delta, or in place of an empty one what people's labels made of the judged one."""
    found = corrected.get((delta.suite, delta.metric.name))
    return delta if found is None or delta.slice else replace(found, unpaired=delta.unpaired)


def _scores(
    assignments: Sequence[Assignment], submitted: Submitted, said: Judged
) -> dict[Side, dict[tuple[str, str], list[Score]]]:
    """What the judges make of every sample they were to judge; what they did not has a reason."""
    from evalkit.judges.preferences import preferences, ratings, utilities

    preferred = utilities(preferences(said.judgements))
    rated = ratings(said.judgements)
    found: dict[Side, dict[tuple[str, str], list[Score]]] = {"base": {}, "tuned": {}}
    for one in assignments:
        rubric, metric = one.rubric.name, one.metric.name
        asked = submitted.ids(one)
        for pair in submitted.pairs[one.suite, rubric]:
            sample = pair.base.sample.id
            lacking = (None, "unasked" if sample in asked else "no_answer")
            for side in found:
                if one.protocol == "pairwise":
                    value, reason = preferred.get((one.suite, rubric, sample), lacking)
                else:
                    value, reason = rated.get((one.suite, rubric, sample, side), lacking)
                if value is not None and one.protocol == "pairwise" and side == "base":
                    value = 1 - value
                why = f"not judged: {reason}" if value is None else ""
                score = Score(sample_id=sample, scorer=metric, value=value, reason=why)
                found[side].setdefault((one.suite, sample), []).append(score)
    return found


def _with_scores(run: Run, infos: Sequence[SuiteInfo], scores: _Scores) -> Run:
    """The run as it is compared: with what the judges make of its answers, on no disk."""
    results = tuple(
        replace(one, scores=(*one.scores, *scores.get((one.sample.suite, one.sample.id), ())))
        for one in run.results
    )
    judged = {info.name: info for info in infos}
    suites = tuple(_with_judged(info, judged.get(info.name)) for info in run.manifest.suites)
    return replace(run, results=results, manifest=replace(run.manifest, suites=suites))


def _with_judged(info: SuiteInfo, judged: SuiteInfo | None) -> SuiteInfo:
    """What a run remembers of a suite, with what of the judging the gate must know."""
    if judged is None or not judged.rubrics:
        return info
    return replace(
        info,
        metrics=judged.metrics,
        metric=judged.metric,
        margin=judged.margin,
        policy=judged.policy,
        margin_metric=judged.margin_metric,
        rubrics=judged.rubrics,
    )
