"""What every importer gives, and how it becomes a run folder."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os.path import commonprefix
from pathlib import Path
from typing import Any, Literal, TypeAlias

import evalkit
from evalkit.config import safe_name
from evalkit.errors import UsageError
from evalkit.jsonl import without_half_pairs
from evalkit.records import Completion, Manifest, Metric, Result, Run, Score, SuiteInfo
from evalkit.store.runs import SCHEMA_VERSION, check_writable, write_run

_MOST_TOKENS = 2**53
_SLICES = 20  # values that a field may have
_SLICE_NAME = 60  # characters
_BLANK = "\n\n"  # between worked examples

Tool: TypeAlias = Literal["lm_eval", "opencompass", "inspect", "promptfoo", "alpaca_eval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One model's answers and scores, as another tool logged them.

    `setups` says by suite what its fingerprint was made of (versions, prompts, decoding), so that a
    comparison can tell what differs. `fingerprints` identify the model as far as the log does.
    `lower` are the metrics of which the user said that less is better.
    """

    tool: Tool
    model: str
    results: tuple[Result, ...]
    suites: tuple[SuiteInfo, ...]
    setups: Mapping[str, Mapping[str, str]]
    digest: str
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""
    seed: int = 0
    started: str = ""
    finished: str = ""
    notes: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()


def keep(imported: Imported, name: str, output: Path) -> Run:
    """Write one run folder below `output`; UsageError where the log or the name is of no use."""
    if not imported.results:
        raise UsageError(f"The {imported.tool} log of {imported.model!r} holds no samples.")
    chosen = name or slug(imported.model)
    try:
        safe_name(chosen)
    except ValueError as error:
        raise UsageError(f"--name {chosen!r}: {error}.") from None
    check_writable(output)
    manifest = _manifest(imported, chosen)
    return write_run(output / manifest.run_id, manifest, _with_leads(imported.results))


def _with_leads(results: Sequence[Result]) -> list[Result]:
    """The results, knowing what stands before each question.

    A log holds whole prompts: the blocks with which all of a suite (of one of its tasks, which have
    examples of their own) begin are no part of any question. Of fewer than three nothing is said.
    """
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in results:
        texts[_task_of(one)].append(one.sample.asked)
    shared = {
        # What the first and the last in order have in common, all have.
        task: commonprefix([min(found), max(found)]).rpartition(_BLANK)[:2]  # noqa: RUF071
        for task, found in texts.items()
        if len(found) > 2 and len(set(found)) > 1
    }
    leads = {task: sum(map(len, parts)) for task, parts in shared.items()}
    return [
        replace(one, sample=replace(one.sample, lead=leads.get(_task_of(one)))) for one in results
    ]


def _task_of(result: Result) -> tuple[str, str]:
    return result.sample.suite, result.sample.slices.get("task", "")


def _manifest(imported: Imported, name: str) -> Manifest:
    completions = [one for result in imported.results for one in result.completions]
    told = [imported.tool, imported.digest, imported.model, evalkit.__version__]
    identity = json.dumps([*told, imported.lower] if imported.lower else told)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}",
        name=name,
        config={
            "name": name,
            "model": {"kind": "imported", "model": imported.model},
            "imported": {"tool": imported.tool, "setups": imported.setups},
            "gate": {},
        },
        fingerprints={
            "engine": f"import/{imported.tool}",
            "model": imported.model,
            "recording": imported.digest,
            **{key: plain(value) for key, value in imported.fingerprints.items() if value},
        },
        suites=imported.suites,
        versions={
            "evalkit-compare": evalkit.__version__,
            **{label(name): plain(version) for name, version in imported.versions.items()},
        },
        git_commit=plain(imported.git_commit),
        seed=imported.seed,
        started=plain(imported.started),
        finished=plain(imported.finished),
        counts=_counts(imported.results, completions),
        notes=imported.notes,
    )


def _counts(results: Sequence[Result], completions: Sequence[Completion]) -> dict[str, int]:
    """Tokens only where the log counts them: 0 would be a claim."""
    counts = {
        "samples": len(results),
        "completions": len(completions),
        "errors": sum(bool(one.error) for one in completions),
    }
    tokens = {
        "tokens_in": sum(one.tokens_in for one in completions),
        "tokens_out": sum(one.tokens_out for one in completions),
    }
    return counts | {key: count for key, count in tokens.items() if count}


def suite_info(
    name: str,
    task: str,
    metrics: Sequence[Metric],
    setup: Mapping[str, str],
    samples: int,
    *,
    available: object = None,
    slices: Mapping[str, int] | None = None,
) -> SuiteInfo:
    """A suite as a log describes it; the first metric that has a direction is the gated one.

    A perplexity only where there is no other: it has no scale that a margin could be declared on.
    UsageError where no metric has a direction.
    """
    judged = [one for one in metrics if one.higher_is_better is not None]
    gated = min(judged, key=lambda one: one.kind == "perplexity", default=None)
    if gated is None:
        raise UsageError(
            f"{name} has no metric with a value for each sample and a direction, so it cannot be "
            "compared."
        )
    identity = json.dumps([name, dict(setup)], sort_keys=True, ensure_ascii=False)
    return SuiteInfo(
        name=name,
        title=name.partition(":")[2],
        language="",
        task=task,
        metric=gated.name,
        metrics=tuple(metrics),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        path="",
        samples=samples,
        source=name.partition(":")[0],
        available=(count(available) or None) if isinstance(available, int) else None,
        slices=slices,
    )


def measured(
    name: str,
    values: Sequence[float | None],
    *,
    higher_is_better: bool | None = True,
    bounded: bool = False,
) -> Metric:
    """A metric that is a mean over samples: binary where every known value is 0 or 1."""
    known = [value for value in values if value is not None]
    binary = bool(known) and all(value in (0.0, 1.0) for value in known)
    metric = Metric(
        name=name, higher_is_better=higher_is_better, kind="binary" if binary else "continuous"
    )
    return replace(metric, least=0.0, most=1.0) if bounded and not binary else metric


def number(value: object) -> float | None:
    """A finite number (or a truth value, as 0 or 1); None for anything else."""
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    return None


def count(value: object) -> int:
    """A number of tokens; 0, which stands for unknown, where it is none."""
    known = number(value)
    return int(known) if known is not None and 0 <= known < _MOST_TOKENS else 0


def mean_score(
    sample_id: str, name: str, values: Sequence[float | None], reason: str = ""
) -> Score:
    """The mean of what several answers of a sample got; None where none of them got a number."""
    known = [value for value in values if value is not None]
    if not known:
        told = reason or "the log has no number for it"
        return Score(sample_id=sample_id, scorer=name, value=None, reason=told)
    return Score(
        sample_id=sample_id,
        scorer=name,
        value=math.fsum(known) / len(known),
        values=tuple(known) if len(values) > 1 else (),
    )


def slices_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What may name a slice: short texts and truth values of a sample's metadata."""
    return {
        label(key): label(value)
        for key, value in metadata.items()
        if isinstance(value, (str, bool)) and 0 < len(str(value)) <= _SLICE_NAME
    }


def with_slices(
    results: Sequence[Result], told: Sequence[Mapping[str, str]]
) -> tuple[list[Result], dict[str, int]]:
    """The results in slices, and how many samples each slice has.

    A field with more than 20 values tells samples apart, and no slices.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for one in told:
        for key, value in one.items():
            values[key].add(value)
    kept = {key for key, found in values.items() if 1 < len(found) <= _SLICES}
    sliced = [
        replace(
            result,
            sample=replace(
                result.sample, slices={key: one[key] for key in sorted(kept & one.keys())}
            ),
        )
        for result, one in zip(results, told, strict=True)
    ]
    return sliced, dict(Counter(name for one in sliced for name in one.sample.slice_names))


def short_hash(*parts: object) -> str:
    """Twelve characters that tell JSON values apart."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def slug(text: str) -> str:
    """The last part of a model's name or path, as a name that can be a folder's."""
    last = text.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:60] or "imported"


def label(text: object) -> str:
    """A name out of a log, to be shown and to be written in a gate: one line, of sane length."""
    return re.sub(r"[^\w.:/,+@()% -]+", "_", str(text)).strip()[:120] or "unnamed"


def plain(text: object) -> str:
    """A log's value as a text that can be stored: halves of surrogate pairs are replaced."""
    told = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=str)
    return without_half_pairs(told)


def iso(seconds: object) -> str:
    """A UNIX time as ISO 8601, or nothing where it is none."""
    known = number(seconds)
    try:
        return datetime.fromtimestamp(known, UTC).isoformat(timespec="seconds") if known else ""
    except (OverflowError, ValueError, OSError):
        return ""


def changed(base: Manifest, tuned: Manifest, suites: Sequence[str]) -> str:
    """What differs between two imports in how suites were asked, for a message; "" if unknown."""
    told = []
    for name in suites:
        mine, theirs = (_setup(one, name) for one in (base, tuned))
        # A suite of our own is of another kind altogether, not one that differs in every key.
        for key in sorted(mine.keys() | theirs.keys()) if mine and theirs else ():
            if mine.get(key) != theirs.get(key):
                values = " against ".join(
                    repr(_cut(one.get(key, "not told"))) for one in (mine, theirs)
                )
                told.append(f"{name}: {key} is {values}")
    return "; ".join(told[:8])


def _setup(manifest: Manifest, suite: str) -> Mapping[str, str]:
    imported: Any = manifest.config.get("imported") or {}
    found = imported.get("setups", {}).get(suite, {})
    return found if isinstance(found, Mapping) else {}


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
