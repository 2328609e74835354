"""pydantic's errors in the words of the person who wrote the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evalkit.configfile.schema import Shape, describe, owners
from evalkit.configfile.tree import Mistake, Node, Place, near, shown


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an error lies: in the file, in the keys, and in what may stand there.

    `parent` is the section around it; where that was one of several kinds, `union` holds them
    all and `kind` is the one the file chose.
    """

    place: Place
    keys: tuple[str | int, ...]
    expected: Shape
    parent: Shape
    union: Shape
    kind: str

    @property
    def dotted(self) -> str:
        """The key as a person writes it: gate.suites.x, suites[0]."""
        return dotted(self.keys)


def dotted(keys: Iterable[str | int]) -> str:
    """Keys and indices as one path."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def explain(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Mistake]:
    """One mistake for each thing that is wrong; what follows from another is left out."""
    details = error.errors()
    deeper = {each["loc"][:cut] for each in details for cut in range(len(each["loc"]))}
    found = []
    for each in details:
        if each["type"] == "too_short" and each["loc"] in deeper:
            continue  # pydantic also counts a list without its wrong items
        spot = locate(each["loc"], root, model)
        found.append(Mistake(spot.place, spot.dotted, _message(each, spot)))
    return list(dict.fromkeys(found))


def locate(loc: Iterable[str | int], root: Node, model: type[BaseModel]) -> Spot:
    """Follow an error's location through the file and the schema side by side.

    pydantic puts the chosen kind of a union into the location as if it were a key.
    """
    parent = expected = Shape((model,))
    union, kind = Shape(()), ""
    above = (union, kind)
    node: Node | None = root
    place = root.place
    keys: list[str | int] = []
    for part in loc:
        if expected.discriminator and str(part) in expected.kinds():
            union, kind = expected, str(part)
            expected = expected.narrowed(part)
            continue
        below = expected.child(part)
        child = node.child(part) if node is not None else None
        if child is None and not below.options:
            continue  # a union's label, or '[key]'
        parent, expected, node = expected, below, child
        above, union, kind = (union, kind), Shape(()), ""
        place = child.place if child is not None else place
        keys.append(part)
    return Spot(place, tuple(keys), expected, parent, *above)


def _message(error: ErrorDetails, spot: Spot) -> str:
    kind, value = error["type"], error["input"]
    match kind:
        case "extra_forbidden":
            return unknown(str(spot.keys[-1]), spot.parent, _others(spot))
        case "missing":
            return f"missing; expected {describe(spot.expected)}"
        case "union_tag_not_found":
            name = spot.expected.discriminator
            return f"`{name}` is missing; expected one of {', '.join(spot.expected.kinds())}"
        case "union_tag_invalid":
            kinds = spot.expected.kinds()
            tag = str(error.get("ctx", {}).get("tag", ""))
            name = spot.expected.discriminator
            return f"no {name} {tag!r}; expected one of {', '.join(kinds)}.{near(tag, kinds)}"
        case "literal_error" | "enum":
            hint = near(str(value), _words(spot.expected))
            return f"expected {describe(spot.expected)}, got {shown(value)}.{hint}".rstrip(".")
        case "value_error" | "assertion_error":
            text = error["msg"].split(", ", 1)[-1]
            return text if isinstance(value, (dict, list, tuple)) else f"{text}; got {shown(value)}"
        case "string_type" if not isinstance(value, (dict, list, type(None))):
            return f"expected text, got {shown(value)} (put it in quotes)"
        case _ if kind.endswith(("_type", "_parsing", "_from_float")):
            return f"expected {describe(spot.expected)}, got {shown(value)}"
        case _:
            return f"{_bound(error)}, got {shown(value)}"


def unknown(name: str, parent: Shape, elsewhere: str = "") -> str:
    """What to say of a key that does not exist: where it belongs, or the nearest one."""
    known = list(parent.fields())
    if elsewhere:
        return f"unknown key here; {elsewhere}"
    below = list(owners(parent, name))
    if below:
        return f"unknown key here. Did you mean {below[0]!r}?"
    return f"unknown key.{near(name, known) or ' Valid keys: ' + ', '.join(known) + '.'}"


def _others(spot: Spot) -> str:
    """Says which other kinds of the section have the key that this kind has not."""
    name = str(spot.keys[-1])
    have = [kind for kind, model in spot.union.kinds().items() if name in model.model_fields]
    if not have:
        return ""
    only = f"only {spot.union.discriminator} {have[0]} has it"
    if len(have) > 1:
        only = f"only the kinds {' and '.join(have)} have it"
    return f"{only}, and this is {spot.kind}"


def _words(expected: Shape) -> list[str]:
    return [str(word) for option in expected.options for word in get_args(option)]


def _bound(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"expected {context['ge']} or more"
        case "greater_than":
            return f"expected more than {context['gt']}"
        case "less_than_equal":
            return f"expected {context['le']} or less"
        case "less_than":
            return f"expected less than {context['lt']}"
        case "string_too_short":
            return "expected some text" if context["min_length"] == 1 else error["msg"]
        case "too_short":
            return f"expected a list of {context['min_length']} or more"
        case _:
            return error["msg"].replace("Input should be", "expected")
