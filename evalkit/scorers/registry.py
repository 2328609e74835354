"""Which scorers there are, and how a suite's line becomes one."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from evalkit.errors import SuiteError
from evalkit.scorers import (
    choice,
    constraints,
    content,
    diversity,
    extracted,
    json_schema,
    length,
    match,
    overlap,
    perplexity,
    style_classifier,
    style_distance,
    style_features,
    trick,
)
from evalkit.scorers.base import Scorer
from evalkit.scorers.code import scorer as code
from evalkit.scorers.context import ScorerContext

Factory: TypeAlias = Callable[..., Scorer]
"""A context and the scorer's options, as keyword-only parameters, to a scorer."""

ENTRY_POINTS = "evalkit.scorers"

SCORERS: Mapping[str, Factory] = {
    "answers": match.answers,
    "bleu": overlap.bleu,
    "choice": extracted.choice,
    "choice_accuracy": choice.choice_accuracy,
    "chrf": overlap.chrf,
    "code": code.code,
    "constraints": constraints.constraints,
    "contains": match.contains,
    "content_kept": content.content_kept,
    "diversity": diversity.diversity,
    "exact_match": match.exact_match,
    "json_schema": json_schema.json_schema,
    "length": length.length,
    "memorisation": content.memorisation,
    "normalized_match": match.normalized_match,
    "number": extracted.number,
    "perplexity": perplexity.perplexity,
    "regex": extracted.regex,
    "rouge": overlap.rouge,
    "style_classifier": style_classifier.style_classifier,
    "style_distance": style_distance.style_distance,
    "style_features": style_features.style_features,
    "trick": trick.trick,
}


def build(name: str, options: Mapping[str, object], context: ScorerContext) -> Scorer:
    """The scorer called `name` with its options; raises SuiteError for what is not right."""
    factory = SCORERS.get(name) or _plugin(name, context)
    checked = _checked(name, factory, options, context)
    return factory(context, **checked)


def build_all(
    lines: Sequence[tuple[str, Mapping[str, object]]], context: ScorerContext
) -> tuple[Scorer, ...]:
    """A suite's scorers, in its order; two that yield a metric of the same name are refused."""
    scorers = tuple(build(name, options, context) for name, options in lines)
    owners: dict[str, str] = {}
    for scorer in scorers:
        for metric in scorer.metrics:
            if metric.name in owners:
                raise SuiteError(
                    f"Suite {context.suite!r}: the scorers {owners[metric.name]!r} and "
                    f"{scorer.name!r} both yield the metric {metric.name!r}. Keep one of them."
                )
            owners[metric.name] = scorer.name
    return scorers


def _plugin(name: str, context: ScorerContext) -> Factory:
    plugins = {found.name: found for found in entry_points(group=ENTRY_POINTS)}
    if name in plugins:
        factory: Factory = plugins[name].load()
        return factory
    known = sorted({*SCORERS, *plugins})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
    raise SuiteError(f"Suite {context.suite!r} names no scorer of evalkit: {name!r}. {hint}")


def _checked(
    name: str, factory: Factory, options: Mapping[str, object], context: ScorerContext
) -> dict[str, Any]:
    """The options as the factory's keyword-only parameters declare them."""
    parameters = [
        parameter
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    model = _options_model(name, get_type_hints(factory, include_extras=True), parameters)
    try:
        given = model.model_validate(dict(options))
    except ValidationError as error:
        mistakes = "; ".join(
            _mistake(item["type"], item["loc"], item["msg"], [p.name for p in parameters])
            for item in error.errors()
        )
        raise SuiteError(f"Scorer {name!r} of suite {context.suite!r}: {mistakes}.") from None
    return {parameter.name: getattr(given, f"option_{parameter.name}") for parameter in parameters}


def _options_model(
    name: str, hints: Mapping[str, Any], parameters: Sequence[inspect.Parameter]
) -> type[BaseModel]:
    # Prefixed, for an option may be called `schema`, which pydantic's own models have too.
    fields: dict[str, Any] = {
        f"option_{parameter.name}": (
            hints.get(parameter.name, Any),
            Field(
                ... if parameter.default is inspect.Parameter.empty else parameter.default,
                alias=parameter.name,
            ),
        )
        for parameter in parameters
    }
    settings = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())
    return create_model(f"{name}_options", __config__=settings, **fields)


def _mistake(kind: str, place: tuple[int | str, ...], message: str, known: list[str]) -> str:
    option = ".".join(map(str, place))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(option, known, n=1)
        allowed = f"it takes {', '.join(known)}" if known else "it takes no options"
        return (
            f"unknown option {option!r} ("
            + (f"did you mean {near[0]!r}?" if near else allowed)
            + ")"
        )
    if kind == "missing":
        return f"option {option!r} is missing"
    return f"option {option!r}: {message[0].lower()}{message[1:]}"
