"""JUnit, CSV, JSON, and the writing of files."""

from __future__ import annotations

import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from evalkit.errors import StoreError, UsageError
from evalkit.records import Check, Comparison, Delta, Metric, Verdict
from reports.junit import junit_xml
from reports.machine import comparison_json, run_json
from reports.table import deltas_csv, deltas_table
from reports.write import FILES, write_reports
from tests.reports import hostile
from tests.reports.examples import coin_suite, make_run, make_verdict, style_suite

ARMS = ("base", "tuned")


def _example() -> tuple[list[Comparison], list[Verdict]]:
    suites = [
        style_suite(ARMS),
        coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4}),
        coin_suite("knowledge/few", dict.fromkeys(ARMS, 0.5), n=30),
    ]
    return make_verdict(suites, ARMS)


def test_junit_holds_back_what_the_exit_code_holds_back() -> None:
    root = ET.fromstring(junit_xml(*_example()))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["style/rednote-zh"].find("failure") is None
    types = {name: case.find("failure") for name, case in cases.items()}
    failed, open_one = types["chat/answers"], types["knowledge/few"]
    assert failed is not None
    assert open_one is not None
    assert failed.get("type") == "fail"
    assert open_one.get("type") == "inconclusive"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "2", "0")


def test_a_failed_canary_is_an_error_in_junit() -> None:
    comparisons, verdicts = _example()
    broken = Check(name="same prompts", status="failed", message="3 of 9 differ")
    root = ET.fromstring(junit_xml(comparisons, [replace(verdicts[0], checks=(broken,))]))
    error = root.find(".//error")
    assert error is not None
    assert error.get("message") == "3 of 9 differ"
    assert root.get("errors") == "1"


def test_junit_is_valid_xml_whatever_the_names_hold() -> None:
    suites = hostile.suites_with(ARMS)
    suites[0] = replace(suites[0], name=hostile.CONTROLS + hostile.SCRIPT)
    comparisons, verdicts = make_verdict(suites, ARMS)
    bad = Check(name=hostile.CONTROLS, status="failed", message=hostile.SCRIPT)
    document = junit_xml(comparisons, [replace(verdicts[0], checks=(bad,))])
    root = ET.fromstring(document.encode("utf-8"))
    error = root.find(".//error")
    assert error is not None
    assert error.get("message") == hostile.SCRIPT


def test_the_table_holds_every_delta_unrounded() -> None:
    comparisons, verdicts = _example()
    read = pd.read_csv(io.StringIO(deltas_csv(comparisons, verdicts)))
    assert len(read) == len(comparisons[0].deltas)
    for name in ("base", "tuned", "difference", "low", "high", "p_value"):
        expected = [
            math.nan if (v := getattr(d, name)) is None else v for d in comparisons[0].deltas
        ]
        assert read[name].tolist() == pytest.approx(expected, nan_ok=True, rel=1e-12)
    gated = read[read["outcome"].notna()]
    assert gated["suite"].tolist() == [one.suite for one in verdicts[0].suites]
    assert gated["outcome"].tolist() == [one.outcome for one in verdicts[0].suites]


def test_what_is_unknown_is_missing_in_the_table() -> None:
    comparisons, verdicts = _example()
    empty = replace(comparisons[0].deltas[0], base=None, tuned=None, difference=None, low=None)
    table = deltas_table([replace(comparisons[0], deltas=(empty,))], verdicts)
    assert table[["base", "tuned", "difference", "low"]].isna().all(axis=None)


def test_what_was_not_counted_is_no_zero() -> None:
    comparisons, verdicts = _example()
    kinds = {one.metric.kind for one in comparisons[0].deltas}
    assert kinds == {"binary", "continuous"}
    several = tuple(replace(one, completions=3) for one in comparisons[0].deltas)
    early = tuple(replace(one, planned=400) for one in comparisons[0].deltas)
    for deltas, counted, planned in (
        (comparisons[0].deltas, True, None),
        (several, False, None),
        (early, True, 400),
    ):
        made = [replace(comparisons[0], deltas=deltas)]
        rows = list(csv.DictReader(io.StringIO(deltas_csv(made, verdicts))))
        told = json.loads(comparison_json(made, verdicts))["arms"][0]["deltas"]
        for delta, row, one in zip(deltas, rows, told, strict=True):
            flips = counted and delta.metric.kind == "binary"
            expected = (delta.gained, delta.lost) if flips else (None, None)
            assert (one["gained"], one["lost"], one["planned"]) == (*expected, planned)
            written = tuple("" if v is None else str(v) for v in (*expected, planned))
            assert (row["gained"], row["lost"], row["planned"]) == written
            assert row["samples_needed"].isdecimal() or not row["samples_needed"]


def test_no_name_is_a_formula_in_a_spreadsheet() -> None:
    suite = replace(coin_suite("=HYPERLINK(1)", {"base": 0.8, "tuned": 0.4}))
    suite = replace(suite, topics=[("@SUM(1)", "+1", "-1")[i % 3] for i in range(150)])
    rows = list(csv.DictReader(io.StringIO(deltas_csv(*make_verdict([suite], ARMS)))))
    for row in rows:
        assert row["suite"] == "'=HYPERLINK(1)"
        assert not row["slice"].startswith(("=", "+", "-", "@"))


def test_the_json_holds_verdict_arms_and_deltas() -> None:
    comparisons, verdicts = _example()
    document = json.loads(comparison_json(comparisons, verdicts))
    assert document["schema_version"] == 1
    assert (document["verdict"], document["exit_code"]) == ("fail", 1)
    (arm,) = document["arms"]
    assert arm["name"] == "tuned"
    assert [one["verdict"] for one in arm["suites"]] == [one.outcome for one in verdicts[0].suites]
    assert [d["difference"] for d in arm["deltas"]] == [d.difference for d in comparisons[0].deltas]
    flat = {one.name for kind in (Delta, Metric) for one in fields(kind)} - {"name"}
    assert set(arm["deltas"][0]) == flat


def test_the_json_is_strict_and_ascii() -> None:
    comparisons, verdicts = make_verdict(hostile.suites_with(ARMS), ARMS)
    odd = replace(comparisons[0].deltas[0], p_value=math.nan, high=math.inf)
    text = comparison_json([replace(comparisons[0], deltas=(odd,))], verdicts)
    assert text.isascii()
    delta = json.loads(text)["arms"][0]["deltas"][0]
    assert delta["p_value"] is None
    assert delta["high"] is None


def test_one_run_as_json_counts_what_is_missing() -> None:
    suite = coin_suite("chat/answers", {"tuned": 0.5}, n=4)
    suite = replace(suite, values={"tuned": [[1.0], [None], [0.0], [1.0]]})
    (metric,) = json.loads(run_json(make_run("tuned", [suite])))["metrics"]
    assert metric["value"] == pytest.approx(2 / 3)
    assert (metric["n"], metric["missing"]) == (3, 1)
    low, high = proportion_confint(2, 3, method="wilson")
    assert (metric["low"], metric["high"]) == pytest.approx((low, high))


def test_every_format_is_written_and_nothing_else(tmp_path: Path) -> None:
    files = write_reports(tmp_path / "out", *_example(), list(FILES))
    assert [file.name for file in files] == list(FILES.values())
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES.values())
    assert all(file.stat().st_size for file in files)


def test_an_unknown_format_is_an_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no report format 'markdwn'.*Did you mean 'markdown'"):
        write_reports(tmp_path, *_example(), ["html", "markdwn"])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="could not be written"):
        write_reports(tmp_path / "file", *_example(), ["json"])
