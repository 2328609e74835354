"""Suites of lm-eval's tasks: one for a task, one for a group, one for each task of a tag."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evalkit.config import RunConfig
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Asked, Suite
from evalkit.harnesses.lm_eval.identity import configuration, encoded
from evalkit.harnesses.lm_eval.index import PREFIX, Index, open_index, version
from evalkit.harnesses.lm_eval.metrics import Reading, label, readings, with_even_references
from evalkit.harnesses.lm_eval.quiet import quietly, seeded
from evalkit.harnesses.lm_eval.requests import Wording, check_settings, instances_of
from evalkit.harnesses.lm_eval.scoring import Documents, Measured, scorer_of, silent, tried
from evalkit.harnesses.lm_eval.tasks import Group, build, check_names, documents, speaking_for
from evalkit.records import Metric, Prompt, Sample, SuiteInfo
from evalkit.scorers.addends import TASKS

_POINTS = "0–100"


def open_lm_eval(
    name: str, config: RunConfig, *, allow_code_execution: bool = False
) -> list[Suite]:
    """The suites that lm-eval's task, group or tag stands for; raises SuiteError.

    Tasks that run what a model wrote, outside any sandbox, are opened only where that is allowed.
    """
    version()  # says how it is installed
    check_settings(config)
    index = open_index(config.lm_eval.include_path)
    check_names(config.lm_eval, index)
    if index.find(name).kind.name != "TAG":
        return _opened(name, index, config, allow_code_execution)
    suites = []
    for member in index.members(name):
        suites += _opened(member, index, config, allow_code_execution)
    return suites


def _opened(name: str, index: Index, config: RunConfig, allowed: bool) -> list[Suite]:
    built = build(name, index, config.lm_eval, allow_code_execution=allowed)
    path = str(index.find(name).yaml_path or "")
    if not isinstance(built, Group):
        return [_suite(name, {name: _read(name, built, config)}, config, path)]
    parts = {each: _read(each, task, config) for each, task in built.tasks.items()}
    measured = _of_group(built, parts)
    if measured:
        return [_suite(name, parts, config, path, built, measured)]
    # Without a number of its own a group is but a list of its tasks.
    why = f"of the group {name}, which has no number that can be compared as a whole"
    return [_suite(each, {each: part}, config, path, note=why) for each, part in parts.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A task that was opened: what is asked of each of its documents, and what it measures."""

    task: Any
    instances: Mapping[int, Sequence[Any]]
    asks: Mapping[int, tuple[Asked, ...]]
    readings: tuple[Reading, ...]
    available: int
    notes: tuple[str, ...]


def _read(name: str, task: Any, config: RunConfig) -> _Part:
    wording = Wording(name, config)
    with speaking_for(name), quietly(), seeded():
        available = documents(task)
        grouped: dict[int, list[Any]] = defaultdict(list)
        for one in instances_of(name, task, config):
            grouped[one.doc_id].append(one)
        for mine in grouped.values():
            mine.sort(key=lambda one: one.idx)
        asks = {
            number: tuple(asked for one in mine for asked in wording.asked(one))
            for number, mine in grouped.items()
        }
        notes = dict(wording.notes)
        found = _readings(task, list(grouped.values()), notes)
    if not found:
        raise SuiteError(f"lm_eval:{name} has no metric to compare by. {'; '.join(notes)}")
    return _Part(
        task=task,
        instances=grouped,
        asks=asks,
        readings=found,
        available=available,
        notes=tuple(notes),
    )


def _readings(
    task: Any, asked: Sequence[Sequence[Any]], notes: dict[str, None]
) -> tuple[Reading, ...]:
    found = readings(task, tried(task, asked), notes)
    if not any(one.overlap for one in found):
        return found
    values = (silent(task, instances) for instances in asked)
    return with_even_references(found, filter(None, values), notes)


def _of_group(group: Group, parts: Mapping[str, _Part]) -> list[Measured]:
    """The group's metrics: what lm-eval averages of its tasks, as far as they are averages, too."""
    found: dict[str, Measured] = {}
    for rule in group.rules:
        keys = {one.key for part in parts.values() for one in part.readings}
        chosen = rule.filter_list or sorted({filtered for _, filtered in keys})
        for filtered in chosen:
            key = (rule.metric, filtered)
            mine = {
                name: one for name, part in parts.items() for one in part.readings if one.key == key
            }
            if mine and all(one.averaged for one in mine.values()):
                found[label(key)] = _averaged(
                    key, mine, {name: len(parts[name].asks) for name in mine}, rule.weight_by_size
                )
    return list(found.values())


def _averaged(
    key: tuple[str, str],
    mine: Mapping[str, Reading],
    sizes: Mapping[str, int],
    by_size: bool,
) -> Measured:
    """By size, the mean over all documents; else that of the tasks, each counting the same."""
    every = [one.metric for one in mine.values()]
    binary = all(one.kind == "binary" for one in every)
    metric = replace(every[0], name=label(key), kind="binary" if binary else "continuous")
    if by_size or len(set(sizes.values())) == 1:
        return Measured(metric=metric, readings=mine)
    even = sum(sizes.values()) / len(sizes)
    weights = {name: even / size for name, size in sizes.items()}
    return Measured(metric=replace(metric, kind="ratio"), readings=mine, weights=weights)


def _suite(
    name: str,
    parts: Mapping[str, _Part],
    config: RunConfig,
    path: str,
    group: Group | None = None,
    measured: Sequence[Measured] = (),
    note: str = "",
) -> Suite:
    first = next(iter(parts.values()))
    if group is None:
        measured = [Measured(metric=one.metric, readings={name: one}) for one in first.readings]
    samples, asks, owners = [], {}, {}
    documents: dict[str, Documents] = {}
    for each, part in parts.items():
        ids = {number: f"{each}/{number}" for number in part.asks}
        documents[each] = Documents(
            task=part.task,
            instances={ids[number]: mine for number, mine in part.instances.items()},
        )
        slices = _slices(each, group)
        for number, asked in part.asks.items():
            samples.append(_sample(name, ids[number], part, number, slices))
            asks[ids[number]] = asked
            owners[ids[number]] = each
    metrics = tuple(one.metric for one in measured)
    gated = _gated(metrics)
    notes = [note] if note else []
    notes += [f"{each}: {one}" if group else one for each, p in parts.items() for one in p.notes]
    notes += _unheard(config)
    return Suite(
        info=SuiteInfo(
            name=PREFIX + name,
            title=_title(name, first.task, group),
            language=_told(first.task, "language"),
            task=TASKS[first.task.OUTPUT_TYPE],
            metric=gated.name,
            metrics=metrics,
            fingerprint=_fingerprint(parts, group),
            path=path,
            samples=len(samples),
            margin=2.0 if gated.unit == _POINTS else 0.02,
            license=_told(first.task, "license"),
            source=", ".join(dict.fromkeys(filter(None, map(_source, parts.values())))),
            description=_description(parts, group, config),
            available=sum(part.available for part in parts.values()),
            slices=_sizes(parts, group),
        ),
        task=TASKS[first.task.OUTPUT_TYPE],
        samples=tuple(samples),
        scorers=(scorer_of(documents, owners, measured),),
        notes=tuple(dict.fromkeys(notes)),
        asks=asks,
    )


def _gated(metrics: Sequence[Metric]) -> Metric:
    """Bits per byte before perplexities, which have no scale; else the first that can be judged."""
    judged = [one for one in metrics if one.higher_is_better is not None] or list(metrics)
    return min(judged, key=lambda one: one.kind == "perplexity")


def _unheard(config: RunConfig) -> list[str]:
    own = config.decoding
    unheard = [
        key for key in ("temperature", "top_p", "stop", "repeats") if key in own.model_fields_set
    ]
    if not unheard:
        return []
    keys = ", ".join(f"decoding.{key}" for key in unheard)
    return [f"{keys}: of native suites; lm-eval's tasks go by lm_eval.gen_kwargs and repeats"]


def _slices(task: str, group: Group | None) -> dict[str, str]:
    if group is None:
        return {}
    part = group.parts.get(task)
    return {"task": task, **({"group": part} if part else {})}


def _sizes(parts: Mapping[str, _Part], group: Group | None) -> dict[str, int]:
    """How many documents each slice has, whatever the limit."""
    counts: dict[str, int] = defaultdict(int)
    for name, part in parts.items():
        for key, value in _slices(name, group).items():
            counts[f"{key}={value}"] += part.available
    return dict(sorted(counts.items()))


def _sample(suite: str, key: str, part: _Part, number: int, slices: Mapping[str, str]) -> Sample:
    task, document = part.task, part.instances[number][0].doc
    asked = part.asks[number]
    target = _quiet_target(task, document)
    choices, answer = _choices(task, document, target, len(asked))
    targets = target if isinstance(target, list) else [target]
    if answer is not None:
        targets = [choices[answer]]
    sample = Sample(
        id=key,
        suite=PREFIX + suite,
        prompt=_shown(asked[0]),
        targets=tuple(str(one) for one in targets if one is not None),
        choices=choices,
        answer=answer,
        slices=slices,
        fields=_plain_fields(document),
    )
    return replace(sample, lead=_lead(task, document, sample.asked))


def _lead(task: Any, document: Any, asked: str) -> int | None:
    """What comes before the document's own question in what is asked of it: the description and
    the worked examples; None where the prompt is not put together like that."""
    try:
        with quietly():
            own = task.doc_to_text(document)
    except Exception:  # shown to a reader only
        return None
    known = isinstance(own, str) and bool(own) and asked.endswith(own)
    return len(asked) - len(own) if known else None


def _shown(asked: Asked) -> Prompt:
    return asked.continuation if asked.kind == "rolling" else asked.prompt


def _quiet_target(task: Any, document: Any) -> Any:
    try:
        with quietly():
            return task.doc_to_target(document)
    except Exception:  # shown to a reader only; lm-eval's scoring has its own say
        return None


def _choices(
    task: Any, document: Any, target: Any, asked: int
) -> tuple[tuple[str, ...], int | None]:
    """The choices, where each was asked for once and one of them is known to be right."""
    if task.OUTPUT_TYPE != "multiple_choice" or getattr(task, "multiple_input", 0):
        return (), None
    choices = tuple(map(str, task.doc_to_choice(document)))
    if isinstance(target, str) and target in choices:
        target = choices.index(target)
    known = isinstance(target, int) and 0 <= target < len(choices) == asked
    return (choices, int(target)) if known else ((), None)


def _plain_fields(document: Any) -> dict[str, Any]:
    """The document as far as it is plain data."""
    fields = document if isinstance(document, Mapping) else {"text": document}
    plain = {}
    for name, value in fields.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            continue
        plain[str(name)] = value
    return plain


def _title(name: str, task: Any, group: Group | None) -> str:
    alias = None if group is not None else task.get_config("task_alias")
    return str(alias) if alias else name


def _told(task: Any, key: str) -> str:
    told = task.get_config("metadata")
    value = told.get(key) if isinstance(told, Mapping) else None
    return value if isinstance(value, str) else ""


def _source(part: _Part) -> str:
    path, name = part.task.DATASET_PATH, part.task.DATASET_NAME
    return f"{path} ({name})" if path and name else str(path or "")


def _description(parts: Mapping[str, _Part], group: Group | None, config: RunConfig) -> str:
    """Whose number this is: what has to be the same wherever it is to be found again."""
    versions = dict.fromkeys(str(part.task.VERSION) for part in parts.values())
    shots = dict.fromkeys(str(part.task.get_config("num_fewshot") or 0) for part in parts.values())
    told = f"lm-eval {version()}, task version {'/'.join(versions)}, {'/'.join(shots)}-shot"
    if group is not None:
        told += f", {len(parts)} tasks"
        told += (
            f", group version {group.metadata['version']}" if "version" in group.metadata else ""
        )
    if config.limit is not None:
        told += f", the first {config.limit} documents" + (" of each" if group is not None else "")
    return told


def _fingerprint(parts: Mapping[str, _Part], group: Group | None) -> str:
    """sha256 of lm-eval's version, each task's configuration, and all that is asked and scored."""
    told = hashlib.sha256(f"lm-eval {version()}".encode())
    if group is not None:
        told.update(encoded([asdict(rule) for rule in group.rules]))
    for name, part in parts.items():
        told.update(encoded([name, str(part.task.VERSION), configuration(part.task)]))
        for number, asked in part.asks.items():
            told.update(encoded([number, _plain_fields(part.instances[number][0].doc)]))
            for one in dict.fromkeys(asked):
                told.update(repr(one).encode())
    return told.hexdigest()
