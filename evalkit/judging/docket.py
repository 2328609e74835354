"""The judging of a comparison: which suites are judged by which rubrics, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from evalkit.config import GateConfig, JudgeConfig, JudgedSuite, RunConfig, SuiteJudging
from evalkit.errors import UsageError
from evalkit.gate.asked import nearest
from evalkit.gate.trust import NO_SLICES
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import subset
from evalkit.planning import Plan, gated
from evalkit.records import (
    Metric,
    Pair,
    Protocol,
    SuiteInfo,
    corrected_name,
    is_judged,
    metric_name,
)

if TYPE_CHECKING:
    from evalkit.judges.jobs import Job
    from evalkit.judges.rubrics import Rubric

Language: TypeAlias = Literal["en", "zh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One suite, to be judged by one rubric; with a `limit`, that many of its samples."""

    suite: str
    rubric: Rubric
    protocol: Protocol
    language: Language
    limit: int | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Between which values its scores lie: 1 to 5 for a rating, 0 to 1 for all else."""
        stars = self.protocol == "pointwise" and self.rubric.scale == "rating"
        return (1.0, 5.0) if stars else (0.0, 1.0)

    @property
    def metric(self) -> Metric:
        """What its scores are: a share of preference, or a rating on the rubric's scale."""
        least, most = self.scale
        return Metric(name=metric_name(self.rubric.name, self.protocol), least=least, most=most)

    @property
    def corrected(self) -> Metric:
        """The preference as people's labels set it right."""
        return Metric(name=corrected_name(self.rubric.name), least=0.0, most=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """What is judged of a comparison's suites; nothing where `config` is None.

    `suites` have the judged metrics among their own: the gate may go by them. The runs keep the
    suites as they were opened, for no run holds a judgement. `notes` are sentences for the reader.
    """

    suites: tuple[Suite, ...]
    assignments: tuple[Assignment, ...] = ()
    config: JudgeConfig | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def infos(self) -> tuple[SuiteInfo, ...]:
        """The suites as a comparison remembers them."""
        return tuple(one.info for one in self.suites)

    def planned(self, plan: Plan) -> Plan:
        """The plan, knowing the suites whose verdict is a judge's: none is settled before it."""
        waiting = {one.name for one in self.infos if is_judged(one.metric)}
        return replace(plan, waiting=frozenset(waiting))


def make_docket(suites: Sequence[Suite], config: RunConfig, *, wanted: bool = True) -> Docket:
    """What is judged of the suites as opened; UsageError with every mistake in what was declared.

    Not `wanted`, or without a judge: the suites as they are, and a note where they could be judged.
    """
    if config.judge is None or not wanted:
        note = _could_be_judged(suites) if config.judge is None else ""
        return Docket(suites=tuple(suites), notes=(note,) if note else ())
    mistakes: list[str] = list(_strangers(suites, config.judge))
    assignments = [each for suite in suites for each in _assignments(suite, config.judge, mistakes)]
    judged = tuple(_with_metrics(one, assignments, config, mistakes) for one in suites)
    if config.judge.demand == "corrected":
        mistakes += _beyond_correction(judged, assignments, config.gate)
    if mistakes:
        raise UsageError("\n".join(mistakes))
    nothing = "nothing is judged: none of the suites declares a rubric, and judge.suites names none"
    return Docket(
        suites=judged,
        assignments=tuple(assignments),
        config=config.judge,
        seed=config.seed,
        notes=() if assignments else (nothing,),
    )


def _could_be_judged(suites: Sequence[Suite]) -> str:
    names = [one.info.name for one in suites if one.judging is not None]
    if not names:
        return ""
    return (
        f"{', '.join(names)}: what no rule can score (style, wit, helpfulness) is not judged; "
        "declare a `judge` in the base's file for that (docs/judging.md)"
    )


def _strangers(suites: Sequence[Suite], config: JudgeConfig) -> Iterator[str]:
    known = [suite.info.name for suite in suites]
    for name in config.suites:
        if name not in known:
            hint = nearest(name, known, f" They are: {', '.join(known)}.")
            yield f"judge.suites names {name!r}, which is not among the suites.{hint}"


def _assignments(suite: Suite, config: JudgeConfig, mistakes: list[str]) -> list[Assignment]:
    """By which rubrics a suite is judged: the run's word, then the suite's own."""
    name, own = suite.info.name, suite.judging
    if name not in config.suites if config.suites else own is None:
        return []
    said = config.suites.get(name, JudgedSuite())
    if suite.task != "generate":
        mistakes.append(
            f"judge.suites: {name} is a {suite.task} suite, whose answers are no texts to judge. "
            "Leave it out."
        )
        return []
    rubrics = said.rubrics or (own.rubrics if own else ())
    if not rubrics:
        mistakes.append(
            f"judge.suites: {name} declares no rubric of its own; name some: judge.suites.{name}."
            "rubrics: [helpful]."
        )
    protocol = said.protocol or (own and own.protocol) or config.protocol
    language = said.language or (own and own.language) or _language(suite.info)
    opened = [_rubric(name, one, language, mistakes) for one in rubrics]
    found = {
        one.name: Assignment(
            suite=name, rubric=one, protocol=protocol, language=language, limit=said.limit
        )
        for one in opened
        if one is not None
    }
    if len(found) < len([one for one in opened if one]):
        mistakes.append(f"judge.suites: two rubrics of {name} have one name: {', '.join(rubrics)}.")
    return list(found.values())


def _language(info: SuiteInfo) -> Language:
    return "zh" if info.language == "zh" else "en"


def _rubric(suite: str, name: str, language: Language, mistakes: list[str]) -> Rubric | None:
    from evalkit.judges.rubrics import open_rubric

    try:
        return open_rubric(name, language)
    except UsageError as error:
        mistakes.append(f"judge: {suite}: {error}")
        return None


def _with_metrics(
    suite: Suite, assignments: Sequence[Assignment], config: RunConfig, mistakes: list[str]
) -> Suite:
    """The suite with its judged metrics, gated by what the gate, the suite's judging or it itself
    says, in this order."""
    mine = [one for one in assignments if one.suite == suite.info.name]
    if not mine:
        return suite
    labelled = config.judge is not None and config.judge.labels is not None
    metrics = [each for one in mine for each in (one.metric, one.corrected)[: 1 + labelled]]
    info = replace(
        suite.info,
        metrics=(*suite.info.metrics, *metrics),
        rubrics=tuple(one.rubric.name for one in mine),
    )
    if suite.judging is not None and suite.judging.metric is not None:
        info = _by_its_judging(info, suite.judging, suite.judging.metric, mistakes)
    return replace(suite, info=gated(info, config.gate.suites.get(info.name)))


def _by_its_judging(
    info: SuiteInfo, judging: SuiteJudging, metric: str, mistakes: list[str]
) -> SuiteInfo:
    known = [one.name for one in info.metrics if is_judged(one.name)]
    if metric not in known:
        hint = nearest(metric, known, f" It has: {', '.join(known)}.")
        mistakes.append(
            f"{info.path}: judge.metric: {metric!r} is none of what {info.name} is judged by.{hint}"
        )
        return info
    return replace(
        info,
        metric=metric,
        policy=judging.policy or info.policy,
        margin=info.margin if judging.margin is None else judging.margin,
        margin_metric=info.metric if judging.margin is None else "",
    )


def _beyond_correction(
    suites: Sequence[Suite], assignments: Sequence[Assignment], gate: GateConfig
) -> Iterator[str]:
    """What is gated on judged numbers that labels cannot set right: slices, and ratings."""
    rated = {(one.suite, one.metric.name) for one in assignments if one.protocol == "pointwise"}
    for info in (suite.info for suite in suites):
        own = gate.suites.get(info.name)
        if own is not None and own.must_not_regress and is_judged(info.metric):
            yield NO_SLICES.format(suite=info.name, metric=info.metric)
        if (info.name, info.metric) in rated:
            yield (
                "judge.demand: corrected: labels say which answer people prefer, and correct no "
                f"rating, but {info.name} is gated on {info.metric}. Gate on "
                f"{corrected_name(info.metric.removeprefix('rating.'))}, or use protocol: pairwise."
            )


class Submitted(NamedTuple):
    """What the judges are asked of two arms, and by assignment the pairs that it was made of: some
    of them have no text to judge."""

    jobs: tuple[Job, ...]
    pairs: Mapping[tuple[str, str], tuple[Pair, ...]]

    def ids(self, one: Assignment) -> frozenset[str]:
        """The samples that are put before the judges for an assignment."""
        key = (one.suite, one.rubric.name)
        mine = [job for job in self.jobs if (job.suite, job.rubric.name) == key]
        return frozenset(matter.sample_id for job in mine for matter in job.matters)


def jobs_of(pairs: Sequence[Pair], assignments: Sequence[Assignment], seed: int) -> Submitted:
    """What is to be judged of the pairs; a limit takes a seeded part of each suite."""
    from evalkit.judges.jobs import Job
    from evalkit.judges.matters import matter_of

    jobs, taken = [], {}
    for one in assignments:
        mine = _limited([pair for pair in pairs if pair.base.sample.suite == one.suite], one, seed)
        matters = [matter_of(pair, one.language) for pair in mine]
        jobs.append(
            Job(
                suite=one.suite,
                rubric=one.rubric,
                protocol=one.protocol,
                matters=tuple(each for each in matters if each is not None),
            )
        )
        taken[one.suite, one.rubric.name] = mine
    return Submitted(tuple(jobs), taken)


def _limited(pairs: Sequence[Pair], one: Assignment, seed: int) -> tuple[Pair, ...]:
    if one.limit is None:
        return tuple(pairs)
    kept = {each.id for each in subset([pair.base.sample for pair in pairs], one.limit, seed)}
    return tuple(pair for pair in pairs if pair.base.sample.id in kept)
