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
    in each row's field `schema`, which wins; without any, `json_valid` is all there is. It is
    whole: nothing that it refers to is fetched. A code fence around the JSON is allowed; text
    before or after it is not.
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
        return _first_mistake(value, wanted), parsed

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


def _validator(schema: dict[str, Any]) -> Any:
    """What holds values against a schema and fetches nothing.

    jsonschema's own default asks the network and the disk for whatever a `$ref` names, and a
    schema may come from a data set. Only the drafts themselves are known.
    """
    from jsonschema.validators import Draft202012Validator, validator_for
    from jsonschema_specifications import REGISTRY

    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, registry=REGISTRY)


def _first_mistake(value: Any, schema: dict[str, Any]) -> Value:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        first: Any = best_match(_validator(schema).iter_errors(value))
    except RecursionError:  # the schema was looked over: it is the answer
        return Value(0.0, "nested too deeply")
    except Unresolvable as error:  # of a part that no keyword names, so that it was not looked over
        return Value(None, f"its schema has no {error.ref!r}")
    return Value(1.0) if first is None else Value(0.0, f"{first.json_path}: {first.message}")


def _check_schema(context: ScorerContext, schema: object, which: str) -> None:
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    where = f"Scorer 'json_schema' of suite {context.suite!r}: {which}"
    if not isinstance(schema, dict):
        raise SuiteError(f"{where} is not a mapping.")
    if not isinstance(schema.get("$schema", ""), str):
        raise SuiteError(f"{where} is not a JSON Schema: $schema must be a text.")
    try:
        _validator(schema).check_schema(schema)
        endless = _has_endless_reference(schema)
    except SchemaError as error:
        raise SuiteError(f"{where} is not a JSON Schema: {error.message}.") from None
    except Unresolvable as error:
        raise SuiteError(
            f"{where} refers to {error.ref!r}, which is not in it; nothing is fetched."
        ) from None
    except RecursionError:
        raise SuiteError(f"{where} is nested too deeply.") from None
    if endless:
        raise SuiteError(f"{where} refers to itself without an end.")


_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas are held against the same value."""


def _has_endless_reference(schema: dict[str, Any]) -> bool:
    """Whether a reference comes back to itself with the same value.

    Raises Unresolvable for a reference to what is not there.
    """
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = specification_with(str(schema.get("$schema", "")), default=DRAFT202012)
    root = dialect.create_resource(schema)
    waiting = [(REGISTRY.resolver_with_root(root), root)]
    ended: set[int] = set()
    while waiting:
        resolver, one = waiting.pop()
        if _is_endless(resolver, one.contents, (), ended):
            return True
        waiting += [(resolver.in_subresource(below), below) for below in one.subresources()]
    return False


def _is_endless(resolver: Any, schema: Any, above: tuple[int, ...], ended: set[int]) -> bool:
    if not isinstance(schema, dict) or id(schema) in ended:
        return False
    if id(schema) in above:
        return True
    within = (*above, id(schema))
    if isinstance(reference := schema.get("$ref"), str):
        found = resolver.lookup(reference)
        if _is_endless(found.resolver, found.contents, within, ended):
            return True
    for key in _IN_PLACE:
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else [parts]:
            if _is_endless(resolver, part, within, ended):
                return True
    ended.add(id(schema))
    return False


def _read(context: ScorerContext, file: str) -> Any:
    path = (context.folder / file) if context.folder else None
    where = f"Scorer 'json_schema' of suite {context.suite!r}: option file"
    if path is None or not path.is_file():
        raise SuiteError(f"{where}: there is no {file!r} in the suite's folder {context.folder}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SuiteError(f"{where}: {path} is not JSON ({error}).") from None
