"""The patterns of signs.yaml: what is written to a judge, in English and Chinese."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from evalkit.config.base import Strict
from evalkit.configfile import load_config
from evalkit.judges.wording import filled

# Cyrillic and Greek letters that look like Latin ones.
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝкмтвнАВЕКМНОРСТХІЈЅοανριΑΒΕΗΙΚΜΝΟΡΤΥΧΖ",
    "aeopcyxijshdqwkmtbhABEKMHOPCTXIJSoavpiABEHIKMNOPTYXZ",
)


class SignFile(Strict):
    """Patterns by what they are a sign of, and the words that they are made of.

    A line without one of the `hints` cannot be `addressed` to a judge.
    """

    hints: str
    addressed: tuple[str, ...]
    verdict: tuple[str, ...]
    prompt: tuple[str, ...]
    role: tuple[str, ...]
    words: dict[str, str]


class Signs(NamedTuple):
    """The patterns, compiled: one for each kind of sign."""

    hints: re.Pattern[str]
    addressed: re.Pattern[str]
    verdict: re.Pattern[str]
    prompt: re.Pattern[str]
    role: re.Pattern[str]


@lru_cache(maxsize=1)
def signs() -> Signs:
    """The patterns of signs.yaml."""
    told = load_config(Path(__file__).with_name("signs.yaml"), SignFile)
    kinds = ((told.hints,), told.addressed, told.verdict, told.prompt, told.role)
    return Signs(*(_compiled(written, told.words) for written in kinds))


def _compiled(written: tuple[str, ...], words: dict[str, str]) -> re.Pattern[str]:
    each = (filled("".join(pattern.splitlines()), words) for pattern in written)
    return re.compile("|".join(f"(?:{pattern})" for pattern in each), re.M)
