"""A YAML file as a tree of values that know the line they stand on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

MAX_BYTES = 1 << 20  # a configuration of a megabyte is not a configuration

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something was written: a file and its line (0: the whole file), or a `--set`."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, where it stands, and what was expected instead."""

    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.key, self.message) if part)


class Unreadable(Exception):  # noqa: N818  (it carries a mistake, and never leaves this package)
    """A file or a value that cannot be read at all."""

    def __init__(self, place: Place, message: str, key: str = "") -> None:
        super().__init__(message)
        self.mistake = Mistake(place, key, message)


@dataclass(frozen=True, slots=True)
class Node:
    """A value, the place it stands at, and the folder its relative paths start from.

    `place` of a mapping's entry is the line of its key; `folder` is None for a `--set`.
    """

    value: Scalar | Mapping[str, Node] | tuple[Node, ...]
    place: Place
    folder: Path | None = None

    def child(self, part: str | int) -> Node | None:
        """The entry of that name, or the item of that index, if there is one."""
        if isinstance(self.value, Mapping):
            return self.value.get(str(part))
        if isinstance(self.value, tuple) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def plain(self) -> Any:
        """The value alone, as nested dicts and lists."""
        match self.value:
            case Mapping():
                return {key: node.plain() for key, node in self.value.items()}
            case tuple():
                return [node.plain() for node in self.value]
            case scalar:
                return scalar


def planted(value: Any, place: Place) -> Node:
    """Nested dicts and lists as a tree that stands at one place."""
    match value:
        case dict():
            return Node({str(key): planted(below, place) for key, below in value.items()}, place)
        case list() | tuple():
            return Node(tuple(planted(item, place) for item in value), place)
        case scalar:
            return Node(scalar, place)


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema: `no` and `2026-01-01` stay text, 1e-4 is a number; no aliases.

    YAML 1.1, PyYAML's own, reads `language: no` as false and `lr: 1e-4` as text.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; an alias is refused, as a few of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (`*name`) are not supported", problem_mark=mark
            )
        return super().compose_node(parent, index)


_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
CoreLoader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INT.pattern, list("-+0123456789")),
    ("float", _FLOAT.pattern, list("-+.0123456789")),
):
    CoreLoader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


def read_tree(path: Path) -> tuple[Node, list[Mistake]]:
    """The file's tree and the mistakes that leave it readable (duplicate keys, tags).

    Raises Unreadable when the file is missing, is no text, no YAML or no mapping.
    """
    place = Place(str(path))
    text = _text(path, place)
    mistakes: list[Mistake] = []
    node = parse(text, place, path.absolute().parent, mistakes)
    if node is None or node.value is None:
        return Node({}, place, path.absolute().parent), [Mistake(place, "", "the file is empty")]
    if not isinstance(node.value, Mapping):
        raise Unreadable(
            node.place, f"expected `key: value` lines, got {shown(node.plain())} as the whole file"
        )
    return node, mistakes


def parse(text: str, place: Place, folder: Path | None, mistakes: list[Mistake]) -> Node | None:
    """YAML text as a tree; every node of a `--set` keeps the place of the whole."""
    try:
        root = yaml.compose(text, Loader=CoreLoader)
        return None if root is None else _convert(root, place, folder, mistakes, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        raise Unreadable(_at(place, folder, line), _syntax(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(
            _at(place, folder, line), f"a character YAML does not allow (#x{error.character:04x})"
        ) from None
    except RecursionError:
        raise Unreadable(place, "nested too deeply") from None


def _text(path: Path, place: Place) -> str:
    try:
        if path.is_dir():
            raise Unreadable(
                place, f"is a folder; expected a YAML file.{near_files(path / 'x.yaml')}"
            )
        if not path.exists():
            raise Unreadable(place, f"no such file.{near_files(path)}")
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(place, "larger than 1 MiB; is this a configuration file?")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(place, f"cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            Place(place.source, line), "not UTF-8 text; save the file as UTF-8"
        ) from None


def _at(place: Place, folder: Path | None, line: int) -> Place:
    # A --set has one line and no folder: its place is the flag itself.
    return place if folder is None else Place(place.source, line)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if r"'\t'" in problem:
        return "a tab; YAML is indented with spaces"
    hint = ""
    if "mapping values are not allowed" in problem:
        hint = " (wrong indentation, or a text with ': ' in it that needs quotes)"
    elif "could not find expected ':'" in problem:
        hint = " (a key needs ': ' after it, with a space)"
    elif "another document" in problem:
        return "more than one document (`---`); expected one"
    elif "aliases" in problem:
        return f"{problem}; write the value out"
    return f"not valid YAML: {problem}{hint}"


def _convert(
    node: yaml.Node, place: Place, folder: Path | None, mistakes: list[Mistake], key: str
) -> Node:
    here = _at(place, folder, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return Node(_entries(node, here, folder, mistakes, key), here, folder)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        items = (
            _convert(item, place, folder, mistakes, f"{key}[{index}]")
            for index, item in enumerate(node.value)
        )
        return Node(tuple(items), here, folder)
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        return Node(_scalar(node), here, folder)
    tag = str(node.tag).replace(_TAG, "!!")
    mistakes.append(Mistake(here, key, f"the tag {tag!r} is not supported; leave it out"))
    return Node(None, here, folder)


def _entries(
    node: yaml.MappingNode, place: Place, folder: Path | None, mistakes: list[Mistake], key: str
) -> Mapping[str, Node]:
    entries: dict[str, Node] = {}
    for name_node, value_node in node.value:
        here = _at(place, folder, name_node.start_mark.line + 1)
        if not isinstance(name_node, yaml.ScalarNode):
            mistakes.append(Mistake(here, key, "a key must be a plain word"))
            continue
        name = str(name_node.value)
        dotted = f"{key}.{name}" if key else name
        if name in entries:
            first = entries[name].place.line
            mistakes.append(Mistake(here, dotted, f"written twice (first on line {first})"))
            continue
        value = _convert(value_node, place, folder, mistakes, dotted)
        entries[name] = replace(value, place=here)
    return entries


_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str")}


def _scalar(node: yaml.ScalarNode) -> Scalar:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if _INT.fullmatch(text) and len(text) < 400:
            return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
        case "float" if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text


def override(root: Node, text: str, mistakes: list[Mistake]) -> Node:
    """`root` with one `--set key=value` in it; the value is YAML, the key is dotted."""
    place = Place(f"--set {text}")
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        mistakes.append(Mistake(place, "", "expected key=value, such as model.dtype=float32"))
        return root
    try:
        node = parse(value, place, None, mistakes)
        return _put(root, parts, node or Node(None, place), place)
    except Unreadable as error:
        mistakes.append(replace(error.mistake, key=error.mistake.key or key.strip()))
        return root


def _put(root: Node, parts: list[str], leaf: Node, place: Place) -> Node:
    if not parts:
        return replace(leaf, place=place)
    if root.value is not None and not isinstance(root.value, Mapping):
        raise Unreadable(place, f"{parts[0]!r} cannot be set inside {shown(root.plain())}")
    entries = dict(root.value or {})
    below = entries.get(parts[0], Node({}, place))
    entries[parts[0]] = _put(below, parts[1:], leaf, place)
    return replace(root, value=entries)


def merge(base: Node, other: Node, whole: Iterable[str] = ()) -> Node:
    """`other` over `base`, mapping by mapping; the keys in `whole` are taken as they are."""
    if not isinstance(base.value, Mapping) or not isinstance(other.value, Mapping):
        return other
    entries = dict(base.value)
    for key, node in other.value.items():
        under = entries.get(key)
        entries[key] = node if under is None or key in whole else merge(under, node)
    return replace(other, value=entries)


def near(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest known name, or nothing."""
    lowered = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f" Did you mean {lowered[found[0]]!r}?" if found else ""


def near_files(path: Path) -> str:
    """' Did you mean …?' for the nearest file name beside a path, or what is missing."""
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {str(folder)!r} does not exist."
    try:
        names = {entry.stem: entry.name for entry in sorted(folder.iterdir())}
    except OSError:
        return ""
    # By the stem: every '.yaml' is like every other.
    found = difflib.get_close_matches(path.stem, list(names), n=1, cutoff=0.6)
    return f" Did you mean {str(folder / names[found[0]])!r}?" if found else ""


def shown(value: object) -> str:
    """A value as it is quoted in a message: what it is, and no more than a line of it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            text = repr(value)
            return text if len(text) <= 60 else f"{text[:57]}…"
