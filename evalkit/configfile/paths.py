"""Relative paths in a file start at that file, not at wherever the command was typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evalkit.config import Existing, HubOrFolder, NameOrFile
from evalkit.configfile.explain import dotted
from evalkit.configfile.schema import Shape
from evalkit.configfile.tree import Mistake, Node, near_files

Keys = tuple[str | int, ...]
_YAML = (".yaml", ".yml")


def resolve_paths(node: Node, expected: Shape, mistakes: list[Mistake], keys: Keys = ()) -> Node:
    """The tree with every marked path made absolute; one that does not exist is a mistake."""
    match node.value:
        case Mapping() as entries:
            entries = _with_usual_kind(entries, node, expected)
            kind = entries.get(expected.discriminator)
            expected = expected.narrowed(None if kind is None else kind.value)
            if expected.discriminator:
                return node  # no kind, or no such kind: nobody knows what its paths mean
            resolved = {
                key: resolve_paths(entry, expected.child(key), mistakes, (*keys, key))
                for key, entry in entries.items()
            }
            return replace(node, value=resolved)
        case tuple() as items:
            listed = tuple(
                resolve_paths(item, expected.child(index), mistakes, (*keys, index))
                for index, item in enumerate(items)
            )
            return replace(node, value=listed)
        case str() as text if _marked(expected, Existing):
            return _existing(node, text, mistakes, keys)
        case str() as text if _marked(expected, HubOrFolder):
            return _hub_or_folder(node, text, mistakes, keys)
        case str() as text if _marked(expected, NameOrFile) and text.endswith(_YAML):
            return _existing(node, text, mistakes, keys)
        case bool() if expected.options and set(expected.options) <= {int, float}:
            # pydantic would read `limit: true` as 1.
            mistakes.append(
                Mistake(node.place, dotted(keys), "expected a number, got true or false")
            )
            return node
        case _:
            return node


def _with_usual_kind(
    entries: Mapping[str, Node], node: Node, expected: Shape
) -> Mapping[str, Node]:
    """The entries with their kind, where it was left out and one is meant then."""
    name = expected.discriminator
    if not name or name in entries or not expected.usual_kind:
        return entries
    return {name: replace(node, value=expected.usual_kind), **entries}


def _marked(expected: Shape, mark: type) -> bool:
    return any(isinstance(each, mark) for each in expected.marks)


def candidates(node: Node, text: str) -> list[Path]:
    """Where a path may lead: from the folder of its file, and from the current one."""
    given = Path(text).expanduser()
    folders = [node.folder, Path.cwd()] if node.folder is not None else [Path.cwd()]
    return list(dict.fromkeys((folder / given).resolve() for folder in folders))


def _existing(node: Node, text: str, mistakes: list[Mistake], keys: Keys) -> Node:
    places = candidates(node, text)
    for candidate in places:
        if text and candidate.exists():
            return replace(node, value=str(candidate))
    hint = next((hint for path in places if (hint := near_files(path))), "")
    looked = " and ".join(str(path.parent) for path in places)
    message = f"nothing there: {text!r} (looked in {looked}).{hint}" if text else "expected a path"
    mistakes.append(Mistake(node.place, dotted(keys), message))
    return node


def _hub_or_folder(node: Node, text: str, mistakes: list[Mistake], keys: Keys) -> Node:
    places = candidates(node, text)
    for candidate in places:
        if text and candidate.exists():
            return replace(node, value=str(candidate))
    if text.startswith(("./", "../", "~", "/")):
        hint = near_files(places[0])
        mistakes.append(Mistake(node.place, dotted(keys), f"no folder {text!r}.{hint}"))
    return node
