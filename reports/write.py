"""Write the reports of a comparison into a folder, each file whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from evalkit.errors import StoreError, UsageError
from evalkit.records import Comparison, Verdict
from evalkit.store.runs import write_text

Writer = Callable[[Sequence[Comparison], Sequence[Verdict]], str]

FILES = {
    "html": "report.html",
    "markdown": "report.md",
    "json": "report.json",
    "csv": "deltas.csv",
    "junit": "junit.xml",
}


def write_reports(
    folder: Path,
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    formats: Sequence[str],
    report_url: str = "",
) -> list[Path]:
    """Write the named formats of one comparison; gives the files in the order asked for.

    The Markdown links into the HTML report: that beside it, or where `report_url` says.

    Raises UsageError for a format that does not exist, StoreError where nothing can be written.
    """
    check_formats(formats)
    beside = "html" in formats or (folder / FILES["html"]).is_file()
    report = report_url or (FILES["html"] if beside else "")
    texts = {name: _writer(name, report)(comparisons, verdicts) for name in dict.fromkeys(formats)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / FILES[name], text)
    except OSError as error:
        raise StoreError(
            f"The report could not be written to {folder}: {error}. The comparison itself is "
            "safe: free space, or choose another folder with `evalkit report --output`."
        ) from error
    return [folder / FILES[name] for name in texts]


def check_formats(formats: Sequence[str]) -> None:
    """UsageError for a format that does not exist; to be asked before any work is done."""
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        near = difflib.get_close_matches(unknown[0], FILES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"There is no report format {unknown[0]!r}. Formats: {', '.join(FILES)}.{hint}"
        )


def _writer(name: str, report: str) -> Writer:
    match name:
        case "html":
            from reports.html import report_html

            return report_html
        case "markdown":
            from reports.markdown import report_markdown

            return partial(report_markdown, report=report)
        case "json":
            from reports.machine import comparison_json

            return comparison_json
        case "csv":
            from reports.table import deltas_csv

            return deltas_csv
        case "junit":
            from reports.junit import junit_xml

            return junit_xml
        case _:
            raise AssertionError(name)
