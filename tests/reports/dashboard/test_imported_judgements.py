"""The dashboard opens what was imported of another tool's judgements."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import reports.dashboard
from evalkit.imports.alpaca_eval import read_alpaca_eval
from evalkit.judging.logs import keep_log
from evalkit.progress import Silent
from tests.imports.test_alpaca_eval import rows, write

APP = Path(reports.dashboard.__file__).with_name("app.py")


def test_every_page_opens_on_imported_judgements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = [{**one, "output_2": None, "len_2": 30, "generator_2": "bare"} for one in rows()]
    files = [
        write(tmp_path / "annotations.json", rows()),
        write(tmp_path / "bare.jsonl", bare),
    ]
    logged = keep_log(read_alpaca_eval(files, Silent()), tmp_path / "runs")
    told = ["app.py", "--runs", str(tmp_path / "runs"), "--comparison", str(logged.folder)]
    monkeypatch.setattr("sys.argv", told)
    # Streamlit leaves its script there, and every process that is spawned later would run it.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    assert "preferred by the judge (alpaca_eval)" in "".join(one.value for one in app.html)
    for page in sorted((APP.parent / "views").glob("[a-z]*.py")):
        app.switch_page(f"views/{page.name}").run()
        assert not app.exception, page.name
        assert not app.error, page.name
