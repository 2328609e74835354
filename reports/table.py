"""Every delta as a row: a DataFrame, or CSV for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalkit.records import Comparison, Delta, SuiteVerdict, Verdict
from reports.flips import uncounted
from reports.wording import fixed_n_hidden, one_line

if TYPE_CHECKING:
    import pandas as pd

# A spreadsheet takes a cell that begins so for a formula (OWASP: CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def deltas_table(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row per arm, suite, metric and slice; the gate's columns are empty where it did not look.

    Numbers are whole, not rounded; what is unknown is missing, never 0.
    """
    import pandas as pd

    rows = [
        _row(comparison, delta, _gated(verdict, delta))
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        for delta in comparison.deltas
    ]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    # Else a column that lacks one count would be written with decimals.
    return table.astype(dict.fromkeys(_COUNTS, "Int64"))


def deltas_csv(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    """The same as CSV, with names that no spreadsheet takes for a formula."""
    table = deltas_table(comparisons, verdicts)
    for column in _NAMES:
        table[column] = [_harmless(value) for value in table[column]]
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


_NAMES = ("tuned_run", "base_run", "suite", "metric", "slice", "unit", "reason", "note")
_COLUMNS = (
    "tuned_run", "base_run", "suite", "metric", "slice", "unit", "higher_is_better", "base",
    "tuned", "difference", "low", "high", "level", "boot_low", "boot_high", "standard_error",
    "p_value", "adjusted_p", "method", "n", "planned", "clusters", "missing_base", "missing_tuned",
    "gained", "lost", "changed", "divergence", "ratio", "ratio_low", "ratio_high", "completions",
    "between", "within_base", "within_tuned",
    "outcome", "policy", "margin", "gate_low", "gate_high", "samples_needed", "reason", "note",
)  # fmt: skip
_COUNTS = (
    "n", "planned", "clusters", "missing_base", "missing_tuned", "gained", "lost", "changed",
    "completions", "samples_needed",
)  # fmt: skip


def _gated(verdict: Verdict, delta: Delta) -> SuiteVerdict | None:
    return next((one for one in verdict.suites if one.delta == delta), None)


def _row(comparison: Comparison, delta: Delta, one: SuiteVerdict | None) -> dict[str, Any]:
    shown = fixed_n_hidden(delta)
    plain = {name: getattr(shown, name) for name in _COLUMNS if hasattr(shown, name)}
    return (
        plain
        | uncounted(delta)
        | {
            "tuned_run": comparison.tuned.name,
            "base_run": comparison.base.name,
            "metric": delta.metric.name,
            "unit": delta.metric.unit,
            "higher_is_better": delta.metric.higher_is_better,
            "outcome": one.outcome if one else "",
            "policy": one.policy if one else "",
            "margin": one.margin if one else None,
            "gate_low": one.low if one else None,
            "gate_high": one.high if one else None,
            "samples_needed": one.samples_needed if one else None,
            "reason": one.reason if one else "",
        }
    )


def _harmless(value: str) -> str:
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
