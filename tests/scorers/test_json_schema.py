"""JSON answers against a schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.errors import SuiteError
from evalkit.scorers.registry import build
from tests.scorers.examples import make_context, make_sample, make_scorer, scores, values

CAT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "valid", "fits"),
    [
        ('{"name": "咪咪", "age": 3}', 1.0, 1.0),
        ('```json\n{"name": "Tom", "age": 3}\n```', 1.0, 1.0),
        ('{"name": "Tom", "age": -1}', 1.0, 0.0),
        ('{"name": "Tom"}', 1.0, 0.0),
        ("[]", 1.0, 0.0),
        ('{"name": "Tom", "age": NaN}', 0.0, 0.0),
        ('Here it is: {"name": "Tom", "age": 3}', 0.0, 0.0),
        ('{"name": "Tom", "age"', 0.0, 0.0),
        ("[" * 100_000, 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_json_is_valid_and_fits(text: str, valid: float, fits: float) -> None:
    found = values(make_scorer("json_schema", schema=CAT), make_sample(), text)
    assert found == {"json_fits": fits, "json_valid": valid}


def test_the_first_mistake_is_told() -> None:
    found = scores(make_scorer("json_schema", schema=CAT), make_sample(), '{"name": 1, "age": 2}')
    assert found["json_fits"].reason == "$.name: 1 is not of type 'string'"


def test_a_rows_own_schema_wins() -> None:
    own = make_sample(schema={"type": "array"})
    assert values(make_scorer("json_schema", schema=CAT), own, "[]")["json_fits"] == 1.0


def test_without_any_schema_validity_is_the_only_metric() -> None:
    scorer = make_scorer("json_schema")
    assert [metric.name for metric in scorer.metrics] == ["json_valid"]
    assert values(scorer, make_sample(), "[]") == {"json_valid": 1.0}
    assert values(scorer, make_sample(), "[") == {"json_valid": 0.0}


@pytest.mark.parametrize("text", ["[]", "["])
def test_a_row_without_a_schema_among_others_is_not_judged_by_any(text: str) -> None:
    scorer = make_scorer("json_schema", make_sample(schema={"type": "array"}))
    assert values(scorer, make_sample(), text)["json_fits"] is None


def test_the_schema_can_stand_in_a_file_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "cat.json").write_text(json.dumps(CAT), encoding="utf-8")
    scorer = build("json_schema", {"file": "cat.json"}, make_context(folder=tmp_path))
    assert values(scorer, make_sample(), '{"name": "Tom", "age": 3}')["json_fits"] == 1.0
    with pytest.raises(SuiteError, match=r"option file.*dog\.json"):
        build("json_schema", {"file": "dog.json"}, make_context(folder=tmp_path))


def test_a_schema_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="not both"):
        build("json_schema", {"schema": CAT, "file": "cat.json"}, make_context(folder=tmp_path))
    with pytest.raises(SuiteError, match="is not a JSON Schema"):
        make_scorer("json_schema", schema={"type": "objekt"})
    with pytest.raises(SuiteError, match="'s1' is not a mapping"):
        make_scorer("json_schema", make_sample(schema="object"))
