"""What the dashboard says when part of a page breaks: never nothing, and never all of the page."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from evalkit.errors import EvalkitError
from reports.dashboard import markup
from reports.wording import clean

_TOP = Path(__file__).parents[2]


@contextmanager
def told(what: str) -> Iterator[None]:
    """Show an error of what is inside in its place: what broke, where, and what to do next.

    Streamlit's own control flow (a stop, a rerun) is no Exception and passes.
    """
    try:
        yield
    except EvalkitError as error:
        markup.note(str(error), "failed")
    except Exception as error:  # a reader must see whatever happened
        traceback.print_exception(error, file=sys.stderr)
        markup.note(
            f"{what} cannot be shown. {_summary(error)} This is a mistake of evalkit's, not yours: "
            "the other pages and samples can still be read, and the same numbers stand in the "
            "comparison's report.html. Reload the page; if it happens again, please report it with "
            "the text below.",
            "failed",
        )
        with st.expander("For the report", icon=":material/bug_report:"):
            text = "".join(traceback.format_exception(error))
            st.code(clean(text), language=None, wrap_lines=True)


def _summary(error: Exception) -> str:
    """The kind of error, its message, and the line of ours it came from."""
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_TOP) and "site-packages" not in frame.filename
    ]
    frame = (ours or list(traceback.extract_tb(error.__traceback__)))[-1]
    message = str(error).strip()[:500]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{type(error).__name__}{f': {message}' if message else ''} ({where})."
