"""Traditional Chinese read as simplified, so that one word in two scripts is one word."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

from evalkit.errors import SuiteError

Fold: TypeAlias = Literal["none", "t2s"]


def folding(fold: Fold) -> Callable[[str], str]:
    """What `fold` makes of a text; by OpenCC, word by word (頭髮 is 头发, 發現 is 发现).

    Raises SuiteError where OpenCC is not installed.
    """
    if fold == "none":
        return str
    try:
        from opencc import OpenCC
    except ImportError:
        raise SuiteError(
            f"`fold: {fold}` needs OpenCC, which is not installed. "
            "Run `pip install 'evalkit-compare[chinese]'`, or leave fold out."
        ) from None
    # Targets and repeated answers come again and again.
    convert: Callable[[str], str] = OpenCC(fold).convert
    return lru_cache(maxsize=4096)(convert)
