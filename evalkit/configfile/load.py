"""One file to one checked object; several files to the arms of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from evalkit.config import RunConfig
from evalkit.configfile.explain import dotted, explain, locate
from evalkit.configfile.paths import candidates, resolve_paths
from evalkit.configfile.schema import Shape
from evalkit.configfile.tree import (
    Mistake,
    Node,
    Place,
    Unreadable,
    merge,
    override,
    planted,
    read_tree,
    shown,
)
from evalkit.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

_OWN = ("name", "model")  # what an arm may have of its own
_NOT_TAKEN_OVER = ("adapter", "allow_other_base", "trust_remote_code")


def load_config(path: Path, model: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a YAML file into a checked `model`; `overrides` are `key=value`, keys dotted.

    Raises ConfigError listing every mistake with its file, line, key and what was expected.
    """
    loaded = _check(path, model, overrides)
    if loaded.config is None or loaded.mistakes:
        raise _error(loaded.mistakes)
    return loaded.config


def load_arms(paths: Sequence[Path], overrides: Sequence[str] = ()) -> list[RunConfig]:
    """Read the arms of a comparison, the base first; the others say only what differs.

    A file after the first holds `name` and `model`; anything else in it must equal the base's.
    `overrides` apply to all arms. Raises ConfigError with every mistake of all files.
    """
    base = _check(paths[0], RunConfig, overrides)
    arms, mistakes = [base], list(base.mistakes)
    for path in paths[1:]:
        arm = _check(path, RunConfig, overrides, under=base)
        # What is wrong in the base is wrong in every arm that takes it over: said once.
        said = {(each.key, each.message) for each in base.mistakes}
        mistakes += [each for each in arm.mistakes if (each.key, each.message) not in said]
        mistakes += _differences(base, arm)
        arms.append(arm)
    mistakes += _same_names(arms)
    if mistakes:
        raise _error(mistakes)
    return [arm.config for arm in arms if arm.config is not None]


def apply_overrides(config: M, overrides: Sequence[str]) -> M:
    """A checked object with `key=value` overrides applied; raises ConfigError for wrong ones."""
    mistakes: list[Mistake] = []
    tree = planted(config.model_dump(mode="json"), Place("the configuration"))
    for text in overrides:
        tree = override(tree, text, mistakes)
    _, changed = _validated(tree, type(config), mistakes)
    if changed is None or mistakes:
        raise _error(mistakes)
    return changed


@dataclass(frozen=True, slots=True)
class _Checked(Generic[M]):
    """A file after checking: `written` is what stands in it, `tree` what became of it."""

    path: Path
    config: M | None
    mistakes: list[Mistake]
    written: Node | None = None
    tree: Node | None = None


def _check(
    path: Path,
    model: type[M],
    overrides: Sequence[str],
    under: _Checked[M] | None = None,
) -> _Checked[M]:
    try:
        written, mistakes = read_tree(path)
    except Unreadable as error:
        return _Checked(path, None, [error.mistake])
    tree = written
    if under is not None:
        if under.written is None:  # nothing can be said of an arm without its base
            return _Checked(path, None, mistakes)
        tree = merge(under.written, _on_the_base(under.written, written), whole=_OWN)
    for text in overrides:
        tree = override(tree, text, mistakes)
    tree, config = _validated(tree, model, mistakes)
    return _Checked(path, config, mistakes, written, tree)


def _on_the_base(base: Node, arm: Node) -> Node:
    """The arm with its model's missing keys taken over, where its model is the base's own.

    An adapter is compared with its base in one precision, on one device, over one template,
    unless the arm says otherwise; what the base alone is, or was allowed, is not taken over.
    """
    ours, theirs = base.child("model"), arm.child("model")
    if ours is None or theirs is None or not isinstance(ours.value, Mapping):
        return arm
    if any(not _same_value(ours.child(key), theirs.child(key)) for key in ("kind", "path")):
        return arm
    shared = {key: node for key, node in ours.value.items() if key not in _NOT_TAKEN_OVER}
    model = merge(replace(ours, value=shared), theirs)
    assert isinstance(arm.value, Mapping)
    return replace(arm, value={**arm.value, "model": model})


def _same_value(ours: Node | None, theirs: Node | None) -> bool:
    """Whether two texts are the same, or name one folder from where each of them stands."""
    if ours is None or theirs is None:
        return False
    if ours.value == theirs.value:
        return True
    if not isinstance(ours.value, str) or not isinstance(theirs.value, str):
        return False
    here, there = candidates(ours, ours.value), candidates(theirs, theirs.value)
    return any(path.exists() and path in there for path in here)


def _validated(tree: Node, model: type[M], mistakes: list[Mistake]) -> tuple[Node, M | None]:
    paths: list[Mistake] = []
    tree = resolve_paths(tree, Shape((model,)), paths)
    mistakes += paths
    try:
        return tree, model.model_validate(tree.plain())
    except ValidationError as error:
        said = {each.key for each in paths}
        mistakes += [each for each in explain(error, tree, model) if each.key not in said]
        return tree, None


def _differences(base: _Checked[RunConfig], arm: _Checked[RunConfig]) -> Iterator[Mistake]:
    """Everything but `name` and `model` in which an arm is not its base."""
    if base.config is None or arm.config is None or arm.tree is None:
        return
    ours, theirs = arm.config.model_dump(mode="json"), base.config.model_dump(mode="json")
    for keys, here, there in _unequal(ours, theirs):
        if keys[0] in _OWN:
            continue
        spot = locate(keys, arm.tree, RunConfig)
        yield Mistake(
            spot.place,
            dotted(keys),
            f"{_brief(here)} here, {_brief(there)} in {base.path}; "
            "arms may differ in `name` and `model` alone, so leave it out",
        )


def _unequal(ours: Any, theirs: Any, keys: tuple[str, ...] = ()) -> Iterator[Any]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _unequal(ours.get(key), theirs.get(key), (*keys, key))
    elif ours != theirs:
        yield keys, ours, theirs


def _brief(value: object) -> str:
    return str(value) if isinstance(value, list) and len(str(value)) <= 60 else shown(value)


def _same_names(arms: Sequence[_Checked[RunConfig]]) -> Iterator[Mistake]:
    """Arms are told apart by their names: in the store, in the folders, in the report."""
    seen: dict[str, Path] = {}
    for arm in arms:
        node = None if arm.tree is None else arm.tree.child("name")
        if node is None or not isinstance(node.value, str):
            continue
        if node.value in seen and arm.written is not None:
            own = arm.written.child("name")
            where = own.place if own is not None else Place(str(arm.path))
            first = seen[node.value]
            told = "missing" if own is None else f"{node.value!r} is also the name in {first}"
            yield Mistake(where, "name", f"{told}; each arm needs a name of its own")
        seen.setdefault(node.value, arm.path)


def _error(mistakes: Sequence[Mistake]) -> ConfigError:
    """All mistakes in one error: file by file in the order given, line by line."""
    sources = list(dict.fromkeys(each.place.source for each in mistakes))
    unique = dict.fromkeys(mistakes)
    ordered = sorted(unique, key=lambda each: (sources.index(each.place.source), each.place.line))
    if len(ordered) == 1:
        return ConfigError(str(ordered[0]))
    return ConfigError("\n  ".join([f"{len(ordered)} mistakes:", *map(str, ordered)]))
