"""inspect_ai's logs: `.eval` (a zip of JSON files) and `.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from evalkit.errors import UsageError
from evalkit.imports.base import (
    Imported,
    count,
    label,
    mean_score,
    measured,
    number,
    plain,
    short_hash,
    slices_of,
    suite_info,
    with_slices,
)
from evalkit.imports.files import Archive, BrokenLogError, digest_of, known_form, read_object
from evalkit.progress import Progress
from evalkit.records import (
    Completion,
    Message,
    Metric,
    Prompt,
    Result,
    Role,
    Sample,
    Score,
    StopReason,
    SuiteInfo,
)

_GRADES = {
    "c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0,
}  # fmt: skip
"""Correct, partial, incorrect, no answer: the numbers that inspect_ai itself makes of them."""
_ROLES: Mapping[object, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_STOPS: Mapping[object, StopReason] = {"max_tokens": "length", "model_length": "length"}
_MEANS = ("accuracy", "mean")  # metrics of inspect_ai that are means over samples
_SPREADS = ("stderr", "bootstrap_stderr", "std", "var")  # and those that say nothing of a mean
_UNFINISHED = "Go on with it by `inspect eval-retry`, and import that log."

Rows: TypeAlias = Iterator[tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class _Group:
    """A sample as its first row has it, its metadata, and by epoch the answers to it."""

    sample: Sample
    metadata: Mapping[str, Any]
    answers: dict[int, tuple[Completion, Mapping[str, float | None]]]


@dataclass(frozen=True, slots=True)
class _Log:
    """One log, read: one task, one model."""

    header: Mapping[str, Any]
    info: SuiteInfo
    setup: Mapping[str, str]
    results: Sequence[Result]
    notes: Sequence[str]

    @property
    def model(self) -> str:
        """The model as inspect_ai names it."""
        return plain(self.header["eval"].get("model") or "unknown model")


@known_form("inspect_ai")
def read_inspect(paths: Sequence[Path], progress: Progress) -> Imported:
    """The logs of one model, each of another task; a sample's epochs are several answers to it.

    UsageError where an evaluation was not finished, or the logs are of several models.
    """
    logs = [_read(path, progress) for path in paths]
    models = list(dict.fromkeys(log.model for log in logs))
    if len(models) > 1:
        raise UsageError(f"The logs are of {len(models)} models: {', '.join(models)}. Import each.")
    names = [log.info.name for log in logs]
    if len(set(names)) < len(names):
        raise UsageError(f"Two logs are of the same task: {', '.join(names)}. Import each alone.")
    told = [log.header["eval"] for log in logs]
    stats = [log.header.get("stats") or {} for log in logs]
    return Imported(
        tool="inspect",
        model=models[0],
        results=tuple(result for log in logs for result in log.results),
        suites=tuple(log.info for log in logs),
        setups={log.info.name: log.setup for log in logs},
        digest=digest_of(paths),
        versions={key: str(one) for key, one in (told[0].get("packages") or {}).items()},
        git_commit=str((told[0].get("revision") or {}).get("commit") or ""),
        started=min(str(one.get("started_at") or "") for one in stats),
        finished=max(str(one.get("completed_at") or "") for one in stats),
        notes=tuple(note for log in logs for note in log.notes),
    )


def _read(path: Path, progress: Progress) -> _Log:
    if not path.is_file():
        raise UsageError(f"{path} is no file. Name .eval or .json logs of inspect_ai.")
    with _opened(path) as (header, rows):
        told = header["eval"]
        suite = f"inspect:{label(told.get('task') or 'task')}"
        groups = _groups(suite, header, rows, path, progress)
    scored = (values for group in groups for _, values in group.answers.values())
    names = list(dict.fromkeys(name for values in scored for name in values))
    found = [_result(group, names) for group in groups]
    results, slices = with_slices(found, [slices_of(group.metadata) for group in groups])
    metrics, notes = _metrics(suite, groups, results, names, header.get("results") or {})
    setup = _setup(told, header.get("plan") or {})
    info = suite_info(
        suite,
        "generate",
        metrics,
        setup,
        len(results),
        available=(told.get("dataset") or {}).get("samples"),
        slices=slices,
    )
    return _Log(header, info, setup, results, notes)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Rows]]:
    """A log's header, and its samples one after the other with their places."""
    if path.suffix == ".json":
        log = read_object(path)
        rows = log.pop("samples", None) or []
        yield _checked(log, path), ((f"{path}: sample {n}", row) for n, row in enumerate(rows, 1))
        return
    with Archive(path) as archive:
        names = archive.names()
        if "header.json" not in names:
            raise BrokenLogError(
                f"{path}: no header.json in it: it is no log of inspect_ai, or of an evaluation "
                f"that was killed. {_UNFINISHED}"
            )
        members = [one for one in names if one.startswith("samples/") and one.endswith(".json")]
        header = _checked(archive.read("header.json"), path)
        yield header, ((f"{path}:{name}", archive.read(name)) for name in members)


def _checked(header: dict[str, Any], path: Path) -> dict[str, Any]:
    if not isinstance(header.get("eval"), dict):
        raise BrokenLogError(f"{path}: it has no 'eval', so it is no log of inspect_ai.")
    if header.get("status") != "success":
        why = plain((header.get("error") or {}).get("message") or "")[:300]
        raise UsageError(
            f"{path}: the evaluation did not succeed; its status is {header.get('status')!r}. "
            f"{why} {_UNFINISHED}"
        )
    return header


def _groups(
    suite: str, header: Mapping[str, Any], rows: Rows, path: Path, progress: Progress
) -> list[_Group]:
    """The samples in the order of the data, each with the answers of all its epochs."""
    expected = (header.get("results") or {}).get("total_samples")
    progress.start(path.name, expected if isinstance(expected, int) else 0)
    groups: dict[str, _Group] = {}
    for place, row in rows:
        try:
            key, epoch = plain(row["id"]), int(row["epoch"])
            answer = _completion(row), _values(row)
            if key not in groups:
                groups[key] = _Group(_sample(suite, row), row.get("metadata") or {}, {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BrokenLogError(
                f"{place}: not a sample of inspect_ai ({type(error).__name__}: {error})."
            ) from None
        if epoch in groups[key].answers:
            raise BrokenLogError(f"{place}: epoch {epoch} of sample {key} is logged twice.")
        groups[key].answers[epoch] = answer
        progress.advance(path.name)
    ids = (header["eval"].get("dataset") or {}).get("sample_ids") or ()
    places = {plain(one): place for place, one in enumerate(ids)}
    order = sorted(groups, key=lambda key: places.get(key, len(places)))
    return [groups[key] for key in order]


def _sample(suite: str, row: Mapping[str, Any]) -> Sample:
    """What both arms share; the id is the data's own and a hash of what it is the id of."""
    content = [_asked(row["input"]), row.get("choices"), row.get("target")]
    target = row.get("target")
    targets = target if isinstance(target, list) else [target]
    return Sample(
        id=f"{plain(row['id'])[:80]}-{short_hash(*content)}",
        suite=suite,
        prompt=_prompt(row),
        targets=tuple(plain(one) for one in targets if one not in (None, "")),
    )


def _asked(given: Any) -> Any:
    """An input without what each evaluation makes anew: the ids of its messages."""
    if not isinstance(given, list):
        return given
    return [[turn.get("role"), turn.get("content")] for turn in given]


def _prompt(row: Mapping[str, Any]) -> Prompt:
    """What the model was asked before its first answer; the sample's input where that is unknown.

    A solver may have written it: the choices of a question, a chain-of-thought template.
    """
    turns = []
    for message in row.get("messages") or ():
        if message.get("role") == "assistant" and message.get("source") == "generate":
            break
        role: Role = _ROLES.get(message.get("role"), "user")
        turns.append(Message(role=role, content=_content(row, message.get("content"))))
    if turns:
        return tuple(turns)
    given = row["input"]
    return _content(row, given) if isinstance(given, str) else plain(given)


def _content(row: Mapping[str, Any], content: Any) -> str:
    """A message's text; long ones are kept beside the sample, under a hash."""
    if isinstance(content, list):
        parts = [one.get("text", f"[{one.get('type')}]") for one in content]
        return "\n".join(_content(row, part) for part in parts)
    text = plain(content or "")
    kept = (row.get("attachments") or {}).get(text.removeprefix("attachment://"))
    return plain(kept) if kept is not None and text.startswith("attachment://") else text


def _completion(row: Mapping[str, Any]) -> Completion:
    """An epoch's answer; an error where the sample ended in one."""
    key = f"{plain(row['id'])}/{row['epoch']}"
    if row.get("error"):
        why = plain(row["error"].get("message") or "error")
        return Completion(key=key, stop_reason="error", error=why[:500])
    output = row.get("output") or {}
    choices, usage = output.get("choices") or [{}], output.get("usage") or {}
    text = output.get("completion")
    if text is None:
        text = (choices[0].get("message") or {}).get("content")
    prompt = _prompt(row)
    return Completion(
        key=key,
        text=_content(row, text),
        stop_reason=_STOPS.get(choices[0].get("stop_reason"), "stop"),
        prompt_text=prompt if isinstance(prompt, str) else "\n".join(t.content for t in prompt),
        tokens_in=count(usage.get("input_tokens")),
        tokens_out=count(usage.get("output_tokens")),
        seconds=number(output.get("time")) or 0.0,
    )


def _values(row: Mapping[str, Any]) -> dict[str, float | None]:
    """The sample's scores by scorer, or by scorer/key where a scorer gives several."""
    found: dict[str, float | None] = {}
    for scorer, score in (row.get("scores") or {}).items():
        value = score["value"]
        if isinstance(value, dict):
            found |= {label(f"{scorer}/{key}"): _graded(one) for key, one in value.items()}
        else:
            found[label(scorer)] = _graded(value)
    return found


def _graded(value: object) -> float | None:
    """A score's value as inspect_ai's metrics take it; None where it is NaN or no number."""
    if not isinstance(value, str):
        return number(value)
    grade = _GRADES.get(value.strip().lower())
    try:
        return grade if grade is not None else number(float(value))
    except ValueError:
        return None


def _result(group: _Group, names: Sequence[str]) -> Result:
    answers = [group.answers[epoch] for epoch in sorted(group.answers)]
    broken = next((one.error for one, _ in answers if one.error), "")
    return Result(
        sample=group.sample,
        completions=tuple(one for one, _ in answers),
        scores=tuple(
            mean_score(group.sample.id, name, [values.get(name) for _, values in answers], broken)
            for name in names
        ),
    )


def _metrics(
    suite: str,
    groups: Sequence[_Group],
    results: Sequence[Result],
    names: Sequence[str],
    told: Mapping[str, Any],
) -> tuple[list[Metric], list[str]]:
    """The metrics whose mean over samples is the log's own, and why others are left out."""
    metrics, notes = [], []
    for name in names:
        scores = [score for one in results for score in one.scores if score.scorer == name]
        own = _own_numbers(name, told)
        found = _mean(scores)
        if found is None or (own and not any(_same(found, one) for one in own.values())):
            numbers = ", ".join(f"{key} {one:.6g}" for key, one in own.items()) or "none"
            notes.append(
                f"{suite}: {name} is left out: its number in the log ({numbers}) is not the mean "
                "of its samples"
            )
            continue
        if not own:
            notes.append(
                f"{suite}: the log has no number for {name}; the mean of its samples is shown"
            )
        every = [values.get(name) for group in groups for _, values in group.answers.values()]
        metrics.append(measured(name, every))
    return metrics, notes


def _own_numbers(name: str, told: Mapping[str, Any]) -> dict[str, float]:
    """What the log itself has for a score: its means; if there are none, whatever it has instead.

    Several where epochs were reduced in several ways.
    """
    last = name.rpartition("/")[2]
    found: dict[str, float] = {}
    for place, one in enumerate(told.get("scores") or ()):
        if label(one.get("name")) not in (name, last):
            continue
        for metric, described in (one.get("metrics") or {}).items():
            known = number((described or {}).get("value"))
            if known is not None and metric not in _SPREADS:
                found[f"{metric} of {place + 1}" if metric in found else str(metric)] = known
    means = {key: one for key, one in found.items() if key.partition(" of ")[0] in _MEANS}
    return means or found


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=1e-9)


def _mean(scores: Sequence[Score]) -> float | None:
    known = [one.value for one in scores if one.value is not None]
    return math.fsum(known) / len(known) if known else None


def _setup(told: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, str]:
    """How the task was asked: what two logs must share for their samples to be paired."""
    scorers = [[one.get("name"), one.get("options")] for one in told.get("scorers") or ()]
    steps = [[one.get("solver"), one.get("params")] for one in plan.get("steps") or ()]
    config = {key: (plan.get("config") or {}).get(key) for key in _DECODING}
    parts = {
        "task": told.get("task"),
        "task_version": told.get("task_version"),
        "task_args": told.get("task_args") or {},
        "solver": steps,
        "scorers": scorers,
        "decoding": {key: value for key, value in config.items() if value is not None},
    }
    return {key: plain(value) for key, value in parts.items() if value is not None}


_DECODING = ("max_tokens", "temperature", "top_p", "top_k", "stop_seqs", "system_message")
