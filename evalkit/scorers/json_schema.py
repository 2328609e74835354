"""Is the answer JSON, and does it fit a schema?"""

from __future__ import annotations

import json
from typing import Any

from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.constraints import unfenced
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer


def json_schema(
    context: ScorerContext, *, schema: dict[str, Any] | None = None, file: str | None = None
) -> Scorer:
    """`json_valid`: the answer parses. `json_fits`: it also satisfies the schema.

    The schema (any JSON Schema draft) stands in the suite as `schema`, in a `file` beside it, or
    in each row's field `schema`, which wins; without any, `json_valid` is all there is. A code
    fence around the JSON is allowed; text before or after it is not.
    """
    if file is not None and schema is not None:
        raise SuiteError(
            f"Scorer 'json_schema' of suite {context.suite!r} takes `schema` or `file`, not both."
        )
    common = _read(context, file) if file is not None else schema
    if common is not None:
        _check_schema(context, common, "its schema")
    for sample in context.samples:
        if "schema" in sample.fields:
            _check_schema(context, sample.fields["schema"], f"the schema of sample {sample.id!r}")
    valid, fits = Metric(name="json_valid", kind="binary"), Metric(name="json_fits", kind="binary")
    if common is None and not any("schema" in sample.fields for sample in context.samples):
        return text_scorer("json_schema", (valid,), lambda _, text: (_parsed(text)[0],))

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        wanted = sample.fields.get("schema", common)
        parsed, value = _parsed(text)
        if wanted is None:
            return Value(None, "no schema"), parsed
        if not parsed.value:
            return parsed, parsed
        mistake = _first_mistake(value, wanted)
        return Value(float(not mistake), mistake), parsed

    return text_scorer("json_schema", (fits, valid), measure)


def _parsed(text: str) -> tuple[Value, Any]:
    """Whether the text is JSON, and what it says."""
    try:
        value = json.loads(unfenced(text.strip()), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return Value(0.0, f"not JSON: {error}"), None
    return Value(1.0), value


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity; JSON has neither.
    raise ValueError(f"{name} is not JSON")


def _first_mistake(value: Any, schema: dict[str, Any]) -> str:
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for

    error = best_match(validator_for(schema)(schema).iter_errors(value))
    return "" if error is None else f"{error.json_path}: {error.message}"


def _check_schema(context: ScorerContext, schema: object, which: str) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    where = f"Scorer 'json_schema' of suite {context.suite!r}: {which}"
    if not isinstance(schema, dict):
        raise SuiteError(f"{where} is not a mapping.")
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise SuiteError(f"{where} is not a JSON Schema: {error.message}.") from None


def _read(context: ScorerContext, file: str) -> Any:
    path = (context.folder / file) if context.folder else None
    where = f"Scorer 'json_schema' of suite {context.suite!r}: option file"
    if path is None or not path.is_file():
        raise SuiteError(f"{where}: there is no {file!r} in the suite's folder {context.folder}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SuiteError(f"{where}: {path} is not JSON ({error}).") from None
