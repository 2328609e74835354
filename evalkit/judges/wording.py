"""The words around what is judged: prompts/en.yaml and zh.yaml, checked and filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from evalkit.config.base import Strict
from evalkit.configfile import load_config
from evalkit.judges.rubrics import RubricLanguage
from evalkit.records import Role

_Words = Annotated[str, StringConstraints(min_length=1)]
_HOLE = re.compile(r"\{([a-z_]+)\}")


class Prompts(Strict):
    """All that a judge reads and that is not under judgement, in one language."""

    compare_system: _Words
    grade_system: _Words
    compare: _Words
    rate: _Words
    check: _Words
    compare_options: _Words
    rate_options: _Words
    check_options: _Words
    repair: _Words
    plain_levels: tuple[_Words, ...] = Field(min_length=5, max_length=5)
    points: _Words
    question: _Words
    question_turn: _Words
    reference: _Words
    about_reference: _Words
    answer: _Words
    answer_turn: _Words
    only_answer: _Words
    only_answer_turn: _Words
    about_turns: _Words
    roles: dict[Role, _Words]
    empty: _Words
    left_out: _Words
    cut: _Words
    hidden: _Words
    noted: _Words


@lru_cache(maxsize=2)
def prompts_in(language: RubricLanguage) -> Prompts:
    """The prompts of a language."""
    return load_config(Path(__file__).with_name("prompts") / f"{language}.yaml", Prompts)


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its {names} filled in once: what is filled in is not looked through again,
    so that a text under judgement cannot ask for another."""
    return _HOLE.sub(lambda hole: values.get(hole.group(1), hole.group()), template)
