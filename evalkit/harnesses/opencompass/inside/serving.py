"""The commands of the main process, one after the other, until it leaves."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from typing import Any

from opencompass.utils import dataset_abbr_from_cfg

from .channel import Channel
from .model import EngineModel, numbers_in
from .passes import Rows, evaluated, inferred
from .sets import RefusedError, Sets, check, chosen, described, plain, runs_of, type_name
from .values import found_in

_TRIED = 6
_NO_ANSWER = "no such answer"


def serve(channel: Channel) -> None:
    """Do what comes until the other end leaves; a failure is told, and the next command awaited."""
    sets = Sets()
    while (told := channel.receive()) is not None:
        try:
            done = _asked(told, sets) if told["do"] == "ask" else _scored(told, sets, channel)
        except ConnectionError:
            return
        except RefusedError as error:
            channel.send({"failed": str(error), "refused": True})
        except Exception as error:  # OpenCompass runs the programs of many people
            traceback.print_exc()
            channel.send({"failed": f"{type(error).__name__}: {error}", "refused": False})
        else:
            channel.send({"done": done})


def forbid_network() -> None:
    """From now on only loopback is reached: whoever tries more is told that this is offline."""

    def look(event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(details[1], tuple):
            host = str(details[1][0])
            if not host.startswith("127.") and host not in ("::1", "localhost"):
                raise OSError(f"{host} is not asked: this run is offline")
        if event == "socket.getaddrinfo" and details[0] not in (None, "127.0.0.1", "localhost"):
            raise OSError(f"{details[0]} is not looked up: this run is offline")

    sys.addaudithook(look)


def start(channel: Channel) -> None:
    """Be ready, say so, and serve."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        forbid_network()
    channel.send({"done": {"version": metadata.version("opencompass")}})
    serve(channel)


def _asked(told: Mapping[str, Any], sets: Sets) -> dict[str, Any]:
    """The first pass: what OpenCompass asks for each row, and what it would measure."""
    questions: list[dict[str, Any]] = []
    found = []
    for config in described(told["set"]):
        check(config, runs_code=told["runs_code"])
        data = sets.opened(config, told["limit"])
        if not len(data.test):
            raise RefusedError(f"{dataset_abbr_from_cfg(config)} has no rows to ask.")
        model = EngineModel(chat=told["chat"])
        rows = inferred(model, config, data, told["new"])
        found.append(
            {
                "abbr": dataset_abbr_from_cfg(config),
                "inferencer": type_name(config["infer_cfg"]["inferencer"]["type"]),
                "available": sets.available(config),
                "runs": runs_of(config),
                "first": len(questions),
                "rows": _rows(rows, runs_of(config)),
                "metrics": _metrics(config, data, rows),
                "config": plain(config),
            }
        )
        questions += model.questions
    return json_like({"datasets": found, "questions": questions})


def json_like(told: dict[str, Any]) -> dict[str, Any]:
    """Plain data, whatever a data set keeps in its rows."""
    return dict(json.loads(json.dumps(told, default=str)))


def _rows(rows: Rows, runs: int) -> list[dict[str, Any]]:
    """Of each row the questions of every run, its labels, and its gold answer."""
    size = len(rows) // runs
    return [
        {
            "asks": [numbers_in(rows[run * size + place]) for run in range(runs)],
            "labels": [
                key.removeprefix("label: ") for key in rows[place] if key.startswith("label: ")
            ],
            "gold": rows[place].get("gold"),
        }
        for place in range(size)
    ]


def _metrics(config: Any, data: Any, rows: Rows) -> list[dict[str, Any]]:
    """What the evaluator measures, tried on a few rows, every other of them with its gold answer.

    Where it cannot work on a few, it is tried on all.
    """
    size = len(rows) // runs_of(config)
    problem: Exception | None = None
    for count in dict.fromkeys((min(_TRIED, size), size)):
        tried = [_answered(row, right=place % 2 == 0) for place, row in enumerate(rows[:count])]
        part = chosen(data, range(count), size)
        try:
            result, task = evaluated(config, part, tried)
            found = found_in(result, task.compared, count, task.alone)
        except Exception as error:  # an evaluator is a stranger's program
            problem = error
            continue
        if found:
            return [
                {"name": name, "share": one.share, "points": not one.share and one.number > 1.5}
                for name, one in found.items()
            ]
    abbr = dataset_abbr_from_cfg(config)
    if problem is not None:
        raise RefusedError(
            f"OpenCompass cannot evaluate {abbr}: {type(problem).__name__}: {problem}"
        ) from problem
    raise RefusedError(
        f"{abbr}: none of its evaluator's numbers is the mean of what it says of the samples, so "
        "nothing of it can be compared sample by sample."
    )


def _answered(row: dict[str, Any], *, right: bool) -> dict[str, Any]:
    if "prediction" not in row:
        return row
    gold = row.get("gold")
    gold = gold[0] if isinstance(gold, list) and gold else gold
    labels = [key.removeprefix("label: ") for key in row if key.startswith("label: ")]
    wrong = next((one for one in labels if one != str(gold)), _NO_ANSWER)
    return {**row, "prediction": (gold if labels else str(gold)) if right else wrong}


def _scored(told: Mapping[str, Any], sets: Sets, channel: Channel) -> dict[str, Any]:
    """The second pass: the same with the answers, of which the wanted rows are evaluated."""
    found = []
    for config in described(told["set"]):
        abbr = dataset_abbr_from_cfg(config)
        wanted = told["wanted"].get(abbr, [])
        if not wanted:
            continue
        data = sets.opened(config, told["limit"])
        answers = partial(_answers, channel, told["first"][abbr])
        model = EngineModel(chat=told["chat"], answers=answers)
        rows = inferred(model, config, data, told["new"])
        runs = runs_of(config)
        each = [_run(config, data, rows, wanted, run, runs) for run in range(runs)]
        found.append({"abbr": abbr, "runs": each})
    return json_like({"datasets": found})


def _answers(
    channel: Channel, start: int, number: int, questions: list[dict[str, Any]]
) -> list[Any]:
    """Ask the main process; the questions of one data set begin at `start`."""
    place = number if number < 0 else start + number
    return list(channel.ask({"first": place, "questions": questions}))


def _run(
    config: Any, data: Any, rows: Rows, wanted: list[int], run: int, runs: int
) -> dict[str, Any]:
    """The wanted rows of one run, evaluated as a data set of their own."""
    size = len(rows) // runs
    places = [run * size + place for place in wanted]
    mine = [rows[place] for place in places]
    result, task = evaluated(config, chosen(data, places, size), mine)
    found = found_in(result, task.compared, len(mine), task.alone)
    return {
        "metrics": {name: one._asdict() for name, one in found.items()},
        "predictions": [str(row.get("prediction", "")) for row in mine],
    }
