"""From a row to the prompt a model is asked: template, worked examples, turns or text."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from evalkit.harnesses.rows import Row, near
from evalkit.records import Message, Prompt

BETWEEN_EXAMPLES = "\n\n"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `{field}` holes; nothing but plain names, as rows and suites are untrusted.

    `str.format` would follow `{a.__class__}` and `{a[0]}` into Python's own objects.
    """

    parts: tuple[tuple[str, str], ...]
    """Pairs of literal text and the field after it ('' where there is none)."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ValueError with what is wrong with the text."""
        try:
            found = list(string.Formatter().parse(text))
        except ValueError:
            raise ValueError("a lone brace; write {{ or }} for a brace") from None
        for _, name, spec, conversion in found:
            if spec or conversion or (name is not None and not name.isidentifier()):
                raise ValueError(
                    f"{{{name}}} is not a plain field name; use {{name}} for a field "
                    "and {{ or }} for a brace"
                )
        return cls(tuple((literal, name or "") for literal, name, _, _ in found))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields it needs."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name))

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text with its holes filled; raises ValueError for a field that cannot fill one."""
        return "".join(
            literal + (_text(fields, name) if name else "") for literal, name in self.parts
        )


def _text(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        hint = near(name, fields) or f" It has: {', '.join(fields)}."
        raise ValueError(f"the prompt needs the field {name!r}.{hint}")
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"the field {name!r} must be text or a number to stand in a prompt")
    return str(value)


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: a question and its right answer; `group` is who may be shown it."""

    question: str
    answer: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How prompts of a suite are put together, after the run's own wishes were heard."""

    chat: bool
    system: str
    examples_as: Literal["turns", "text"]
    between: str
    """Stands between an example's question and its answer, where both are text."""
    filled: bool = False
    """Whether `system` has `{field}` holes, which each row fills."""

    def of(self, fields: Mapping[str, Any]) -> Style:
        """The style of one row; raises ValueError for a field that cannot fill a hole."""
        if not self.filled:
            return self
        return replace(self, system=Template.parse(self.system).render(fields), filled=False)

    def prompt(self, question: str, examples: Sequence[Example]) -> Prompt:
        """The whole prompt: turns for a chat, else one text."""
        if not self.chat:
            block = self._as_text(examples)
            return (self.system + BETWEEN_EXAMPLES if self.system else "") + block + question
        turns = [Message(role="system", content=self.system)] if self.system else []
        if self.examples_as == "text":
            question = self._as_text(examples) + question
        else:
            for example in examples:
                turns.append(Message(role="user", content=example.question))
                turns.append(Message(role="assistant", content=example.answer))
        return (*turns, Message(role="user", content=question))

    def _as_text(self, examples: Sequence[Example]) -> str:
        return "".join(
            example.question + self.between + example.answer + BETWEEN_EXAMPLES
            for example in examples
        )


@dataclass(frozen=True, slots=True)
class Examples:
    """The worked examples of a suite in the order its seed gives; the first `count` are used.

    With `by`, a question is shown those of its own group: that field's value.
    """

    ordered: tuple[Example, ...]
    count: int
    by: str | None = None

    @classmethod
    def drawn(
        cls, examples: Sequence[Example], count: int, seed: int, by: str | None = None
    ) -> Examples:
        """A seeded order; the choice does not depend on the order in the file."""
        ordered = sorted(examples, key=lambda example: (example.question, example.answer))
        random.Random(seed).shuffle(ordered)  # noqa: S311
        return cls(tuple(ordered), count, by)

    def before(self, question: str, fields: Mapping[str, Any]) -> tuple[Example, ...]:
        """The examples before a question: the same for all, unless one is the question itself."""
        group = "" if self.by is None else str(fields.get(self.by, ""))
        others = (
            example
            for example in self.ordered
            if example.group == group and example.question != question
        )
        return tuple(islice(others, self.count))


def example_of(
    row: Row, template: Template, shown: str | None = None, by: str | None = None
) -> Example:
    """A row as a worked example, in the group of its field `by`.

    `shown` is the field that is its answer; without one that is the right choice, or the first
    target. Raises ValueError where it has no answer.
    """
    question = template.render(row.fields)
    return Example(question, _shown(row, shown), "" if by is None else str(row.fields.get(by, "")))


def _shown(row: Row, field: str | None) -> str:
    if field is not None:
        return _text(row.fields, field)
    choices, answer = row.fields.get("choices"), row.fields.get("answer")
    if isinstance(choices, list) and isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(choices):
            raise ValueError(f"'answer' is {answer}, but there are {len(choices)} choices (from 0)")
        return str(choices[answer])
    target = row.fields.get("target")
    first = target[0] if isinstance(target, list) and target else target
    if not isinstance(first, str):
        raise ValueError("a worked example needs 'choices' and 'answer', or a 'target'")
    return first
