"""The patterns of signs.yaml: what is written to a judge, in English and Chinese."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from evalkit.config.base import Strict
from evalkit.configfile import load_config
from evalkit.judges.wording import filled

# Cyrillic and Greek letters that look like Latin ones.
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝкмтвнАВЕКМНОРСТХІЈЅοανριΑΒΕΗΙΚΜΝΟΡΤΥΧΖ",
    "aeopcyxijshdqwkmtbhABEKMHOPCTXIJSoavpiABEHIKMNOPTYXZ",
)


class SignFile(Strict):
    """Patterns by what they are a sign of, and the words that they are made of."""

    addressed: tuple[str, ...]
    verdict: tuple[str, ...]
    prompt: tuple[str, ...]
    role: tuple[str, ...]
    words: dict[str, str]


@lru_cache(maxsize=1)
def patterns() -> dict[str, re.Pattern[str]]:
    """One pattern for each kind of sign: addressed, verdict, prompt, role."""
    told = load_config(Path(__file__).with_name("signs.yaml"), SignFile)
    kinds = {
        "addressed": told.addressed,
        "verdict": told.verdict,
        "prompt": told.prompt,
        "role": told.role,
    }
    return {kind: _compiled(written, told.words) for kind, written in kinds.items()}


def _compiled(written: tuple[str, ...], words: dict[str, str]) -> re.Pattern[str]:
    each = (filled("".join(pattern.splitlines()), words) for pattern in written)
    return re.compile("|".join(f"(?:{pattern})" for pattern in each), re.I | re.M)
