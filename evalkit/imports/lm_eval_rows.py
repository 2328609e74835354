"""One row of lm-eval's samples_*.jsonl: what was asked, what was answered, what it scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, NamedTuple

from evalkit.imports.base import plain, short_hash
from evalkit.imports.files import BrokenLogError
from evalkit.records import Completion, Message, Prompt, Role, Sample

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")


class _Asked(NamedTuple):
    """One request: its prompt, the continuation that was scored (if so), and the answers to it."""

    prompt: str
    continuation: str
    answers: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a task; `values` by METRIC,FILTER are filled in from the rows of all filters.

    `id` is its place in the task's data and a hash of its content and target: the same document of
    two evaluations has the same, whatever was asked about it.
    """

    id: str
    target: str
    asked: tuple[_Asked, ...]
    values: dict[str, Any]


def document_of(row: dict[str, Any], place: str) -> Document:
    """A row as a document; BrokenLogError where it is none of lm-eval's."""
    try:
        metrics, named = row["metrics"], row["filter"]
        asked = _requests(row["arguments"], row["resps"])
        number = int(row["doc_id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenLogError(
            f"{place}: not a row of lm-eval's samples ({type(error).__name__}: {error})."
        ) from None
    if not isinstance(metrics, list) or not asked:
        raise BrokenLogError(f"{place}: not a row of lm-eval's samples.")
    content = row.get("doc_hash") or short_hash(row.get("doc"))
    target = plain(row.get("target", ""))
    return Document(
        id=f"{number}-{short_hash(content, target)}",
        target=target,
        asked=asked,
        values={f"{metric},{named}": row.get(metric) for metric in metrics},
    )


def _requests(arguments: Any, answers: Any) -> tuple[_Asked, ...]:
    """The requests of a row; lm-eval numbers them gen_args_0, gen_args_1 … and their parts arg_0 …

    Versions before 0.4.3 wrote lists instead.
    """
    rows = arguments
    if isinstance(arguments, dict):
        rows = [list(arguments[f"gen_args_{i}"].values()) for i in range(len(arguments))]
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} requests and {len(answers)} answers")
    seen: dict[str, str] = {}  # choices share a prompt, which is kept once
    found = []
    for parts, given in zip(rows, answers, strict=True):
        prompt = plain(parts[0]) if parts else ""
        scored = plain(parts[1]) if len(parts) > 1 and isinstance(parts[1], str) else ""
        found.append(_Asked(seen.setdefault(prompt, prompt), scored, given))
    return tuple(found)


def sample_of(suite: str, kind: str, document: Document) -> Sample:
    """What both arms share of a document."""
    asked = _choices(document, kind)
    if kind != "multiple_choice":
        return Sample(
            id=document.id,
            suite=suite,
            prompt=_turns(asked[0].prompt),
            targets=(document.target,),
        )
    # Where the choices stand in the prompts (winogrande), what these share is the question.
    shared = commonprefix([one.prompt for one in asked])  # noqa: RUF071, characters are meant
    return Sample(
        id=document.id,
        suite=suite,
        prompt=shared,
        targets=(document.target,),
        choices=tuple(one.prompt[len(shared) :] + one.continuation for one in asked),
    )


def completions_of(document: Document, kind: str) -> tuple[Completion, ...]:
    """One completion for each scored continuation, or for each text that was generated."""
    asked = _choices(document, kind)
    if kind == "generate_until":
        return tuple(
            Completion(
                key=f"{document.id}/{place}",
                text=plain(text),
                stop_reason="stop",
                prompt_text=one.prompt,
            )
            for one in asked
            for place, text in enumerate(one.answers)
        )
    return tuple(_scored(document, place, one) for place, one in enumerate(asked))


def choices_of(document: Document) -> int:
    """How many choices a question of a multiple-choice task has."""
    return len(_choices(document, "multiple_choice"))


def _choices(document: Document, kind: str) -> tuple[_Asked, ...]:
    """Without the requests that score a choice after no prompt at all, for acc_mutual_info."""
    prompted = tuple(one for one in document.asked if one.prompt)
    return prompted or document.asked if kind == "multiple_choice" else document.asked


def _scored(document: Document, place: int, asked: _Asked) -> Completion:
    """A continuation and its log-likelihood; an error where the row does not tell it."""
    answer = asked.answers[0] if asked.answers else None
    if isinstance(answer, list):
        told, greedy = answer[0], str(answer[1]) == "True" if len(answer) > 1 else None
    else:
        told, greedy = answer, None
    key = f"{document.id}/{place}"
    try:
        likelihood = float(told)
    except (TypeError, ValueError):
        return Completion(key=key, stop_reason="error", error="the log has no log-likelihood")
    return Completion(
        key=key,
        text=asked.continuation,
        logprobs=(likelihood,),
        is_greedy=greedy,
        prompt_text=asked.prompt,
    )


def _turns(prompt: str) -> Prompt:
    """A prompt for a chat endpoint is logged as JSON within a list; everything else is text."""
    if not prompt.startswith("["):
        return prompt
    try:
        (inner,) = json.loads(prompt)
        turns = json.loads(inner)
        return tuple(_turn(turn) for turn in turns) or prompt
    except (ValueError, TypeError, KeyError, RecursionError):
        return prompt


def _turn(turn: dict[str, Any]) -> Message:
    role: Role = next((one for one in _ROLES if one == turn["role"]), "user")
    return Message(role=role, content=plain(turn["content"]))
