"""From a config file, or data in the custom form, to OpenCompass's descriptions of data sets."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from mmengine.config import Config, ConfigDict
from opencompass.datasets.custom import make_custom_dataset_config
from opencompass.registry import ICL_EVALUATORS
from opencompass.utils import build_dataset_from_cfg, dataset_abbr_from_cfg

INFERENCERS = ("PPLInferencer", "GenInferencer", "LLInferencer", "PPLOnlyInferencer")
_JUDGES = {"judge_cfg", "llm_evaluator", "judge_models", "judge_model"}
# What a module has in it that runs the code a model wrote, or has someone else run it.
_RUNS_CODE = re.compile(
    r"\b(subprocess|multiprocessing|os\.system|human_eval|evalplus|gradio_client|pyext)\b"
    r"|(?<![\w.])(exec|eval)\("
)


class RefusedError(Exception):
    """What evalkit does not do; the message is for the user."""


def described(told: Mapping[str, Any]) -> list[ConfigDict]:
    """The data sets that a suite stands for."""
    if told.get("custom"):
        return [ConfigDict(make_custom_dataset_config(dict(told["custom"])))]
    config = Config.fromfile(told["path"], format_python_code=False)
    suffix = told.get("suffix") or "_datasets"
    keys = [key for key in config if key.endswith(suffix)]
    if "datasets" in config and not told.get("suffix"):
        keys = ["datasets"]
    found = [one for key in keys for one in config[key]]
    if not found:
        raise RefusedError(f"{told['path']} names no data sets (…{suffix}).")
    return [
        ConfigDict(one if "type" in one else make_custom_dataset_config(dict(one)))
        for one in copy.deepcopy(found)
    ]


def check(config: ConfigDict, *, runs_code: bool) -> None:
    """RefusedError for a data set that needs more than answers and likelihoods of one model."""
    abbr = dataset_abbr_from_cfg(config)
    if abbr.startswith(("/", ".")) or ".." in abbr.split("/"):
        raise RefusedError(f"{abbr!r} cannot be a data set's name: it would leave its folder.")
    inferencer = config["infer_cfg"]["inferencer"]
    name = type_name(inferencer["type"])
    if name not in INFERENCERS or inferencer.get("multiround"):
        many = ", turn after turn" if inferencer.get("multiround") else ""
        raise RefusedError(
            f"{abbr} is asked by {name}{many}; evalkit answers {', '.join(INFERENCERS)}."
        )
    judges = _JUDGES & set(_keys(config.get("eval_cfg", {})))
    evaluator = type_name(config.get("eval_cfg", {}).get("evaluator", {}).get("type"))
    if evaluator.endswith("LMEvaluator"):
        judges.add(evaluator)
    if judges:
        raise RefusedError(
            f"{abbr} is scored by another model ({', '.join(sorted(judges))}), which evalkit does "
            "not ask for it. Take a variant of it that is scored by rules."
        )
    if not runs_code and _runs_code(config):
        raise RefusedError(
            f"{abbr}: its evaluator runs code, maybe that of a model, on this machine and outside "
            "any sandbox. If that is meant, add --allow-code-execution to the command."
        )


def type_name(kind: Any) -> str:
    """The name of a class that a config names by itself or by a string."""
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _keys(told: Any) -> Iterator[str]:
    if isinstance(told, Mapping):
        for key, value in told.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(told, (list, tuple)):
        for one in told:
            yield from _keys(one)


def _runs_code(config: ConfigDict) -> bool:
    kind = config.get("eval_cfg", {}).get("evaluator", {}).get("type")
    if isinstance(kind, str):
        kind = ICL_EVALUATORS.get(kind)
    if kind is None:
        return False
    modules = {inspect.getmodule(one) for one in inspect.getmro(kind)}
    sources = [
        inspect.getsource(one)
        for one in modules
        if one is not None
        and one.__name__.startswith("opencompass.")
        and not one.__name__.endswith(".icl_base_evaluator")
    ]
    return any(_RUNS_CODE.search(source) for source in sources)


def plain(value: Any) -> Any:
    """A description as plain data, classes and functions by name: for the suite's fingerprint."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items() if key != "path"}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return type_name(value)


class Sets:
    """Data sets that were read, of which each is read once, cut to the run's limit."""

    def __init__(self) -> None:
        self._read: dict[str, Any] = {}

    def opened(self, config: ConfigDict, limit: int | None) -> Any:
        """The data set with the first `limit` rows of its test, of each of its repeats."""
        key = _key(config)
        if key not in self._read:
            self._read[key] = build_dataset_from_cfg(config)
        whole = self._read[key]
        size = len(whole.test) // runs_of(config)
        rows = range(size if limit is None else min(limit, size))
        return chosen(whole, rows, size, runs_of(config))

    def available(self, config: ConfigDict) -> int:
        """How many rows it has, whatever the limit."""
        return len(self._read[_key(config)].test) // runs_of(config)


def _key(config: ConfigDict) -> str:
    """What a data set is described by; a file that was changed is another."""
    path = str(config.get("path"))
    file = Path(path)
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return f"{plain(config)} {path} {changed}"


def runs_of(config: ConfigDict) -> int:
    """How often each row is asked: the rows of all runs follow one another."""
    return int(config.get("n", 1))


def chosen(whole: Any, rows: Any, size: int, runs: int = 1) -> Any:
    """A data set with some rows of its test, of each run; what examples are taken from stays."""
    wanted = [run * size + row for run in range(runs) for row in rows]
    reader = copy.copy(whole.reader)
    parts = dict(whole.reader.dataset)
    parts["test"] = whole.test.select(wanted)
    reader.dataset = DatasetDict(parts)
    part = copy.copy(whole)
    part.reader = reader
    return part
