"""What an extraction comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Which: TypeAlias = Literal["last", "first"]
Strategy: TypeAlias = Literal["stated", "boxed", "json", "phrase", "any"]
"""`boxed`, `json` and `phrase` are the ways to state an answer, `stated` is all of them; `any` is
whatever could be an answer, wherever it stands."""

NOT_EXTRACTED = "not extracted"
AMBIGUOUS = "not extracted: more than one answer is given"


class Found(NamedTuple, Generic[T]):
    """An answer, or None and why there is none."""

    answer: T | None
    reason: str = ""


def chosen(found: Sequence[Found[T]], which: Which) -> Found[T]:
    """Of the statements of a text in order, the one that counts."""
    return found[-1 if which == "last" else 0]
