"""AlpacaEval's recorded judgements (annotations.json): models against one baseline, and what an
annotator said of each pair."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.errors import UsageError
from evalkit.imports.base import (
    Imported,
    label,
    number,
    plain,
    short_hash,
    slug,
    suite_info,
    with_slices,
)
from evalkit.imports.files import BrokenLogError, digest_of, known_form, read_table
from evalkit.progress import Progress
from evalkit.records import Completion, Judgement, Metric, Result, Sample, Score

SUITE = "alpaca_eval:instructions"
RUBRIC = "alpaca_eval"
METRIC = Metric(name=f"judge.{RUBRIC}", least=0.0, most=1.0)
LENGTH = Metric(name="length", higher_is_better=None, unit="characters", least=0.0)
UNNAMED = "alpaca_eval"
"""What the judge is called where the rows do not tell the annotator."""
_OWN_NAME = "annotations"  # what AlpacaEval calls every file of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """One model's part of a log: what was said of each of its answers beside the baseline's.

    `generator` is the model's name in the rows, `lengths` are those of the baseline's and its own
    answer in characters, by sample, where the log tells them.
    """

    run: Imported
    generator: str
    judgements: tuple[Judgement, ...]
    lengths: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A baseline and the models that were judged against it."""

    baseline: Imported
    models: tuple[Annotated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One judged pair. `preference` is the utility for the model, None where it was not read."""

    place: str
    sample_id: str
    instruction: str
    dataset: str
    baseline: str
    generator: str
    annotator: str
    preference: float | None
    texts: tuple[str | None, str | None]
    lengths: tuple[int | None, int | None]


@known_form("AlpacaEval")
def read_alpaca_eval(paths: Sequence[Path], progress: Progress) -> Log:
    """Annotations of one or more models against one baseline: JSON or JSONL, gzipped or not.

    A model is called after its file, unless that is AlpacaEval's own annotations.json or holds
    several models: then as in the rows. UsageError where there are several baselines, or a pair
    was judged twice by one annotator.
    """
    rows: dict[str, list[_Row]] = {}
    files: dict[str, Path] = {}
    for path in paths:
        for name, found in _by_model(path, progress).items():
            if name in rows:
                raise UsageError(
                    f"{path}: {name!r} was read from {files[name]} already. Give each model once."
                )
            rows[name], files[name] = found, path
    every = [row for found in rows.values() for row in found]
    _check_baseline(every)
    return Log(
        baseline=_baseline(every, digest_of(files.values())),
        models=tuple(_annotated(name, rows[name], digest_of([files[name]])) for name in rows),
    )


def _by_model(path: Path, progress: Progress) -> dict[str, list[_Row]]:
    by_generator: dict[str, list[_Row]] = defaultdict(list)
    times: Counter[tuple[str, str, str]] = Counter()
    for place, row in read_table(path):
        one = _row(place, row)
        key = (one.generator, one.annotator, one.sample_id)
        times[key] += 1
        if times[key] > 1:
            raise BrokenLogError(
                f"{place}: {one.annotator!r} judged this answer of {one.generator!r} in an earlier "
                "row already; leave one of the two."
            )
        by_generator[one.generator].append(one)
        progress.advance(path.name)
    if not by_generator:
        raise UsageError(f"{path} holds no annotations.")
    stem = path.name.partition(".json")[0]
    if len(by_generator) == 1 and stem != _OWN_NAME:
        return {label(stem): next(iter(by_generator.values()))}
    return {label(name): found for name, found in by_generator.items()}


def _row(place: str, row: Mapping[str, Any]) -> _Row:
    names = {key: row.get(key) for key in ("instruction", "generator_1", "generator_2")}
    lacking = [key for key, value in names.items() if not isinstance(value, str) or not value]
    if lacking:
        raise BrokenLogError(
            f"{place}: no {lacking[0]!r}: not an annotation of AlpacaEval. Give its "
            "annotations.json, or rows with instruction, generator_1, generator_2 and preference."
        )
    instruction = plain(names["instruction"])
    texts = _text(row.get("output_1")), _text(row.get("output_2"))
    return _Row(
        place=place,
        sample_id=short_hash(instruction),
        instruction=instruction,
        dataset=label(row["dataset"]) if row.get("dataset") else "",
        baseline=plain(names["generator_1"]),
        generator=plain(names["generator_2"]),
        annotator=plain(row.get("annotator") or UNNAMED),
        preference=_utility(place, row),
        texts=texts,
        lengths=(_length(row.get("len_1"), texts[0]), _length(row.get("len_2"), texts[1])),
    )


def _text(value: object) -> str | None:
    return plain(value) if isinstance(value, str) else None


def _length(told: object, text: str | None) -> int | None:
    if text is not None:
        return len(text)
    known = number(told)
    return int(known) if known is not None and known >= 0 else None


def _utility(place: str, row: Mapping[str, Any]) -> float | None:
    """1 is the baseline and 2 the model, 1.5 (in old files 0) a tie; null was not to be read."""
    if "preference" not in row:
        raise BrokenLogError(f"{place}: no 'preference': not an annotation of AlpacaEval.")
    value = number(row["preference"])
    if value == 0:
        return 0.5
    if value is None or not 1 <= value <= 2:
        if row["preference"] is None or (isinstance(row["preference"], float) and value is None):
            return None
        raise BrokenLogError(
            f"{place}: preference {row['preference']!r}; it lies between 1 (the baseline is "
            "better) and 2 (the model is)."
        )
    return value - 1


def _check_baseline(rows: Sequence[_Row]) -> None:
    first = rows[0]
    other = next((one for one in rows if one.baseline != first.baseline), None)
    if other is not None:
        raise UsageError(
            f"{other.place}: judged against {other.baseline!r}, and {first.place} against "
            f"{first.baseline!r}. Import models judged against one baseline at a time."
        )


def _baseline(rows: Sequence[_Row], digest: str) -> Imported:
    """The union of what all models were asked; a text where some row has one."""
    best: dict[str, _Row] = {}
    for row in rows:
        known = best.get(row.sample_id)
        if known is None or (known.texts[0] is None and row.texts[0] is not None):
            best[row.sample_id] = row
    return _imported(label(rows[0].baseline), rows[0].baseline, list(best.values()), 0, digest)


def _annotated(name: str, rows: Sequence[_Row], digest: str) -> Annotated:
    answers = list({row.sample_id: row for row in rows}.values())
    return Annotated(
        run=_imported(name, rows[0].generator, answers, 1, digest),
        generator=rows[0].generator,
        judgements=tuple(map(_judgement, rows)),
        lengths={
            row.sample_id: (row.lengths[0], row.lengths[1])
            for row in answers
            if row.lengths[0] is not None and row.lengths[1] is not None
        },
    )


def _judgement(row: _Row) -> Judgement:
    return Judgement(
        suite=SUITE,
        sample_id=row.sample_id,
        judge=slug(row.annotator),
        rubric=RUBRIC,
        protocol="pairwise",
        status="judged" if row.preference is not None else "unparsed",
        value=row.preference,
    )


def _imported(name: str, generator: str, rows: Sequence[_Row], side: int, digest: str) -> Imported:
    """An arm's run: its texts and lengths. The judgements are of two arms, and in no run."""
    told = [{"dataset": row.dataset} if row.dataset else {} for row in rows]
    results, slices = with_slices([_result(row, side) for row in rows], told)
    info = suite_info(SUITE, "generate", [METRIC, LENGTH], {}, len(rows), slices=slices)
    silent = sum(row.texts[side] is None for row in rows)
    note = f"{silent} of {len(rows)} answers are not in the log: their texts cannot be shown"
    return Imported(
        tool="alpaca_eval",
        model=name,
        results=tuple(results),
        suites=(replace(info, rubrics=(RUBRIC,)),),
        setups={SUITE: {}},
        digest=digest,
        fingerprints={"generator": generator},
        notes=(note,) if silent else (),
    )


def _result(row: _Row, side: int) -> Result:
    text, length = row.texts[side], row.lengths[side]
    value = None if length is None else float(length)
    reason = "the log tells neither the text nor its length" if length is None else ""
    return Result(
        sample=Sample(id=row.sample_id, suite=SUITE, prompt=row.instruction),
        completions=()
        if text is None
        else (Completion(key=row.sample_id, text=text, stop_reason="stop"),),
        scores=(Score(sample_id=row.sample_id, scorer=LENGTH.name, value=value, reason=reason),),
    )
