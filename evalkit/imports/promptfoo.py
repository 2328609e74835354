"""promptfoo's result files (`promptfoo eval -o results.json`): a run for each provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from evalkit.imports.files import BrokenLogError, digest_of, known_form, read_object
from evalkit.progress import Progress
from evalkit.records import Completion, Result, Sample

_ERROR = 2  # promptfoo's failureReason where nothing was judged
_TARGETS = ("equals", "contains", "icontains", "similar", "levenshtein", "rouge-n", "bleu")


@dataclass(slots=True)
class _Case:
    """A test case under one prompt, and every answer of one provider to it."""

    sample: Sample
    slices: Mapping[str, str]
    answers: list[tuple[Completion, Mapping[str, float | None]]] = field(default_factory=list)


@known_form("promptfoo")
def read_promptfoo(path: Path, progress: Progress) -> list[Imported]:
    """Each provider of a file, in its order; a repeated test is several answers to one sample.

    UsageError where the file holds no results, or two providers cannot be told apart.
    """
    whole = read_object(path)
    summary = whole["results"] if isinstance(whole.get("results"), dict) else whole
    rows = summary.get("results")
    if not isinstance(rows, list) or not rows:
        raise UsageError(
            f"{path} holds no results. Write it with `promptfoo eval -o results.json`."
        )
    described = (whole.get("config") or {}).get("description") or "evaluation"
    suite = f"promptfoo:{label(described)}"
    by_provider: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for place, row in _placed(path, rows):
        by_provider.setdefault(_provider(row, place), []).append((place, row))
    digest = digest_of([path])
    found = []
    for provider, mine in by_provider.items():
        progress.start(provider, len(mine))
        _check_columns(path, provider, [row for _, row in mine])
        _check_passes(path, provider, [row for _, row in mine], summary.get("prompts") or ())
        found.append(_imported(suite, provider, mine, digest, whole, summary, progress))
    return found


def _placed(path: Path, rows: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, row in enumerate(rows, start=1):
        place = f"{path}: result {index}"
        if not isinstance(row, dict) or not isinstance(row.get("vars", {}), dict):
            raise BrokenLogError(f"{place}: not a result of promptfoo.")
        yield place, row


def _provider(row: Mapping[str, Any], place: str) -> str:
    told = row.get("provider")
    name = (told.get("label") or told.get("id")) if isinstance(told, dict) else told
    if not name:
        raise BrokenLogError(f"{place}: it names no provider.")
    return plain(name)


def _check_columns(path: Path, provider: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One column of promptfoo's table for each prompt, or two providers go by the same name."""
    columns = {row.get("promptIdx"): _prompt_id(row) for row in rows}
    if any(times > 1 for times in Counter(columns.values()).values()):
        raise UsageError(
            f"{path}: two providers are called {provider!r}. Give each a label of its own in "
            "promptfoo's configuration and evaluate again."
        )


def _check_passes(
    path: Path, provider: str, rows: Sequence[Mapping[str, Any]], prompts: Sequence[Any]
) -> None:
    """The file counts what passed; a results list that was cut or filtered has another number."""
    mine = {row.get("promptIdx") for row in rows}
    metrics = [one.get("metrics") or {} for n, one in enumerate(prompts) if n in mine]
    counted = [number(one.get("testPassCount")) for one in metrics]
    if not counted or any(one is None for one in counted):
        return
    expected = int(sum(one for one in counted if one is not None))
    passed = sum(row.get("success") is True for row in rows)
    if passed != expected:
        raise BrokenLogError(
            f"{path}: {passed:,} results of {provider!r} passed, and the file itself counts "
            f"{expected:,}. It was cut or filtered; write it again."
        )


def _prompt_id(row: Mapping[str, Any]) -> str:
    return plain(row.get("promptId") or _template(row))


def _imported(
    suite: str,
    provider: str,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    digest: str,
    whole: Mapping[str, Any],
    summary: Mapping[str, Any],
    progress: Progress,
) -> Imported:
    cases = _cases(suite, rows, provider, progress)
    scored = [values for case in cases for _, values in case.answers]
    names = list(dict.fromkeys(name for values in scored for name in values))
    results, slices = with_slices([_result(one, names) for one in cases], [c.slices for c in cases])
    metrics = [measured(name, [values.get(name) for values in scored]) for name in names]
    setup = {"prompts": plain(sorted({_template(row) for _, row in rows}))}
    written = str(summary.get("timestamp") or "")
    return Imported(
        tool="promptfoo",
        model=provider,
        results=tuple(results),
        suites=(suite_info(suite, "generate", metrics, setup, len(results), slices=slices),),
        setups={suite: setup},
        digest=digest,
        versions=_versions(whole),
        started=written,
        finished=written,
    )


def _versions(whole: Mapping[str, Any]) -> dict[str, str]:
    version = (whole.get("metadata") or {}).get("promptfooVersion")
    return {"promptfoo": plain(version)} if version else {}


def _template(row: Mapping[str, Any]) -> str:
    """The prompt before its variables were filled in, as far as the log names it."""
    prompt = row.get("prompt") or {}
    return plain(prompt.get("label") or prompt.get("display") or row.get("promptId") or "")


def _cases(
    suite: str, rows: Sequence[tuple[str, Mapping[str, Any]]], provider: str, progress: Progress
) -> list[_Case]:
    cases: dict[str, _Case] = {}
    several = len({_template(row) for _, row in rows}) > 1
    for place, row in rows:
        case = _case(suite, row, several=several)
        known = cases.setdefault(case.sample.id, case)
        key = f"{case.sample.id}/{len(known.answers)}"
        try:
            known.answers.append((_completion(key, row), _values(row)))
        except (AttributeError, TypeError, ValueError) as error:
            raise BrokenLogError(f"{place}: not a result of promptfoo ({error}).") from None
        progress.advance(provider)
    return list(cases.values())


def _case(suite: str, row: Mapping[str, Any], *, several: bool) -> _Case:
    """The test case; its id is what was asked and asserted, not its place in the file."""
    test = row.get("testCase") or {}
    variables = {key: one for key, one in (row.get("vars") or {}).items() if key[:1] != "_"}
    asserted = [
        {key: one.get(key) for key in ("type", "value", "metric", "threshold", "weight")}
        for one in test.get("assert") or ()
        if isinstance(one, dict)
    ]
    slices = slices_of(test.get("metadata") or {})
    if several:
        slices["prompt"] = label(_template(row))[:60]
    prompt = (row.get("prompt") or {}).get("raw")
    return _Case(
        sample=Sample(
            id=short_hash(_template(row), variables, asserted),
            suite=suite,
            prompt=plain(prompt if prompt is not None else variables),
            targets=tuple(
                plain(one["value"])
                for one in asserted
                if one["type"] in _TARGETS and isinstance(one["value"], (str, int, float))
            ),
        ),
        slices=slices,
    )


def _completion(key: str, row: Mapping[str, Any]) -> Completion:
    response = row.get("response") or {}
    usage = response.get("tokenUsage") or row.get("tokenUsage") or {}
    if _unjudged(row):
        why = plain(row.get("error") or response.get("error") or "promptfoo had no answer to judge")
        return Completion(key=key, stop_reason="error", error=why[:500])
    output = response.get("output")
    return Completion(
        key=key,
        text=plain(output if output is not None else ""),
        stop_reason="length" if response.get("finishReason") == "length" else "stop",
        prompt_text=plain((row.get("prompt") or {}).get("raw") or ""),
        tokens_in=count(usage.get("prompt")),
        tokens_out=count(usage.get("completion")),
        seconds=(number(row.get("latencyMs")) or 0.0) / 1000,
    )


def _unjudged(row: Mapping[str, Any]) -> bool:
    """Whether the provider failed. A failed assertion has an error, too: it says what was wrong."""
    reason = row.get("failureReason")
    if reason is not None:
        return bool(reason == _ERROR)
    return bool(row.get("error")) and (row.get("response") or {}).get("output") is None


def _values(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Whether the test passed, its score, and the scores of its named metrics."""
    if _unjudged(row):
        return {"pass": None, "score": None}
    named = row.get("namedScores") or {}
    found = {"pass": number(row.get("success")), "score": number(row.get("score"))}
    return found | {label(name): number(one) for name, one in named.items()}


def _result(case: _Case, names: Sequence[str]) -> Result:
    broken = next((one.error for one, _ in case.answers if one.error), "")
    sample_id = case.sample.id
    return Result(
        sample=case.sample,
        completions=tuple(one for one, _ in case.answers),
        scores=tuple(
            mean_score(sample_id, name, [values.get(name) for _, values in case.answers], broken)
            for name in names
        ),
    )
