"""What is known of each judging: how each judge did, how they agree, what people's labels say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from evalkit.config import HFModel, JudgeConfig, JudgeMember, ModelJudge, OpenAIModel
from evalkit.errors import UsageError
from evalkit.judging.docket import Assignment, Docket, Submitted
from evalkit.records import (
    Delta,
    JudgeHealth,
    Judgement,
    Judging,
    Manifest,
    Pair,
    Result,
    Side,
)
from evalkit.scorers.generated import unusable

if TYPE_CHECKING:
    from evalkit.judges.calibration import Label, Words
    from evalkit.judges.jobs import Job, Judged
    from evalkit.judges.matters import Matter


class Findings(NamedTuple):
    """A record for each assignment, and the deltas that labels have set right."""

    judgings: tuple[Judging, ...]
    corrected: tuple[Delta, ...]


def findings_of(
    docket: Docket, submitted: Submitted, said: Judged, arms: tuple[Manifest, Manifest]
) -> Findings:
    """What the judgements of two arms (the base first) tell of their judges and of themselves."""
    assert docket.config is not None
    labels = _labels(docket.config, submitted.jobs)
    judgings, corrected = [], []
    for one, job in zip(docket.assignments, submitted.jobs, strict=True):
        case = _Case(
            config=docket.config,
            assignment=one,
            matters={matter.sample_id: matter for matter in job.matters},
            judgements=tuple(
                each
                for each in said.judgements
                if (each.suite, each.rubric) == (one.suite, one.rubric.name)
            ),
            unanswered=_unanswered(submitted.pairs[one.suite, one.rubric.name], job),
            arms=arms,
        )
        judgings.append(_judging(case, said, labels))
        if docket.config.labels is not None:
            corrected.append(case.corrected(labels.found))
    return Findings(tuple(judgings), tuple(corrected))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One suite and rubric: what was put before the judges, and what they said of it.

    `unanswered` samples were not put before them, for these arms have no text to judge.
    """

    config: JudgeConfig
    assignment: Assignment
    matters: Mapping[str, Matter]
    judgements: tuple[Judgement, ...]
    unanswered: Mapping[str, tuple[Side, ...]]
    arms: tuple[Manifest, Manifest]

    @property
    def width(self) -> float:
        """Of the scale on which the answers are judged."""
        least, most = self.assignment.scale
        return most - least

    @property
    def clusters(self) -> Mapping[str, str]:
        """The samples' clusters."""
        return {name: matter.cluster for name, matter in self.matters.items()}

    def words(self) -> Words:
        """All that the judges said, as it is corrected."""
        from evalkit.judges.preferences import preferences, ratings

        pairwise = self.assignment.protocol == "pairwise"
        return preferences(self.judgements) if pairwise else ratings(self.judgements)

    def corrected(self, labels: Sequence[Label]) -> Delta:
        """The preference as these labels set it right."""
        from evalkit.judges.calibration import corrected_delta

        one = self.assignment
        return corrected_delta(
            one.suite,
            one.rubric.name,
            self.words(),
            labels,
            width=self.width,
            clusters=self.clusters,
        )


class _Labels(NamedTuple):
    """People's labels, and why there are none or fewer than the file holds."""

    found: tuple[Label, ...]
    note: str = ""


def _labels(config: JudgeConfig, jobs: Sequence[Job]) -> _Labels:
    """The labels of these very answers; of others, as after another training, none counts."""
    if config.labels is None:
        return _Labels(())
    from evalkit.judges.labels import labels_of, read_words

    try:
        read = read_words(config.labels, jobs)
        return _Labels(labels_of(read.votes), " ".join(read.notes))
    except UsageError as error:
        return _Labels((), f"judge.labels is not used: {error}")


def _unanswered(pairs: Sequence[Pair], job: Job) -> dict[str, tuple[Side, ...]]:
    """The samples that could not be put before a judge, and the arms without a text to judge."""
    there = {matter.sample_id for matter in job.matters}
    found: dict[str, tuple[Side, ...]] = {}
    for pair in pairs:
        arms: tuple[tuple[Side, Result], ...] = (("base", pair.base), ("tuned", pair.tuned))
        if pair.base.sample.id not in there:
            found[pair.base.sample.id] = tuple(side for side, one in arms if _is_silent(one))
    return found


def _is_silent(result: Result) -> bool:
    return not result.completions or any(map(unusable, result.completions))


def _judging(case: _Case, said: Judged, labels: _Labels) -> Judging:
    from evalkit.judges.attacks import flags
    from evalkit.judges.calibration import corrected
    from evalkit.judges.health import jury_health

    one = case.assignment
    members = case.config.judges
    sides: tuple[Side, Side] = ("base", "tuned")
    flagged = {
        side: dict(flags({key: _text(matter, side) for key, matter in case.matters.items()}))
        for side in sides
    }
    return Judging(
        suite=one.suite,
        rubric=one.rubric.name,
        metric=one.metric.name,
        protocol=one.protocol,
        judges=tuple(_health(case, each, said, labels) for each in members),
        jury=jury_health(case.judgements) if len(members) > 1 else None,
        corrected=corrected(case.words(), labels.found, width=case.width, clusters=case.clusters)
        if labels.found
        else (),
        flagged={side: found for side, found in flagged.items() if found},
        notes=(*said.notes, *([labels.note] if labels.note else ())),
    )


def _text(matter: Matter, side: Side) -> str:
    return "\n\n".join(matter.base if side == "base" else matter.tuned)


def _health(case: _Case, member: JudgeMember, said: Judged, labels: _Labels) -> JudgeHealth:
    from evalkit.judges.health import judge_health
    from evalkit.judges.rendering import prompt_hash

    one = case.assignment
    health = judge_health(
        member.name,
        _model_of(member),
        prompt_hash(one.rubric, one.protocol) if isinstance(member, ModelJudge) else "",
        [each for each in case.judgements if each.judge == member.name],
        case.matters,
        families={"base": _candidate(case.arms[0]), "tuned": _candidate(case.arms[1])},
        unanswered=case.unanswered,
        probed=said.probes.get(member.name),
        labels=labels.found,
        width=case.width,
    )
    prices = prices_of(member)
    if prices is None:
        return health
    cost = (health.tokens_in * prices.tokens_in + health.tokens_out * prices.tokens_out) / 1e6
    return replace(health, cost=cost)


class Prices(NamedTuple):
    """What a million tokens cost."""

    tokens_in: float
    tokens_out: float


def prices_of(member: JudgeMember) -> Prices | None:
    """The prices configured for a judge; None where there are none."""
    model = member.model if isinstance(member, ModelJudge) else None
    if not isinstance(model, OpenAIModel) or not (model.price_in or model.price_out):
        return None
    return Prices(model.price_in, model.price_out)


def _model_of(member: JudgeMember) -> str:
    """The name of the model that judges; empty where it is not known, or a person."""
    if not isinstance(member, ModelJudge):
        return ""
    return _model_name(member.model)


def _model_name(model: HFModel | OpenAIModel) -> str:
    return model.path if isinstance(model, HFModel) else model.model


def _candidate(manifest: Manifest) -> str:
    """The name of an arm's model, as its file has it."""
    told = manifest.config.get("model")
    named = (told.get("model") or told.get("path")) if isinstance(told, Mapping) else None
    return str(named or manifest.name)
