"""JSON answers against a schema."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evalkit.errors import SuiteError
from evalkit.records import Sample
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


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server of schemas, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "array"}')

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=lambda: serving.serve_forever(0.02), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/schema.json", asked
        serving.shutdown()


def test_nothing_that_a_row_refers_to_is_fetched_or_read(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = server
    (tmp_path / "own.json").write_text('{"type": "array"}', encoding="utf-8")
    for reference in (address, (tmp_path / "own.json").as_uri()):
        sample = make_sample(schema={"$ref": reference})
        with pytest.raises(
            SuiteError, match=r"'s1' refers to '.*', which is not in it; nothing is"
        ):
            make_scorer("json_schema", sample)
    hidden = {
        "$ref": "#/unknown/part",
        "unknown": {"part": {"properties": {"a": {"$ref": address}}}},
    }
    found = scores(make_scorer("json_schema", schema=hidden), make_sample(), '{"a": 1}')
    assert (found["json_fits"].value, found["json_valid"].value) == (None, 1.0)
    assert asked == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "#/definitions/missing"}, "definitions/missing', which is not in it"),
        ({"properties": {"a": {"$ref": "#/$defs/no"}}}, "which is not in it"),
        ({"$ref": "#"}, "refers to itself without an end"),
        ({"allOf": [{"anyOf": [{"$ref": "#"}]}]}, "refers to itself without an end"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself without an end"),
        ({"$schema": [1]}, "\\$schema must be a text"),
    ],
)
def test_a_schema_that_cannot_be_applied_is_refused_before_anything_is_asked(
    schema: dict[str, object], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        make_scorer("json_schema", schema=schema)


TREE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "definitions": {"leaf": {"type": "integer"}},
    "anyOf": [{"$ref": "#/definitions/leaf"}, {"type": "array", "items": {"$ref": "#"}}],
}


def test_a_schema_may_refer_to_its_parts_to_itself_and_to_its_draft() -> None:
    scorer = make_scorer("json_schema", schema=TREE)
    assert values(scorer, make_sample(), "[1, [2, [3]]]")["json_fits"] == 1.0
    assert values(scorer, make_sample(), '[1, ["x"]]')["json_fits"] == 0.0
    deep: Sample = make_sample()
    assert values(scorer, deep, "[" * 400 + "]" * 400)["json_fits"] in (0.0, 1.0)
    draft = make_scorer("json_schema", schema={"$ref": "http://json-schema.org/draft-07/schema#"})
    assert values(draft, make_sample(), '{"type": "array"}')["json_fits"] == 1.0
    assert values(draft, make_sample(), '{"type": "arrray"}')["json_fits"] == 0.0
