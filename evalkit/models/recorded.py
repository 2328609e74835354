"""Completions made elsewhere, a sample a line, as JSONL.

{id, text}, {id, texts: [text …]} for several answers, or {id, choices: [loglikelihood …]}.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from evalkit import jsonl
from evalkit.config import RecordedModel
from evalkit.errors import ModelError
from evalkit.models.base import Batch, Outline, Prepared
from evalkit.records import Check, Completion, Request

_TOLD = ("text", "texts", "choices")
_ROUNDING = 1e-6  # a log-likelihood may be above 0 by this much

Key: TypeAlias = tuple[str, str]
"""(suite, sample id); the suite is '' where the row names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one line recorded of one sample."""

    place: str
    texts: tuple[str, ...] | None
    choices: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One file, read whole."""

    path: Path
    digest: str
    rows: Mapping[Key, Row]

    def find(self, request: Request) -> Row | None:
        """The row of a sample: the one that names its suite, else the one that names none."""
        named = self.rows.get((request.suite, request.sample_id))
        return named or self.rows.get(("", request.sample_id))


def open_recorded(arms: Mapping[str, RecordedModel]) -> RecordedEngine:
    """Read the files of all recorded arms; raises ModelError listing every mistake in them."""
    mistakes: list[str] = []
    files = {model.path: read_recording(model.path, mistakes) for model in arms.values()}
    if mistakes:
        raise ModelError(jsonl.listed(mistakes))
    return RecordedEngine({name: files[model.path] for name, model in arms.items()})


def read_recording(path: Path, mistakes: list[str]) -> Recording:
    """A file's rows by sample; what is wrong in it is added to `mistakes` as file:line."""
    try:
        text = jsonl.read_text(path)
    except jsonl.UnreadableError as error:
        raise ModelError(str(error)) from None
    rows: dict[Key, Row] = {}
    for number, line in jsonl.numbered_lines(text):
        place = f"{path}:{number}"
        try:
            key, row = _row(line, place)
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
            continue
        first = rows.setdefault(key, row)
        if first is not row:
            mistakes.append(f"{place}: {key[1]!r} was recorded before, at {first.place}")
    return Recording(path=path, digest=hashlib.sha256(text.encode()).hexdigest(), rows=rows)


def _row(line: str, place: str) -> tuple[Key, Row]:
    """One line; fields we do not know are the other tool's business. Raises ValueError."""
    value = jsonl.parse_object(line, example='{"id": "q1", "text": "Paris"}')
    told = {name: value[name] for name in _TOLD if value.get(name) is not None}
    if len(told) != 1:
        raise ValueError(f"expected one of 'text', 'texts', 'choices'; it has {', '.join(value)}")
    ((name, content),) = told.items()
    key = (str(value.get("suite", "")), _id(value.get("id")))
    match name:
        case "choices":
            return key, Row(place=place, texts=None, choices=_numbers(content))
        case "texts":
            return key, Row(place=place, texts=_texts(content), choices=None)
        case _:
            if not isinstance(content, str):
                raise ValueError("'text' must be a text")
            return key, Row(place=place, texts=(content,), choices=None)


def _texts(texts: Any) -> tuple[str, ...]:
    """Several answers to one question, in the order they were drawn."""
    if not isinstance(texts, list) or not texts or not all(isinstance(e, str) for e in texts):
        raise ValueError("'texts' must be a list of texts, one for each answer to the question")
    return tuple(texts)


def _id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise ValueError("'id' must be the sample's id")
    return str(value)


def _numbers(choices: Any) -> tuple[float, ...]:
    """Natural log-likelihoods, one for each choice."""
    if not isinstance(choices, list) or not choices:
        raise ValueError("'choices' must be a list of log-likelihoods, one for each choice")
    for each in choices:
        number = isinstance(each, (int, float)) and not isinstance(each, bool)
        if not number or not math.isfinite(each) or each > _ROUNDING:
            raise ValueError(f"{each!r} is no log-likelihood; expected a finite number, 0 or less")
    return tuple(float(each) for each in choices)


class RecordedEngine:
    """Answers from recordings; what was not recorded is an error of its sample, never empty."""

    def __init__(self, recordings: Mapping[str, Recording]) -> None:
        self.arms = tuple(recordings)
        self._recordings = dict(recordings)
        self._answers: dict[str, Completion] = {}
        self._unused: dict[tuple[str, str, str], tuple[int, int]] = {}

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """The hash of the file's text determines all its answers."""
        recording = self._recordings[arm]
        return {"engine": "recorded/1", "recording": recording.digest}

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """Whether all recorded answers are used; a file tells nothing of the model behind it."""
        unused = [counts for (name, *_), counts in self._unused.items() if name == arm]
        if not unused:
            return ()
        recorded, asked = max(unused)
        scored = "the first was" if asked == 1 else f"the first {asked} were"
        told = (
            f"{arm}: {self._recordings[arm].path} has up to {recorded} texts for a sample; only "
            f"{scored} scored, as `decoding.repeats` is {asked}"
        )
        return (Check(name="all recorded answers used", status="warning", message=told),)

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Key the requests by what was recorded for them."""
        asked: dict[tuple[str, str, str], int] = {}
        for request in requests:
            sample = (request.arm, request.suite, request.sample_id)
            asked[sample] = max(asked.get(sample, 0), request.index + 1)
        return [
            self._prepared(request, asked[request.arm, request.suite, request.sample_id])
            for request in requests
        ]

    def _note_unused(self, request: Request) -> None:
        """Remember the texts of a sample of which this request is the last to be asked.

        A later turn may take up what the one before has left.
        """
        row = self._recordings[request.arm].find(request)
        texts = len(row.texts or ()) if row else 0
        sample = (request.arm, request.suite, request.sample_id)
        self._unused.pop(sample, None)
        if texts > request.index + 1:
            self._unused[sample] = (texts, request.index + 1)

    def _prepared(self, request: Request, choices: int) -> Prepared:
        recording = self._recordings[request.arm]
        if request.kind == "generate":
            if request.index + 1 == choices:
                self._note_unused(request)
            choices = 1  # an answer is the same whatever others are asked for
        parts = (recording.digest, request.suite, request.sample_id, request.kind, request.index)
        identity = json.dumps(["recorded/1", *parts, choices])
        key = hashlib.sha256(identity.encode()).hexdigest()
        self._answers[key] = _answer(key, recording, request, choices)
        return Prepared(key=key, request=request, decoding=request.decoding)

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        """One batch: looking up costs nothing."""
        return [Batch.of(prepared)] if prepared else []

    def outline(self, batches: Sequence[Batch], /) -> Outline:
        """No work at all: the answers are here."""
        return Outline(arms=self.arms, requests=sum(map(len, batches)), seconds=0.0)

    def profile(self) -> Mapping[str, float]:
        """Nothing is computed here."""
        return {}

    def complete(self, batch: Batch) -> Iterator[Completion]:
        """The recorded answers."""
        for one in batch:
            yield self._answers[one.key]

    def measures(self, _arm: str, /) -> Mapping[str, float]:
        """Nothing was computed here."""
        return {}

    def close(self) -> None:
        """Nothing is held open."""


def _answer(key: str, recording: Recording, request: Request, choices: int) -> Completion:
    """The recorded completion, or one whose error says what is missing."""

    def missing(why: str) -> Completion:
        return Completion(key=key, stop_reason="error", error=why)

    row = recording.find(request)
    if row is None:
        return missing(f"{recording.path} has no row for {request.sample_id!r}")
    match request.kind:
        case "generate":
            if row.texts is None:
                return missing(f"{row.place} has no 'text'")
            if request.index >= len(row.texts):
                count = len(row.texts)
                words = "1 text" if count == 1 else f"{count} texts"
                return missing(f"{row.place} has {words}; the turns and repeats ask for more")
            return Completion(key=key, text=row.texts[request.index], stop_reason="stop")
        case "loglikelihood":
            if row.choices is None:
                return missing(f"{row.place} has no 'choices'")
            if len(row.choices) != choices:
                return missing(f"{row.place} has {len(row.choices)} choices; asked are {choices}")
            return Completion(
                key=key, text=request.continuation, logprobs=(row.choices[request.index],)
            )
        case "rolling" | "whole":
            return missing("a recording holds no log-likelihoods of whole texts")
