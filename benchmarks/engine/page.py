"""docs/results/engine.md, rendered from the JSON beside it and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.engine.results import Record, Results, middle
from benchmarks.engine.rows import ROWS, DType, Row

LIMIT = 1e-3
"""The largest difference of a log-likelihood that float32 may show, in nats."""

INTRODUCTION = """\
# The engine, measured

`evalkit compare base.yaml tuned.yaml` (one process, both arms, an empty store) against lm-eval's
HFLM on the same work (its own command line, once for the base and once with `peft=`, its fastest
batch size). Whole processes are timed, from start to exit, on SmolLM2-135M-Instruct and a LoRA
adapter trained on it; both tools see the same texts and have the same number of threads. A ratio
is the median of lm-eval's two runs together over the median of evalkit's one; a second variant's
is the median of its ratios to the first comparison right before it. Written by `make bench`;
nothing is shown that was not measured on the machine named below.
"""


def page(results: Results, device: str) -> str:
    """The whole page."""
    pairs = [(row, dtype) for row in shown(device) for dtype in row.dtypes]
    lines = [INTRODUCTION, *table(results, pairs), "", "## Seconds and memory", ""]
    lines += ["Seconds of every repeat, their median in bold; the highest peak of the repeats.", ""]
    lines += [*_seconds(results, pairs), "", "## Do the two agree?", ""]
    lines += [*_agreement(results, pairs), *_flips(results), "", "## Sizes", ""]
    lines += [*_sizes(results, pairs), "", "## Where", "", *_places(results)]
    return "\n".join(lines) + "\n"


def shown(device: str) -> list[Row]:
    """The rows of a device's page: the large models only where there is a GPU."""
    return [row for row in ROWS if device != "cpu" or not row.model]


def table(results: Results, pairs: Sequence[tuple[Row, DType]]) -> list[str]:
    """What must be reached, what is aimed at, what was."""
    lines = ["| row | dtype | measured | must | aim | |", "|---|---|---:|---:|---:|---|"]
    for row, dtype in pairs:
        record = _record(results, row, dtype)
        bound = "≥" if row.sense == "at least" else "≤"
        must, aim = row.must.get(dtype), row.aim.get(dtype)
        cells = [f"**{row.key}**: {row.title}", dtype]
        if "value" in record:
            cells += [f"{record['value']:.3g} {row.unit}"]
        else:
            cells += ["not run here"]
        cells += [f"{bound} {must:g}" if must is not None else "–"]
        cells += [f"{bound} {aim:g}" if aim is not None else "–"]
        cells += [_said(row, dtype, record)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def missed(results: Results, pairs: Sequence[tuple[Row, DType]]) -> list[str]:
    """The rows that do not reach what they must, or whose numbers are not lm-eval's."""
    lines = []
    for row, dtype, record in _measured(results, pairs):
        if row.met(dtype, record["value"]) is False:
            bound = f"{record['value']:.3g} {row.unit}, must be {row.sense} {row.must[dtype]:g}"
            lines.append(f"{row.key}, {dtype}: {bound}")
        lines += [
            f"{row.key}, {dtype}, {arm}: not lm-eval's numbers"
            for arm, told in record.get("agreement", {}).items()
            if _agreed(dtype, told) == NOT_MET
        ]
    return lines


NOT_MET = "not met"


def _said(row: Row, dtype: DType, record: Record) -> str:
    if "failed" in record:
        return f"failed at {record['failed']}: {str(record['reason']).partition(chr(10))[0]}"
    if "value" not in record:
        return str(record["reason"]).partition("\n")[0]
    value = record["value"]
    if row.met(dtype, value) is None:
        return "nothing was declared"
    if not row.met(dtype, value):
        return NOT_MET
    return "met, and the aim" if row.aimed(dtype, value) else "met"


def _record(results: Results, row: Row, dtype: DType) -> Record:
    return results.rows.get(row.key, {}).get(dtype, {"reason": "not measured yet"})


def _measured(
    results: Results, pairs: Sequence[tuple[Row, DType]]
) -> Iterator[tuple[Row, DType, Record]]:
    for row, dtype in pairs:
        record = _record(results, row, dtype)
        if "value" in record:
            yield row, dtype, record


def _seconds(results: Results, pairs: Sequence[tuple[Row, DType]]) -> list[str]:
    lines = ["| row | dtype | process | seconds | peak memory |", "|---|---|---|---:|---:|"]
    for row, dtype, record in _measured(results, pairs):
        peaks = record.get("peak_gb", {})
        for name, values in record.get("seconds", {}).items():
            each = ", ".join(f"{value:.1f}" for value in values)
            peak = f"{peaks[name]:.2f} GB" if name in peaks else "–"
            batch = record.get("batch_size", "")
            process = f"{name}, batch {batch}" if name.startswith("lm_eval") else name
            median = f"**{middle(values):.1f}**"
            shown = f"{median} ({each})" if len(values) > 1 else median
            lines.append(f"| {row.key} | {dtype} | {process} | {shown} | {peak} |")
        if row.kind == "memory":
            weights = f"of which weights {record['weights_gb']:.2f} GB"
            peak = f"{peaks['evalkit']:.2f} GB"
            lines.append(f"| {row.key} | {dtype} | evalkit, {weights} | – | {peak} |")
    return lines


def _agreement(results: Results, pairs: Sequence[tuple[Row, DType]]) -> list[str]:
    lines = [
        "In float32 no log-likelihood may differ by more than 0.001 nats, a whole document's",
        "neither, and the accuracies must be equal.",
        "",
        "| row | dtype | arm | largest difference | accuracy, evalkit / lm-eval | equal texts | |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for row, dtype, record in _measured(results, pairs):
        for arm, told in record.get("agreement", {}).items():
            cells = [row.key, dtype, arm, _difference(told), _accuracies(told)]
            cells += [f"{told['equal_texts']:.1%}" if "equal_texts" in told else "–"]
            cells += [_agreed(dtype, told)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _difference(told: dict[str, Any]) -> str:
    if "largest_difference" not in told:
        return "–"
    found = f"{told['largest_difference']:.1e}"
    per_token = told.get("largest_difference_per_token")
    return found if per_token is None else f"{found} a text, {per_token:.1e} a token"


def _accuracies(told: dict[str, Any]) -> str:
    if "accuracy" not in told:
        return "–"
    return f"{told['accuracy']['evalkit']:.3f} / {told['accuracy']['lm_eval']:.3f}"


def _agreed(dtype: str, told: dict[str, Any]) -> str:
    if dtype != "float32" or "largest_difference" not in told:
        return ""
    both = told.get("accuracy")
    equal = both is None or both["evalkit"] == both["lm_eval"]
    return "met" if told["largest_difference"] <= LIMIT and equal else NOT_MET


def _flips(results: Results) -> list[str]:
    """How many choices each tool makes otherwise in bfloat16 than itself in float32."""
    lines = []
    for key, records in results.rows.items():
        exact, rounded = records.get("float32", {}), records.get("bfloat16", {})
        if "work" not in exact or exact["work"] != rounded.get("work"):
            continue
        for arm, told in exact["agreement"].items():
            if "picked" in told:
                other = rounded["agreement"][arm]["picked"]
                lines.append(f"| {key} | {arm} | {_flipped(told['picked'], other)} |")
    if not lines:
        return ["", "Choices that flip in bfloat16: not known, both dtypes were not run here."]
    head = ["", "Choices that are others in bfloat16 than in float32:", ""]
    columns = ["| row | arm | evalkit | lm-eval | of |", "|---|---|---:|---:|---:|"]
    return [*head, *columns, *lines]


def _flipped(exact: dict[str, str], rounded: dict[str, str]) -> str:
    def count(tool: str) -> int:
        return sum(a != b for a, b in zip(exact[tool], rounded[tool], strict=True))

    return f"{count('evalkit')} | {count('lm_eval')} | {len(exact['evalkit'])}"


def _sizes(results: Results, pairs: Sequence[tuple[Row, DType]]) -> list[str]:
    lines = []
    for row, dtype, record in _measured(results, pairs):
        told = ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in
                         record["sizes"].items())  # fmt: skip
        repeats = max((len(values) for values in record.get("seconds", {}).values()), default=0)
        repeats = repeats or len(record.get("shares", [1]))
        line = f"- {row.key}, {dtype}: {told}; repeats {repeats}"
        line += f"; {record['date']}, commit {record['commit'] or 'unknown'}"
        if record.get("batch_search_seconds"):
            tried = record["batch_search_seconds"].items()
            line += "; lm-eval's batch size by trial: "
            line += ", ".join(f"{size} → {seconds:.1f} s" for size, seconds in tried)
        lines.append(f"{line} (machine {record['place'] + 1})")
    return lines or ["Nothing was measured here yet."]


def _number(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(_number(one) for one in value)
    return f"{value:,}"


def _places(results: Results) -> list[str]:
    lines = []
    for number, place in enumerate(results.places, 1):
        packages = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
        gpu = place["gpu"] or "no GPU"
        cores = f"{place['cores']} cores ({place['processor']}), {place['memory_gib']} GiB, {gpu}"
        lines += [
            f"{number}. {place['system']}, {cores}; {place['threads']} threads for each process",
            f"   - {packages}",
        ]
    return lines or ["Nowhere yet."]
