"""What tells a task from another, in words that are the same in every process."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_THEIRS = "lm_eval.api.task"  # the classes of tasks that are written in YAML


def configuration(task: Any) -> dict[str, Any]:
    """A task's configuration, its functions among it, but not where its files lie."""
    # lm-eval's own dump makes texts of functions, of some with their address in memory.
    told = dict(task.config.to_dict(keep_callable=True))
    told["metadata"] = {
        key: value
        for key, value in dict(told.get("metadata") or {}).items()
        if key != "config_source"
    }
    told.pop("dataset_kwargs", None)
    if type(task).__module__ != _THEIRS:
        told["class"] = type(task)
    return told


def encoded(value: Any) -> bytes:
    """Any value as JSON: functions by the code they are written in, never by an address."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=_told).encode()


def _told(value: Any) -> Any:
    if isinstance(value, partial):
        return [value.func, list(value.args), value.keywords]
    if isinstance(value, (set, frozenset)):
        return sorted(encoded(one).decode() for one in value)
    if not callable(value):
        return _ADDRESS.sub("", str(value))
    written = inspect.unwrap(value)
    if isinstance(written, (FunctionType, type)):
        return [written.__qualname__, *_code(written)]
    if inspect.ismethod(written):
        return [written.__qualname__, *_code(written.__func__)]
    return [_ADDRESS.sub("", repr(value)), *_code(type(value))]


def _code(written: Any) -> list[str]:
    """Hashes of the file in which something is written, and of those that this one uses.

    A function is but the first of those it calls: a helper beside it changes what it gives.
    """
    module = sys.modules.get(written.__module__)
    first = getattr(module, "__file__", None)
    if module is None or first is None:
        return []
    found = {first: module}
    _follow(module, Path(first).parent, found)
    return [_hashed(Path(file)) for file in found]


def _follow(module: ModuleType, folder: Path, found: dict[str, ModuleType]) -> None:
    """Add the modules in or below the folder of which a module has functions or classes."""
    for one in list(vars(module).values()):
        home = sys.modules.get(one.__module__) if isinstance(one, (FunctionType, type)) else one
        if not isinstance(home, ModuleType):
            continue
        file = getattr(home, "__file__", None)
        if file and file not in found and folder in Path(file).parents:
            found[file] = home
            _follow(home, folder, found)


def _hashed(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:  # of a module that lies in an archive
        return ""
