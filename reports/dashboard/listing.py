"""A list of samples of which one is open: pages of lines, and steps from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import streamlit as st

from reports.dashboard import failure
from reports.dashboard.markup import tag

PAGE = 20

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Row]):
    """`total` rows of which that at `rank` is open.

    `page` reads rows from an offset on, at most so many; `address` is what the query parameters
    are set to where a row is opened.
    """

    total: int
    rank: int
    page: Callable[[int, int], Sequence[Row]]
    address: Callable[[Row], Mapping[str, str]]

    @property
    def first(self) -> int:
        """The place of the first row on the page that is shown."""
        return self.rank - self.rank % PAGE

    def shown(self) -> Sequence[Row]:
        """The rows of that page."""
        return self.page(self.first, PAGE)

    def open(self, row: Row) -> None:
        """Put a row into the address."""
        for key, value in self.address(row).items():
            st.query_params[key] = value

    def go(self, rank: int) -> None:
        """Open the row at a place in the list."""
        with failure.told("That place in the list"):
            for row in self.page(rank, 1):
                self.open(row)


def steps(listing: Listing[Row]) -> None:
    """Buttons and keys to the previous and the next row."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="steps"):
        st.button(
            "Previous",
            shortcut="P",
            icon=":material/arrow_back:",
            key="previous",
            disabled=listing.rank == 0,
            on_click=listing.go,
            args=(listing.rank - 1,),
        )
        st.button(
            "Next",
            shortcut="N",
            icon=":material/arrow_forward:",
            key="next",
            disabled=listing.rank + 1 >= listing.total,
            on_click=listing.go,
            args=(listing.rank + 1,),
        )
        place = f"{listing.rank + 1:,} of {listing.total:,}"
        st.html(tag("span", "ek-muted", place), width="content")


def lines(listing: Listing[Row], rows: Sequence[Row], line: Callable[[Row], str]) -> None:
    """A page of the list; `line` is the Markdown of a row, whose untrusted parts are labels."""
    first, total = listing.first, listing.total
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pages"):
        shown = f"{first + 1:,}–{first + len(rows):,} of {total:,}"
        st.html(tag("span", "ek-muted", shown), width="stretch")
        for name, target, off in (
            ("Earlier", first - PAGE, first == 0),
            ("Later", first + PAGE, first + PAGE >= total),
        ):
            st.button(name, key=name.lower(), disabled=off, on_click=listing.go, args=(target,))
    with st.container(key="samples"):
        for index, row in enumerate(rows):
            st.button(
                line(row),
                key=f"line-{index}",
                type="primary" if first + index == listing.rank else "secondary",
                width="stretch",
                on_click=listing.open,
                args=(row,),
            )
