"""One judge and one sample: what it is asked, what it answers, and how that is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evalkit.config import HFModel, JudgeConfig, JudgedSuite, ModelJudge
from evalkit.configfile.tree import near
from evalkit.errors import UsageError
from evalkit.home import home
from evalkit.judges.asking import judge as ask_judges
from evalkit.judges.jobs import Job, Spent
from evalkit.judges.matters import matter_of
from evalkit.judges.rendering import pairwise, pairwise_options, pointwise, pointwise_options
from evalkit.judging.compared import Compared, Declared, declared, only_pair, rubric_of
from evalkit.progress import Progress
from evalkit.records import Judgement, Message, Protocol, SuiteInfo
from evalkit.store.completions import CompletionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One judge, one sample and one rubric. `prompt` is the first of the two that are asked: the
    base's answer first, or alone. `options` are what a local judge is scored on, empty where the
    judge writes."""

    judge: ModelJudge
    config: JudgeConfig
    job: Job
    prompt: tuple[Message, ...]
    options: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a judge said at one call, as it was read and as it was written; `raw` is None where
    nothing was (an error, or a judge that is scored)."""

    judgement: Judgement
    raw: str | None


class Told(NamedTuple):
    """All that a trial brought, and what it cost."""

    answers: tuple[Answer, ...]
    spent: Spent
    notes: tuple[str, ...]


def make_trial(
    config: JudgeConfig,
    compared: Compared,
    suite: str,
    sample_id: str,
    *,
    rubric: str = "",
    judge: str = "",
) -> Trial:
    """What a judge would be asked of one sample; nothing is asked yet.

    UsageError where the judge, the suite, the sample or the rubric is not clear, or the sample has
    no two answers to compare.
    """
    member = _member(config, judge)
    pair = only_pair(compared, suite, sample_id)
    suite, sample_id = pair.base.sample.suite, pair.base.sample.id
    info = next(one for one in compared.comparison.base.suites if one.name == suite)
    said = config.suites.get(suite, JudgedSuite())
    known = declared(compared.comparison, info)
    language = said.language or known.language
    matter = matter_of(pair, language)
    if matter is None:
        raise UsageError(
            f"Sample {sample_id!r} of {suite} has no text in one of the arms: it is not judged."
        )
    name = rubric or _rubric_name(compared, info, said, known)
    chosen = rubric_of(name, language, (*(said.rubrics or ()), *known.rubrics))
    job = Job(
        suite=suite,
        rubric=chosen,
        protocol=said.protocol or _protocol(compared, suite, chosen.name) or config.protocol,
        matters=(matter,),
    )
    prompt, options = _asked(member, job)
    return Trial(
        judge=member, config=_alone(config, member), job=job, prompt=prompt, options=options
    )


def tried(trial: Trial, *, offline: bool, fresh: bool, progress: Progress) -> Told:
    """Ask the judge, both orders or of each arm; what is stored costs nothing unless `fresh`."""
    with CompletionStore(home() / "completions.sqlite") as store:
        judged = ask_judges(
            [trial.job], trial.config, store, offline=offline, fresh=fresh, progress=progress
        )
        kept = store.get(one.key for one in judged.judgements if one.key)
    answers = [
        Answer(one, kept[one.key].text if one.key in kept and not trial.options else None)
        for one in judged.judgements
    ]
    spent = judged.spent.get(trial.judge.name, Spent())
    return Told(tuple(answers), spent, judged.notes)


def _member(config: JudgeConfig, name: str) -> ModelJudge:
    models = {one.name: one for one in config.judges if isinstance(one, ModelJudge)}
    others = {one.name: one.kind for one in config.judges if not isinstance(one, ModelJudge)}
    if not name and len(models) == 1:
        return next(iter(models.values()))
    if name in models:
        return models[name]
    if name in others or not models:
        kinds = ", ".join(f"{each} is {kind}" for each, kind in others.items())
        raise UsageError(f"Only a judge that is a model can be asked: {kinds}.")
    said = f"No judge {name!r}.{near(name, models)}" if name else "There are several judges."
    raise UsageError(f"{said} Name one with --judge: {', '.join(models)}.")


def _rubric_name(compared: Compared, info: SuiteInfo, said: JudgedSuite, known: Declared) -> str:
    judged = [one.rubric for one in compared.comparison.judgings if one.suite == info.name]
    names = [*(said.rubrics or ()), *judged, *info.rubrics, *known.rubrics]
    if not names:
        raise UsageError(f"{info.name} declares no rubric: name one with --rubric (helpful, …).")
    return names[0]


def _protocol(compared: Compared, suite: str, rubric: str) -> Protocol | None:
    judgings = compared.comparison.judgings
    mine = [one for one in judgings if (one.suite, one.rubric) == (suite, rubric)]
    return mine[0].protocol if mine else None


def _asked(member: ModelJudge, job: Job) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    (matter,) = job.matters
    if isinstance(member.model, HFModel):
        options = (
            pairwise_options(matter, job.rubric, "base_first")
            if job.protocol == "pairwise"
            else pointwise_options(matter, job.rubric, "base")
        )
        return options.prompt, options.continuations
    if job.protocol == "pairwise":
        return pairwise(matter, job.rubric, "base_first"), ()
    return pointwise(matter, job.rubric, "base"), ()


def _alone(config: JudgeConfig, member: ModelJudge) -> JudgeConfig:
    """The one judge, asked each question once, without what comes before and after a comparison."""
    return config.model_copy(
        update={"judges": (member,), "probes": "skip", "strip": False, "repeat": 1}
    )
