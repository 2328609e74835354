"""Two evaluations by lm-eval, a base and a better tuned model, logged once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.imports.lm_eval_logs import write_log, write_tasks


class Logs(NamedTuple):
    """Where lm-eval wrote, and what it says of both models."""

    folder: Path
    tasks: Path
    base: dict[str, Any]
    tuned: dict[str, Any]


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """lm-eval's own output folders: out/base, out/tuned."""
    folder = tmp_path_factory.mktemp("lm_eval")
    tasks = write_tasks(folder / "tasks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lm-eval's and datasets' own deprecations
        base = write_log(folder / "out" / "base", tasks, "base", skill=0.5)
        tuned = write_log(folder / "out" / "tuned", tasks, "tuned", skill=0.95)
    return Logs(folder / "out", tasks, base, tuned)
