"""`evalkit compare --checkpoints`: a training run's checkpoints as arms, and what can be wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.checkpoints import ADAPTER, TUNED, WHOLE, read_training_run
from evalkit.cli.options import Manner, Questions, load_configs
from evalkit.config import HFModel, RunConfig
from evalkit.errors import AdapterError, UsageError
from evalkit.models.weights import weights_hash
from tests.cli.conftest import SUITE, Bench, Said, write_suite
from tests.models.hf.tiny_models import make_adapter, make_model

FOLDER = "runs/train/notes"


@pytest.fixture(scope="session")
def adapters(models: Path) -> dict[int, Path]:
    """Adapters of the tiny model that move it more and more."""
    return {
        step: make_adapter(models / "model", models / f"step-{step}", strength=step / 20)
        for step in (2, 4, 6)
    }


@pytest.fixture
def trained(bench: Bench, models: Path, adapters: dict[int, Path]) -> Bench:
    """A bench with a training run that was stopped after its second checkpoint."""
    state = {
        "config": {"name": "notes", "model": "tiny", "save_every": 2},
        "base_weights": weights_hash(models / "model"),
    }
    bench.write(f"{FOLDER}/train.json", json.dumps(state))
    for step in (2, 4):
        _checkpoint(bench, adapters[step], step)
    return bench


def _checkpoint(bench: Bench, adapter: Path, step: int, *, whole: bool = True) -> None:
    folder = bench.folder / FOLDER / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(adapter, folder)
    if whole:
        (folder / WHOLE).touch()


def _finish(bench: Bench, adapter: Path, steps: int) -> None:
    shutil.copytree(adapter, bench.folder / FOLDER / ADAPTER)
    bench.write(f"{FOLDER}/manifest.json", json.dumps({"result": {"steps": steps}}))


def _arms(bench: Bench, **asked: Any) -> list[RunConfig]:
    from evalkit.cli.checkpoints import checkpoint_arms

    base, questions = bench.folder / "base.yaml", Questions(**asked)
    (config,) = load_configs([base], questions)
    return checkpoint_arms(config, base, Path(FOLDER), questions, Manner(quiet=True))


def _models(arms: list[RunConfig]) -> list[HFModel]:
    return [arm.model for arm in arms if isinstance(arm.model, HFModel)]


def _compared(said: Said) -> Any:
    assert said.code in (0, 1, 3), said.err
    return json.loads(said.out)


def test_the_names_are_those_the_trainer_gives() -> None:
    pytest.importorskip("trl")
    from trainers import artifacts, callbacks

    assert (WHOLE, ADAPTER, TUNED) == (callbacks.COMPLETE, artifacts.ADAPTER, artifacts.TUNED)


def test_every_whole_checkpoint_becomes_an_arm_in_the_order_of_steps(
    trained: Bench, adapters: dict[int, Path]
) -> None:
    _checkpoint(trained, adapters[6], 10)
    arms = _arms(trained)
    assert [arm.name for arm in arms] == ["notes-step-2", "notes-step-4", "notes-step-10"]
    for arm, model in zip(arms, _models(arms), strict=True):
        step = arm.name.rpartition("-")[2]
        assert model.adapter == trained.folder / FOLDER / "checkpoints" / f"checkpoint-{step}"
        assert (model.dtype, model.device) == ("float32", "cpu")
        assert arm.suites == (SUITE,)


def test_compare_takes_the_checkpoints_and_the_best_decides(trained: Bench) -> None:
    before = sorted(str(file) for file in (trained.folder / FOLDER).rglob("*"))
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER, "--json")
    document = _compared(said)
    assert [(arm["name"], arm["step"]) for arm in document["arms"]] == [
        ("notes-step-2", 2),
        ("notes-step-4", 4),
    ]
    best = next(arm for arm in document["arms"] if arm["name"] == document["deciding_arm"])
    assert said.code == best["exit_code"] == document["exit_code"]
    assert sorted(str(file) for file in (trained.folder / FOLDER).rglob("*")) == before


def test_the_verdict_is_the_same_when_it_is_decided_again(trained: Bench) -> None:
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER)
    assert "notes over its training" in said.out
    (folder,) = (trained.folder / "runs" / "compare").iterdir()
    again = trained.run("gate", str(folder))
    assert again.code == said.code
    assert "the best checkpoint decides" in again.out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "notes over its training" in page


def test_checkpoints_stand_beside_a_tuned_file(trained: Bench) -> None:
    said = trained.run("compare", "base.yaml", "tuned.yaml", "--checkpoints", FOLDER, "--json")
    steps = {arm["name"]: arm["step"] for arm in _compared(said)["arms"]}
    assert steps == {"tuned": None, "notes-step-2": 2, "notes-step-4": 4}


def test_the_final_adapter_is_the_last_step_where_no_checkpoint_holds_it(
    trained: Bench, adapters: dict[int, Path]
) -> None:
    _finish(trained, adapters[6], 6)
    arms = _arms(trained)
    assert [arm.name for arm in arms] == ["notes-step-2", "notes-step-4", "notes-step-6"]
    assert _models(arms)[-1].adapter == trained.folder / FOLDER / ADAPTER


def test_the_final_adapter_is_not_asked_twice(trained: Bench, adapters: dict[int, Path]) -> None:
    _finish(trained, adapters[4], 4)
    assert [arm.name for arm in _arms(trained)] == ["notes-step-2", "notes-step-4"]


def test_a_half_written_checkpoint_is_left_out_and_left_alone(
    trained: Bench, adapters: dict[int, Path]
) -> None:
    _checkpoint(trained, adapters[6], 6, whole=False)
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER, "--dry-run")
    assert said.code == 0, said.err
    assert "checkpoint-6" in said.err
    assert "notes-step-6" not in said.out
    assert "notes-step-4" in said.out
    assert (trained.folder / FOLDER / "checkpoints" / "checkpoint-6").is_dir()


def test_the_settings_of_tuned_yaml_are_taken_but_for_the_adapter(
    trained: Bench, models: Path
) -> None:
    template = trained.write(f"{FOLDER}/adapter/chat_template.jinja", "{{ messages }}")
    trained.write(
        f"{FOLDER}/{TUNED}",
        f"name: notes\nmodel:\n  kind: hf\n  path: {models / 'model'}\n  adapter: adapter\n"
        "  chat_template: adapter/chat_template.jinja\n  max_length: 64\n",
    )
    for model in _models(_arms(trained, suites=SUITE)):
        assert (model.chat_template, model.max_length) == (template, 64)
        assert (model.dtype, model.device) == ("float32", "cpu")  # the base's
        assert model.adapter is not None
        assert model.adapter.parent.name == "checkpoints"


def test_a_copy_of_the_base_elsewhere_is_still_loaded_once(trained: Bench, models: Path) -> None:
    shutil.copytree(models / "model", trained.folder / "copy")
    trained.write(
        f"{FOLDER}/{TUNED}",
        f"name: notes\nmodel: {{kind: hf, path: {trained.folder / 'copy'}, adapter: .}}\n",
    )
    for model in _models(_arms(trained, suites=SUITE)):
        assert (model.path, model.dtype) == (str(models / "model"), "float32")


def test_what_is_set_on_the_command_line_holds_for_the_checkpoints(trained: Bench) -> None:
    for arm in _arms(trained, sets=["model.max_length=32"], limit=3):
        assert (_models([arm])[0].max_length, arm.limit) == (32, 3)


def test_a_long_name_is_cut_so_that_its_step_stays(trained: Bench) -> None:
    file = trained.folder / FOLDER / "train.json"
    state = json.loads(file.read_text())
    state["config"]["name"] = "n" * 80
    file.write_text(json.dumps(state))
    assert [arm.name for arm in _arms(trained)] == ["n" * 73 + "-step-2", "n" * 73 + "-step-4"]


def _is_told(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err


def test_a_folder_that_is_not_there_names_its_neighbour(trained: Bench) -> None:
    said = trained.run("compare", "base.yaml", "--checkpoints", "runs/train/note")
    _is_told(said, 2, "no folder runs/train/note", "runs/train/notes")


def test_a_folder_of_something_else_is_no_training_run(trained: Bench) -> None:
    _is_told(trained.run("compare", "base.yaml", "--checkpoints", "suites"), 2, "train.json")


@pytest.mark.parametrize("inside", ["checkpoints", "checkpoints/checkpoint-2"])
def test_a_folder_inside_a_training_run_leads_to_the_run(trained: Bench, inside: str) -> None:
    said = trained.run("compare", "base.yaml", "--checkpoints", f"{FOLDER}/{inside}")
    _is_told(said, 2, "Did you mean", FOLDER)


def test_a_finished_run_without_checkpoints_leads_to_its_adapter(
    trained: Bench, adapters: dict[int, Path]
) -> None:
    shutil.rmtree(trained.folder / FOLDER / "checkpoints")
    _finish(trained, adapters[6], 6)
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER)
    _is_told(said, 2, "holds no checkpoint", f"{FOLDER}/tuned.yaml", "keep_checkpoints: true")


def test_a_run_that_has_only_begun_says_when_checkpoints_come(
    trained: Bench, adapters: dict[int, Path]
) -> None:
    shutil.rmtree(trained.folder / FOLDER / "checkpoints")
    _checkpoint(trained, adapters[2], 2, whole=False)
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER)
    _is_told(said, 2, "no whole checkpoint yet", "checkpoint-2", "every 2 steps", "save_every")


def test_another_base_than_the_one_trained_is_an_error(trained: Bench) -> None:
    make_model(trained.folder / "other", "gpt2")
    trained.write(
        "base.yaml",
        f"name: base\nmodel: {{kind: hf, path: {trained.folder / 'other'}}}\nsuites: [{SUITE}]\n",
    )
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER)
    _is_told(said, 4, "base.yaml names", "trained on tiny", "allow_other_base")
    with pytest.raises(AdapterError):
        _arms(trained)
    assert _arms(trained, sets=["model.allow_other_base=true"])


def test_a_base_that_is_no_local_model_takes_no_checkpoints(trained: Bench) -> None:
    trained.write("base.jsonl", '{"id": "c0", "choices": [0, 1, 2, 3, 4, 5]}\n')
    model = "model: {kind: recorded, path: base.jsonl}"
    trained.write("base.yaml", f"name: base\n{model}\nsuites: [{SUITE}]\n")
    said = trained.run("compare", "base.yaml", "--checkpoints", FOLDER)
    _is_told(said, 2, "kind: recorded", "kind: hf")


def test_a_file_that_has_a_checkpoints_name_is_told(trained: Bench, models: Path) -> None:
    text = (trained.folder / "tuned.yaml").read_text().replace("name: tuned", "name: notes-step-2")
    trained.write("tuned.yaml", text)
    said = trained.run("compare", "base.yaml", "tuned.yaml", "--checkpoints", FOLDER)
    _is_told(said, 2, "notes-step-2 is the name of a checkpoint")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": 3, "base_weights": ""}'])
def test_a_damaged_record_of_the_run_is_told(trained: Bench, text: str) -> None:
    file = trained.write(f"{FOLDER}/train.json", text)
    with pytest.raises(UsageError, match=r"train\.json"):
        read_training_run(file.parent)


def test_the_checkpoints_of_a_real_training_are_compared(bench: Bench, models: Path) -> None:
    pytest.importorskip("trl")
    rows = [{"prompt": f"Say {n}.", "completion": f"note {n}!"} for n in range(12)]
    bench.write("notes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    bench.write(
        "recipe.yaml",
        f"name: notes\nmodel: {models / 'model'}\nmethod: lora\ncompute_dtype: float32\n"
        "data: [{path: notes.jsonl, license: Apache-2.0}]\nlearning_rate: 0.01\nmax_steps: 6\n"
        "max_length: 64\nsave_every: 2\nkeep_checkpoints: true\n",
    )
    assert bench.run("train", "recipe.yaml").code == 0
    said = bench.run("compare", "base.yaml", "--checkpoints", FOLDER, "--json")
    assert [arm["step"] for arm in _compared(said)["arms"]] == [2, 4, 6]


def test_checkpoints_are_asked_together_until_all_are_settled(trained: Bench) -> None:
    write_suite(trained, f"suites/{SUITE}", rows=60)
    wide = ("--set", "gate.margin=0.9")
    said = trained.run(
        "compare", "base.yaml", "--checkpoints", FOLDER, "--sequential", "--json", *wide
    )
    document = _compared(said)
    deltas = [arm["suites"][0]["delta"] for arm in document["arms"]]
    assert [delta["interval"] for delta in deltas] == ["sequence", "sequence"]
    assert {delta["n"] for delta in deltas} == {32}  # of 60
    assert document["saved"]["planned_requests"] == 3 * 60 * 6
