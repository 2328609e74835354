"""What may stand where in a file, read off the pydantic models."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Shape:
    """The types one place of a file accepts (None left out), and what marks them."""

    options: tuple[Any, ...]
    marks: tuple[Any, ...] = ()
    discriminator: str = ""
    optional: bool = False

    @property
    def models(self) -> list[type[BaseModel]]:
        """The options that are sections with keys of their own."""
        return [
            each for each in self.options if isinstance(each, type) and issubclass(each, BaseModel)
        ]

    def kinds(self) -> dict[str, type[BaseModel]]:
        """The sections of a discriminated union by the value that chooses them."""
        if not self.discriminator:
            return {}
        found: dict[str, type[BaseModel]] = {}
        for model in self.models:
            for value in get_args(model.model_fields[self.discriminator].annotation):
                found[str(value)] = model
        return found

    @property
    def usual_kind(self) -> str:
        """The section that is meant where none is chosen: one whose kind has a default."""
        for kind, model in self.kinds().items():
            if not model.model_fields[self.discriminator].is_required():
                return kind
        return ""

    def narrowed(self, kind: object) -> Shape:
        """The one section that `kind` chooses; unchanged if nothing is to be chosen."""
        model = self.kinds().get(str(kind))
        return self if model is None else Shape((model,))

    def fields(self) -> dict[str, FieldInfo]:
        """The keys that may stand here."""
        return {name: field for model in self.models for name, field in model.model_fields.items()}

    def child(self, part: str | int) -> Shape:
        """What may stand under a key or an index; a shape without options where nothing may."""
        field = self.fields().get(str(part))
        if field is not None:
            return field_shape(field)
        for option in self.options:
            origin, arguments = get_origin(option), get_args(option)
            if origin in (dict, Mapping) and len(arguments) == 2:
                return shape(arguments[1])
            if origin in (tuple, list, set, frozenset, Sequence) and arguments:
                return shape(arguments[0])
        return Shape(())


def shape(annotation: Any, marks: tuple[Any, ...] = ()) -> Shape:
    """The shape of an annotation: unions opened, `Annotated` unwrapped, None left out."""
    options: list[Any] = []
    found = list(marks)
    optional = False
    discriminator = _discriminator(marks)
    for each, its_marks in _alternatives(annotation):
        found += its_marks
        discriminator = discriminator or _discriminator(its_marks)
        if each is type(None):
            optional = True
        else:
            options.append(each)
    return Shape(tuple(options), tuple(found), discriminator, optional)


def field_shape(field: FieldInfo) -> Shape:
    """The shape of a model's field."""
    return shape(field.annotation, (field, *field.metadata))


def describe(expected: Shape) -> str:
    """What was expected, in words."""
    if expected.discriminator:
        kinds = ", ".join(expected.kinds())
        return f"a mapping with `{expected.discriminator}`, one of {kinds}"
    words = dict.fromkeys(_describe_one(option) for option in expected.options)
    return " or ".join(words) or "something else"


def owners(expected: Shape, name: str) -> Iterator[str]:
    """Dotted keys, in the sections below, whose last part is `name`: where it belongs."""
    for key, field in expected.fields().items():
        below = field_shape(field)
        if name in below.fields():
            yield f"{key}.{name}"


def _alternatives(annotation: Any) -> Iterator[tuple[Any, list[Any]]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        for each, below in _alternatives(inner):
            yield each, [*marks, *below]
    elif origin is Union or origin is types.UnionType:
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation, []


def _discriminator(marks: Iterable[Any]) -> str:
    for mark in marks:
        if isinstance(mark, FieldInfo) and isinstance(mark.discriminator, str):
            return mark.discriminator
    return ""


def _describe_one(option: Any) -> str:
    simple = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
    }
    if option in simple:
        return simple[option]
    origin, arguments = get_origin(option), get_args(option)
    if origin is Literal:
        return "one of " + ", ".join(str(each) for each in arguments)
    if origin in (tuple, list, set, frozenset, Sequence):
        return "a list" if not arguments else f"a list (of {describe(shape(arguments[0]))})"
    if isinstance(option, type) and issubclass(option, BaseModel):
        return "a mapping with " + ", ".join(option.model_fields)
    return "a mapping"
