"""Logs are untrusted: whatever shape their JSON has, the answer is a message and no traceback."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError
from evalkit.imports.base import Imported, keep
from evalkit.imports.inspect_ai import read_inspect
from evalkit.imports.lm_eval import read_lm_eval
from evalkit.imports.opencompass import read_opencompass
from evalkit.imports.promptfoo import read_promptfoo
from evalkit.progress import Silent
from tests.imports.conftest import Logs
from tests.imports.inspect_logs import header, row, write_json
from tests.imports.test_opencompass import likelihoods, of_list
from tests.imports.test_promptfoo import both
from tests.imports.test_promptfoo import write as write_promptfoo

STRANGE: list[Any] = [
    None, True, -1, 1e308, float("nan"), 10**400, "", "../../etc/passwd", "\ud800", "a\x00b", [],
    {}, [[]], {"": {}}, "<script>",
]  # fmt: skip
TRIES = 120


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: its container and the key or index there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from nodes(inner)


def spoilt(whole: Any, rng: random.Random) -> Any:
    """The value with something else in one or two places, or with a part missing."""
    other = copy.deepcopy(whole)
    for _ in range(rng.randint(1, 2)):
        container, key = rng.choice(list(nodes(other)))
        if rng.random() < 0.2 and isinstance(container, dict):
            container.pop(key, None)
        elif isinstance(container, dict) or key < len(container):
            container[key] = rng.choice(STRANGE)
    return other


def survives(read: Callable[[], list[Imported]], output: Path) -> bool:
    """Whether something was imported; anything but a told mistake is raised."""
    try:
        for one in read():
            keep(one, "x", output)
    except EvalkitError:
        return False
    return True


def both_ends(outcomes: list[bool]) -> None:
    """The fuzz is worth something only if it breaks some logs and leaves some readable."""
    assert any(outcomes)
    assert not all(outcomes)


def test_inspect_ai(tmp_path: Path) -> None:
    rng, path = random.Random(1), tmp_path / "log.json"
    rows = [row(n, "C" if n else "I", "text", epoch) for n in range(2) for epoch in (1, 2)]
    write_json(path, header("m", 0.5, 2), rows)
    whole, outcomes = json.loads(path.read_text()), []
    for _ in range(TRIES):
        path.write_text(json.dumps(spoilt(whole, rng)))
        outcomes.append(survives(lambda: [read_inspect([path], Silent())], tmp_path / "runs"))
    both_ends(outcomes)


def test_promptfoo(tmp_path: Path) -> None:
    rng, path = random.Random(2), write_promptfoo(tmp_path / "r.json", both())
    whole, outcomes = json.loads(path.read_text()), []
    for _ in range(TRIES):
        path.write_text(json.dumps(spoilt(whole, rng)))
        outcomes.append(survives(lambda: read_promptfoo(path, Silent()), tmp_path / "runs"))
    both_ends(outcomes)


def test_opencompass(tmp_path: Path) -> None:
    rng, right = random.Random(3), [True, False, True]
    wholes = {"predictions": likelihoods(right), "results": of_list(right)}
    outcomes = []
    for _ in range(TRIES):
        spoil = rng.choice(list(wholes))
        for name, whole in wholes.items():
            told = spoilt(whole, rng) if name == spoil else whole
            (tmp_path / name / "m").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "m" / "ds.json").write_text(json.dumps(told))
        outcomes.append(survives(lambda: read_opencompass(tmp_path, Silent()), tmp_path / "runs"))
    both_ends(outcomes)


def test_lm_eval(logs: Logs, tmp_path: Path) -> None:
    rng = random.Random(4)
    folder = Path(shutil.copytree(logs.folder / "base", tmp_path / "base"))
    files = [*folder.rglob("results_*"), *folder.rglob("samples_made_few*")]
    files += folder.rglob("samples_made_texts*")
    kept = {file: file.read_text() for file in files}
    for file in folder.rglob("samples_*"):
        if file not in kept:
            file.unlink()
    outcomes = []
    for _ in range(TRIES):
        file = rng.choice(files)
        if file.suffix == ".json":
            file.write_text(json.dumps(spoilt(json.loads(kept[file]), rng)))
        else:
            first, *rest = kept[file].splitlines()
            file.write_text("\n".join([json.dumps(spoilt(json.loads(first), rng)), *rest]))
        outcomes.append(survives(lambda: [read_lm_eval(folder, Silent())], tmp_path / "runs"))
        file.write_text(kept[file])
    both_ends(outcomes)


def test_nothing_is_written_beside_the_output(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    write_json(path, header("../../../elsewhere/model..", 1.0, 1), [row(0, "C", "x")])
    run = keep(read_inspect([path], Silent()), "", tmp_path / "runs")
    assert Path(run.path).parent == tmp_path / "runs"
    assert run.manifest.name == "model"


@pytest.mark.parametrize("depth", [100_000])
def test_a_deep_nest_is_refused(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"results":' * depth)
    with pytest.raises(EvalkitError):
        read_promptfoo(path, Silent())
