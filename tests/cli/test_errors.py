"""Everything a user can get wrong: one paragraph, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import SUITE, Bench, Said, tuned_yaml, write_suite
from tests.models.hf.tiny_models import make_adapter, make_model


def _is_one_paragraph(said: Said, code: int, *words: str) -> None:
    """No traceback, no blank line inside, and it names what the user can act on."""
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    message = said.err[said.err.rindex("error: ") :].strip()
    assert "\n\n" not in message
    for word in words:
        assert word in message, message


def _nothing_written(bench: Bench) -> None:
    """Told before the models were looked at: not even the folder is there."""
    assert not (bench.folder / "runs").exists()


def _no_run_written(bench: Bench) -> None:
    assert not list(bench.folder.glob("runs/**/*"))


def test_a_misspelt_key_names_file_line_and_the_right_one(bench: Bench) -> None:
    bench.write("base.yaml", (bench.folder / "base.yaml").read_text().replace("dtype", "dtyp"))
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 2, "base.yaml:5", "model.dtyp", "dtype")
    _nothing_written(bench)


def test_all_mistakes_of_a_file_are_told_at_once(bench: Bench) -> None:
    text = (bench.folder / "base.yaml").read_text().replace("float32", "float33")
    bench.write("base.yaml", text + "limt: 3\ndecoding: {temperature: -1}\n")
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 2, "float33", "limt", "limit", "temperature")


def test_a_missing_file_names_its_neighbours(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tunde.yaml")
    _is_one_paragraph(said, 2, "tunde.yaml", "tuned.yaml")


def test_an_unknown_suite_names_the_nearest(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--suites", "my/capitls")
    _is_one_paragraph(said, 2, "my/capitls", "my/capitals")
    _nothing_written(bench)


def test_all_wrong_suites_are_told_at_once(bench: Bench) -> None:
    write_suite(bench, "suites/my/empty", rows=0)
    names = f"my/capitls,{SUITE},my/empty,opencompass:ceval"
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--suites", names)
    _is_one_paragraph(said, 2, "my/capitls", "my/empty", "opencompass:ceval")
    _nothing_written(bench)


def test_a_folder_of_suites_that_is_missing_is_told_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALKIT_SUITES", "nowhere")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--suites", "a/b,c/d")
    _is_one_paragraph(said, 2, "EVALKIT_SUITES names nowhere")
    assert said.err.count("nowhere") == 1


def test_an_empty_suite_is_an_error(bench: Bench) -> None:
    write_suite(bench, "suites/my/empty", rows=0)
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--suites", "my/empty")
    _is_one_paragraph(said, 2, "my/empty")
    _nothing_written(bench)


def test_a_limit_of_nothing_is_a_usage_error(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--limit", "0")
    assert said.code == 2
    assert "--limit" in said.err
    assert "Traceback" not in said.err


def test_one_file_is_no_comparison(bench: Bench) -> None:
    _is_one_paragraph(bench.run("compare", "base.yaml"), 2, "evalkit run")


def test_an_adapter_of_zeros_is_an_error_not_a_result(bench: Bench, models: Path) -> None:
    zeros = make_adapter(models / "model", bench.folder / "zeros", strength=0.0)
    bench.write("tuned.yaml", tuned_yaml(models / "model", zeros))
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 4, "zeros")
    _no_run_written(bench)


def test_an_adapter_trained_on_another_base_is_an_error(bench: Bench, models: Path) -> None:
    adapter = bench.folder / "foreign"
    shutil.copytree(models / "lora", adapter)
    record = {"base": "someone/else", "base_weights": "0" * 64}
    (adapter / "evalkit_adapter.json").write_text(json.dumps(record))
    bench.write("tuned.yaml", tuned_yaml(models / "model", adapter))
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 4, "someone/else", "allow_other_base")
    _no_run_written(bench)


def test_weights_that_are_not_numbers_are_an_error(bench: Bench, models: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = bench.folder / "broken"
    shutil.copytree(models / "model", broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    text = (bench.folder / "base.yaml").read_text().replace(str(models / "model"), str(broken))
    bench.write("base.yaml", text)
    bench.write("tuned.yaml", tuned_yaml(broken, models / "lora"))
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 4, "NaN")
    _no_run_written(bench)


def test_the_same_model_twice_is_an_error(bench: Bench, models: Path) -> None:
    text = (bench.folder / "base.yaml").read_text().replace("name: base", "name: twin")
    bench.write("twin.yaml", text)
    _is_one_paragraph(bench.run("compare", "base.yaml", "twin.yaml"), 4, "same model")


def test_a_gate_for_a_suite_that_is_not_run_is_found_before_the_work(bench: Bench) -> None:
    text = (bench.folder / "base.yaml").read_text()
    bench.write("base.yaml", text + "gate: {suites: {my/capitols: {margin: 0.1}}}\n")
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 2, "my/capitols", SUITE)
    _nothing_written(bench)


def test_a_gate_for_a_metric_that_is_not_measured_is_found_before_the_work(bench: Bench) -> None:
    text = (bench.folder / "base.yaml").read_text()
    bench.write("base.yaml", text + f"gate: {{suites: {{{SUITE}: {{metric: acuracy}}}}}}\n")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--dry-run")
    _is_one_paragraph(said, 2, "acuracy", "Did you mean 'accuracy'")
    _nothing_written(bench)


def test_a_misspelt_gate_is_told_also_when_suites_are_chosen(bench: Bench) -> None:
    text = (bench.folder / "base.yaml").read_text()
    bench.write("base.yaml", text + "gate: {suites: {my/capitols: {margin: 0.1}}}\n")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--suites", SUITE)
    _is_one_paragraph(said, 2, "my/capitols")


def test_a_folder_that_cannot_be_written_is_found_before_the_work(bench: Bench) -> None:
    bench.write("taken", "a file where the folder should be")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--output", "taken/runs")
    _is_one_paragraph(said, 4, "--output")


def test_a_damaged_store_says_what_to_do_and_loses_no_run(bench: Bench) -> None:
    bench.write("home/completions.sqlite", "not a database at all" * 100)
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    _is_one_paragraph(said, 4, "completions.sqlite", "Move it away")


@pytest.mark.parametrize("command", ["gate", "report"])
def test_a_path_that_holds_no_comparison_says_how_to_make_one(bench: Bench, command: str) -> None:
    _is_one_paragraph(bench.run(command, "nowhere"), 2, "evalkit compare")


def test_an_unknown_report_format_names_those_there_are(bench: Bench) -> None:
    bench.run("compare", "base.yaml", "tuned.yaml")
    (folder,) = (bench.folder / "runs" / "compare").iterdir()
    said = bench.run("report", str(folder), "--format", "pdf")
    _is_one_paragraph(said, 2, "pdf", "html", "junit")


def test_a_full_model_of_another_size_still_compares(bench: Bench) -> None:
    """Two bases share no weights: each is loaded by itself, and the verdict is reached."""
    make_model(bench.folder / "other", "gpt2")
    other = f"name: tuned\nmodel: {{kind: hf, path: {bench.folder / 'other'}, dtype: float32}}\n"
    bench.write("tuned.yaml", other)
    assert bench.run("compare", "base.yaml", "tuned.yaml").code in (0, 1, 3)
