"""Pieces of HTML; every text in them is escaped here, for models and data sets write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

import streamlit as st

from evalkit.records import CheckStatus, Outcome
from reports.diff import Segment
from reports.wording import SYMBOL, clean

CHECK_SYMBOL: dict[CheckStatus, str] = {"ok": "✓", "warning": "!", "failed": "✗"}
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_LONGEST = 200_000  # characters of one text that a browser lays out without stalling


class Markup(str):
    """A piece of HTML that is safe as it stands."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any text, made safe: nothing in it is markup, and nothing in it hides or reorders."""
    if isinstance(value, Markup):
        return value
    return Markup(escape(clean(str(value))))


def tag(name: str, kind: str, *inside: object, **attributes: str) -> Markup:
    """An element with a class; what is inside is escaped unless it is Markup."""
    given = "".join(f' {key}="{escape(clean(value))}"' for key, value in attributes.items())
    return Markup(f'<{name} class="{kind}"{given}>{"".join(map(text, inside))}</{name}>')


def pill(outcome: Outcome) -> Markup:
    """An outcome with its symbol: told by its shape too, not by its colour alone."""
    return tag("span", f"ek-pill ek-{outcome}", f"{SYMBOL[outcome]} {outcome}")


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: Sequence[int] = ()
) -> Markup:
    """A table; `numeric` columns are aligned to the right.

    On a narrow screen each row is a card (style.css), where every cell has its head with it.
    """

    def cells(name: str, row: Sequence[object]) -> str:
        return "".join(
            tag(name, "ek-number" if index in numeric else "", cell, **_head(name, heads, index))
            for index, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    inside = Markup(f'<table class="ek-table">{head}<tbody>{body}</tbody></table>')
    return tag("div", "ek-scroll", inside)


def _head(name: str, heads: Sequence[str], place: int) -> dict[str, str]:
    known = name == "td" and place < len(heads) and heads[place]
    return {"data-head": heads[place]} if known else {}


def passage(segments: Iterable[Segment], kind: str) -> Markup:
    """An answer as it is, white space and all; `kind` (base, tuned) colours what changed."""
    pieces, left = [], _LONGEST
    for segment in segments:
        shown = segment.text[:left]
        left -= len(shown)
        pieces.append(tag("mark", f"ek-{kind}", shown) if segment.changed else text(shown))
        if len(shown) < len(segment.text):
            pieces.append(tag("span", "ek-muted", f"\n… cut here, after {_LONGEST:,} characters"))
            break
    # The language's own direction, kept inside: an answer must not turn the page around.
    return tag("div", "ek-text", *pieces, dir="auto")


def label(value: str) -> str:
    """A text for a place where Streamlit reads Markdown: shown as it is, letter by letter.

    Escaping is not enough: emoji codes, directives and arrows are replaced after it, so an
    invisible word joiner breaks them up.
    """
    flat = " ".join(clean(value).split())
    return _PUNCTUATION.sub("\\\\\\1\u2060", flat)


def note(message: str, status: CheckStatus = "warning") -> None:
    """A message about the data, in the page."""
    st.html(tag("div", f"ek-note ek-{status}", message))


def empty(title: str, message: str, command: str) -> None:
    """What a page says when there is nothing to show, and the command that changes that."""
    st.html(
        tag(
            "div", "ek-empty", tag("h2", "", title), tag("p", "", message), tag("code", "", command)
        )
    )
