"""Which batch size suits lm-eval best: each is tried on a few samples, the model loaded once.

Runs as a process of its own; the last line it prints is JSON, {batch size: seconds}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

SLOWER = 1.15
"""A size this many times slower than the best ends the search: larger (or smaller) ones are no
better then."""


def main() -> None:
    """Try the sizes in the order given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-args", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--include-path", required=True)
    parser.add_argument("--limit", type=int, required=True, help="samples of each trial")
    parser.add_argument("--sizes", required=True)
    options = parser.parse_args()
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    given = dict(one.split("=", 1) for one in options.model_args.split(","))
    given["max_length"] = int(given["max_length"])
    model = HFLM(**given, device=options.device, batch_size=1)
    tasks = TaskManager(include_path=options.include_path)
    sizes = [int(size) for size in options.sizes.split(",")]
    print(json.dumps(search(model, options.task, tasks, options.limit, sizes)))


def search(model: Any, task: str, tasks: Any, limit: int, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds by batch size."""
    from lm_eval import simple_evaluate

    # The first forward of a process is slower than the rest; it must not decide.
    simple_evaluate(model=model, tasks=[task], task_manager=tasks, limit=1, bootstrap_iters=0)
    found: dict[int, float] = {}
    for size in sizes:
        model.batch_size_per_gpu = size
        started = time.perf_counter()
        simple_evaluate(
            model=model, tasks=[task], task_manager=tasks, limit=limit, bootstrap_iters=0
        )
        found[size] = round(time.perf_counter() - started, 2)
        if found[size] > SLOWER * min(found.values()):
            break
    return found


if __name__ == "__main__":
    main()
