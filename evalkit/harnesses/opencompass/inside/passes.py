"""OpenCompass's own inference and evaluation tasks, run here and not behind its command line."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict
from opencompass.tasks import openicl_eval, openicl_infer
from opencompass.utils import dataset_abbr_from_cfg

from .model import EngineModel
from .sets import RefusedError

_MODEL = "evalkit"
_BATCH = 512

Rows = list[dict[str, Any]]


def inferred(model: EngineModel, config: ConfigDict, data: Any, max_out_len: int) -> Rows:
    """What OpenCompass writes of each row of the data when the model is asked."""
    described = {"abbr": _MODEL, "type": "EngineModel", "max_out_len": max_out_len}
    with tempfile.TemporaryDirectory() as folder:
        settings = ConfigDict(
            models=[{**described, "batch_size": _BATCH}], datasets=[[config]], work_dir=folder
        )
        task = openicl_infer.OpenICLInferTask(settings)
        with _in_place_of(openicl_infer, "build_dataset_from_cfg", lambda _: data):
            task.run(cur_model=model, cur_model_abbr=_MODEL)
        return _predictions(Path(folder), config, len(data.test))


def _predictions(folder: Path, config: ConfigDict, expected: int) -> Rows:
    """OpenCompass may leave its files out, or rows of them, and say nothing: they are counted."""
    file = folder / "predictions" / _MODEL / f"{dataset_abbr_from_cfg(config)}.json"
    if not file.is_file():
        raise RefusedError(f"OpenCompass wrote no predictions of {file.stem}.")
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = [found.get(str(place)) for place in range(expected)]
    missing = [place for place, row in enumerate(rows) if not row]
    if missing or len(found) != expected:
        raise RefusedError(
            f"OpenCompass wrote predictions of {len(found) - len(missing)} rows of {file.stem}, "
            f"which has {expected}."
        )
    return rows


class Evaluation(openicl_eval.OpenICLEvalTask):  # type: ignore[misc]  # untyped in opencompass
    """OpenCompass's evaluation, which remembers what it compared."""

    def __init__(self, config: ConfigDict, folder: str) -> None:
        config = copy.deepcopy(config)
        config["n"] = config["k"] = 1  # runs are evaluated one by one, which it would do itself
        super().__init__(
            ConfigDict(
                models=[{"abbr": _MODEL, "type": "EngineModel"}],
                datasets=[[config]],
                work_dir=folder,
                eval={"runner": {"task": {"dump_details": True}}},
            )
        )
        self.compared: tuple[list[Any] | None, Any] = (None, None)
        self._again: Callable[[int], dict[str, Any]] | None = None

    def _evaluate_predictions(self, pred_strs: Any, test_set: Any, pred_dicts: Any) -> Any:
        column = self.output_column
        references = None if column is None else [sample[column] for sample in test_set]
        self.compared = (pred_strs, references)
        base = super()._evaluate_predictions

        def alone(place: int) -> dict[str, Any]:
            one = slice(place, place + 1)
            some = None if pred_strs is None else pred_strs[one]
            return dict(base(some, test_set.select([place]), pred_dicts[one]))

        self._again = alone
        return base(pred_strs, test_set, pred_dicts)

    def alone(self, place: int) -> dict[str, Any]:
        """What the evaluator says of one row by itself."""
        assert self._again is not None
        return self._again(place)


def evaluated(config: ConfigDict, data: Any, rows: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """What OpenCompass's evaluator writes of these rows, and the task that did it."""
    abbr = dataset_abbr_from_cfg(config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions" / _MODEL / f"{abbr}.json"
        file.parent.mkdir(parents=True)
        told = {str(place): row for place, row in enumerate(rows)}
        file.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        task = Evaluation(config, folder)
        with _in_place_of(openicl_eval, "build_dataset_from_cfg", lambda _: data):
            task.run()
        result = Path(folder) / "results" / _MODEL / f"{abbr}.json"
        if not result.is_file():
            raise RefusedError(f"OpenCompass wrote no results of {abbr}.")
        found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise RefusedError(f"OpenCompass's evaluator of {abbr} says: {found['error']}")
    return found, task


class _in_place_of:  # noqa: N801, reads as a statement
    """While it lasts a module's function is another."""

    def __init__(self, module: Any, name: str, other: Any) -> None:
        self._module, self._name, self._other = module, name, other

    def __enter__(self) -> None:
        self._before = getattr(self._module, self._name)
        setattr(self._module, self._name, self._other)

    def __exit__(self, *_: object) -> None:
        setattr(self._module, self._name, self._before)
