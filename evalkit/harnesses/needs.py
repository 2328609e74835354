"""Which data sets a suite reads from a hub, told without reading them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.config import RunConfig
from evalkit.data.needs import Need
from evalkit.data.places import parse_name
from evalkit.harnesses.native import find_suite, suite_folders
from evalkit.harnesses.sets import expanded
from evalkit.harnesses.suitefile import SuiteConfig, read_suite_file

_LM_EVAL = "lm_eval:"
_OPENCOMPASS = "opencompass:"  # whose loaders alone know what they read, and from where
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def data_needs(suite: str, config: RunConfig) -> list[Need]:
    """The data sets of a suite, or of a set of them, that a hub keeps.

    None for what holds its own samples. Raises SuiteError where there is no such native suite.
    """
    folders = suite_folders()
    needs: list[Need] = []
    for name in expanded([suite], folders, config.data):
        if name.startswith(_LM_EVAL):
            index = _lm_eval_index(config.lm_eval.include_path)
            needs += needs_of_task(name.removeprefix(_LM_EVAL), index)
        elif name not in config.data and not name.startswith(_OPENCOMPASS):
            folder, _ = find_suite(name, folders)
            needs += needs_of_recipe(read_suite_file(folder))
    return list(dict.fromkeys(needs))


def needs_of_recipe(told: SuiteConfig) -> Iterator[Need]:
    """The data that a suite.yaml asks, a need for each configuration; none where it is a folder."""
    source = told.data
    name = parse_name(source.dataset) if source is not None else None
    if source is None or name is None or (name.host == "hub" and Path(name.name).is_dir()):
        return
    shown = told.fewshot.split if told.fewshot is not None else None
    if source.files is not None:
        yield Need(kind="dataset", name=name, files=source.files)
        if shown is not None:
            yield Need(kind="dataset", name=name, splits=(shown,))
        return
    # Without a split the data set has one only: all of it is asked.
    splits = dict.fromkeys(split for split in (source.split, shown) if split and source.split)
    for config in source.configs or (source.config,):
        yield Need(kind="dataset", name=name, config=config, splits=tuple(splits))


def _lm_eval_index(include: Path | None) -> Mapping[str, Any]:
    from evalkit.harnesses.lm_eval.index import open_index, version

    version()  # says how it is installed
    return open_index(include).entries


def needs_of_task(name: str, index: Mapping[str, Any]) -> Iterator[Need]:
    """The data of a task, of the tasks of a group, or of those with a tag; `index` is lm-eval's."""
    entry = index.get(name)
    if entry is None:
        return
    told = _told(entry)
    if told.get("dataset_path"):
        yield from _of_config(told)
    members = told.get("task") if "group" in told else sorted(entry.tags) if not told else ()
    for member in members if isinstance(members, list) else ():
        if isinstance(member, str):
            yield from needs_of_task(member, index)
        elif isinstance(member, Mapping):
            inherited = index.get(str(member.get("task")))
            yield from _of_config((_told(inherited) if inherited else {}) | dict(member))


def _told(entry: Any) -> dict[str, Any]:
    """What the file of an entry says, with what it includes; none of its code is run."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if entry.yaml_path is None:
        return dict(entry.cfg or {})
    return dict(load_yaml(entry.yaml_path, resolve_func=False))


def _of_config(told: Mapping[str, Any]) -> Iterator[Need]:
    name = parse_name(str(told.get("dataset_path") or ""))
    if name is None or "/" not in name.name:  # `json`, `csv` and the like read files
        return
    asked = told.get("dataset_kwargs") or {}
    splits = dict.fromkeys(told[key] for key in _SPLITS if told.get(key))
    yield Need(
        kind="dataset",
        name=name,
        revision=asked.get("revision"),
        config=told.get("dataset_name"),
        splits=tuple(str(split) for split in splits),
    )
