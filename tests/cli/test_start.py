"""`evalkit --help` stays quick: nothing heavy may be imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from evalkit.cli import app

HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "pandas", "pyarrow", "scipy",
         "sklearn", "streamlit", "altair", "openai", "pydantic", "numpy", "duckdb",
         "lm_eval", "rich")  # fmt: skip


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['evalkit', '--help']\n"
        "from evalkit.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code in (0, None)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "compare" in done.stdout
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_list_of_commands_is_told_in_whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = CliRunner().invoke(app, ["--help"]).stdout
    assert "..." not in said.partition("Commands:")[2]
    for group in ("suites", "cache"):
        assert "..." not in CliRunner().invoke(app, [group, "--help"]).stdout.partition("nds:")[2]


def test_examples_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = CliRunner().invoke(app, ["compare", "--help"]).stdout.splitlines()
    assert "    evalkit compare base.yaml tuned.yaml" in lines
    assert (
        "    evalkit compare base.yaml a.yaml b.yaml --suites style/rednote-en,style/plain-en"
        in lines
    )


def test_every_command_explains_itself_with_an_example() -> None:
    runner = CliRunner()
    for command in (
        ["train"], ["run"], ["compare"], ["power"], ["gate"], ["gate", "calibrate"], ["report"],
        ["dashboard"], ["fetch"],
        ["doctor"], ["demo"], ["lm_eval"], ["suites", "list"], ["suites", "show"],
        ["suites", "new"],
        ["suites", "check"], ["cache", "stats"], ["cache", "clear"],
        ["import", "lm_eval"], ["import", "inspect"],
        ["import", "opencompass"], ["import", "promptfoo"],
        ["harness", "install"], ["harness", "list"],
        ["judge", "try"], ["judge", "check"], ["judge", "export"],
        ["judge", "labels", "export"], ["judge", "labels", "import"],
    ):  # fmt: skip
        result = runner.invoke(app, [*command, "--help"])
        assert result.exit_code == 0, command
        assert f"evalkit {' '.join(command)}" in result.stdout, command
