"""Another tool's judgements become comparisons: runs of the arms, deltas, the judge's health."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evalkit.compare import compare
from evalkit.estimates import LEVEL
from evalkit.imports.alpaca_eval import METRIC, RUBRIC, SUITE, UNNAMED, Annotated, Log
from evalkit.imports.base import keep
from evalkit.judges.attacks import flags
from evalkit.judges.health import Known, health_of, jury_health
from evalkit.judges.preferences import preferences, utilities
from evalkit.records import Comparison, JudgeHealth, Judging, Run, Score, Side
from evalkit.stats.length_control import LengthControlled, length_controlled_jointly
from evalkit.store.judgements import JUDGEMENTS, write_judgements
from evalkit.store.runs import write_comparisons

_NOTE = (
    "One call was logged for each pair, in an order that the log does not tell: how far this judge "
    "goes by the place of an answer is not known."
)
_JOINT = (
    "The win rates at equal lengths were fitted over {count} models of the same prompts together, "
    "with the difficulty of each prompt."
)
_Joint = Mapping[tuple[str, str], LengthControlled]
"""By judge and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The comparisons made of a log, one for each model, and the folder that holds them."""

    comparisons: tuple[Comparison, ...]
    folder: Path


def keep_log(log: Log, output: Path) -> Logged:
    """Write a run below `output` for the baseline and each model, and a folder that compares them.

    The baseline is the base and each model a tuned arm; where there are several models, their win
    rates at equal lengths are fitted jointly. UsageError where a name cannot be a run's.
    """
    base = keep(log.baseline, "", output)
    joint = _joint(log.models) if len(log.models) > 1 else {}
    runs = [keep(one.run, "", output) for one in log.models]
    suspects = _flagged(base)
    folder = output / "compare" / _name([base, *runs])
    comparisons = []
    for run, model in zip(runs, log.models, strict=True):
        name = JUDGEMENTS if len(runs) == 1 else f"judgements-{run.manifest.name}.jsonl"
        write_judgements(folder, model.judgements, name)
        comparison = _compared(_declaring(base, model, folder / name), run, model)
        flagged = {"base": suspects, "tuned": _flagged(run)}
        judging = replace(_judging(log, model, joint, flagged), file=name)
        comparisons.append(replace(comparison, judgings=(judging,)))
    write_comparisons(folder, comparisons)
    return Logged(comparisons=tuple(comparisons), folder=folder)


def _name(arms: Sequence[Run]) -> str:
    """Who is compared, and a mark that is another for other runs."""
    names = "-".join(one.manifest.name for one in arms[1:])
    told = " ".join(one.manifest.run_id for one in arms)
    mark = hashlib.sha256(told.encode()).hexdigest()[:8]
    return f"{arms[0].manifest.name}-vs-{names}"[:80] + f"-{mark}"


def _declaring(base: Run, model: Annotated, file: Path) -> Run:
    """The baseline's run as it is compared: with the judges declared that a gate asks for."""
    names = dict.fromkeys(one.judge for one in model.judgements)
    judges = [{"kind": "recorded", "name": name, "path": str(file)} for name in names]
    config = {**base.manifest.config, "judge": {"judges": judges}}
    return replace(base, manifest=replace(base.manifest, config=config))


def _compared(base: Run, tuned: Run, model: Annotated) -> Comparison:
    found = {
        sample: one.value
        for (_, _, sample), one in utilities(preferences(model.judgements)).items()
    }
    turned = {sample: None if value is None else 1 - value for sample, value in found.items()}
    return compare(_with_scores(base, turned), _with_scores(tuned, found))


def _with_scores(run: Run, values: Mapping[str, float | None]) -> Run:
    """The run as it is compared: with what the judges make of its answers, on no disk."""
    results = []
    for one in run.results:
        value = values.get(one.sample.id)
        why = "" if value is not None else "not judged"
        score = Score(sample_id=one.sample.id, scorer=METRIC.name, value=value, reason=why)
        results.append(replace(one, scores=(*one.scores, score)))
    return replace(run, results=tuple(results))


def _judging(
    log: Log,
    model: Annotated,
    joint: _Joint,
    flagged: Mapping[str, Mapping[str, tuple[str, ...]]],
) -> Judging:
    judges = list(dict.fromkeys(one.judge for one in model.judgements))
    told = [_NOTE, *([_JOINT.format(count=len(log.models))] if joint else [])]
    return Judging(
        suite=SUITE,
        rubric=RUBRIC,
        metric=METRIC.name,
        protocol="pairwise",
        judges=tuple(_health(judge, log, model, joint) for judge in judges),
        jury=jury_health(model.judgements),
        flagged={side: found for side, found in flagged.items() if found},
        notes=(*told, *model.run.notes),
    )


def _flagged(run: Run) -> dict[str, tuple[str, ...]]:
    """The samples whose text looks like an attempt on the judge; nothing is known without texts."""
    texts = {one.sample.id: one.completions[0].text for one in run.results if one.completions}
    return dict(flags(texts))


def _health(judge: str, log: Log, model: Annotated, joint: _Joint) -> JudgeHealth:
    families: dict[Side, str] = {
        "base": log.baseline.fingerprints["generator"],
        "tuned": model.generator,
    }
    known = Known(
        lengths=model.lengths,
        families=families,
        controlled=joint.get((judge, model.run.model)),
    )
    said = [one for one in model.judgements if one.judge == judge]
    return health_of(judge, "" if judge == UNNAMED else judge, "", said, known)


def _joint(models: Sequence[Annotated]) -> dict[tuple[str, str], LengthControlled]:
    """Each model's win rate at equal lengths by each judge, fitted with the others'."""
    found: dict[tuple[str, str], LengthControlled] = {}
    for judge in dict.fromkeys(one.judge for model in models for one in model.judgements):
        rows = [
            (model.run.model, one.sample_id, one.value, model.lengths[one.sample_id])
            for model in models
            for one in model.judgements
            if one.judge == judge and one.value is not None and one.sample_id in model.lengths
        ]
        names, prompts, values, sizes = zip(*rows, strict=True) if rows else ((), (), (), ())
        away = np.array([tuned - base for base, tuned in sizes], dtype=np.float64)
        utility = np.array(values, dtype=np.float64)
        fitted = length_controlled_jointly(names, prompts, utility, away, LEVEL) if rows else {}
        found |= {(judge, name): one for name, one in fitted.items() if one is not None}
    return found
