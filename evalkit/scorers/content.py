"""What a text kept of the facts it was given, and what it took over from its training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import jsonl
from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import fold, mentions, words


def content_kept(context: ScorerContext) -> Scorer:
    """The share of required facts that the answer names; not scored where none is required.

    The row's `required` lists facts, each a list of alternatives of which one is enough. An
    alternative may go on ("centimet" finds "centimetres") but may not cut into a number.
    """
    for sample in context.samples:
        groups(context.suite, sample, "required")

    def measure(sample: Sample, text: str) -> tuple[Value]:
        facts = groups(context.suite, sample, "required")
        if not facts:
            return (Value(None, "nothing is required"),)
        lost = [
            fact[0] for fact in facts if not any(mentions(text, way, prefix=True) for way in fact)
        ]
        reason = f"missing: {', '.join(lost)}" if lost else ""
        return (Value(1 - len(lost) / len(facts), reason),)

    return text_scorer(
        "content_kept", (Metric(name="content_kept", unit="share", least=0.0, most=1.0),), measure
    )


def groups(suite: str, sample: Sample, field: str) -> tuple[tuple[str, ...], ...]:
    """A row's list of lists of alternatives; raises SuiteError where it is something else."""
    raw = sample.fields.get(field, ())
    right = isinstance(raw, list | tuple) and all(
        isinstance(group, list | tuple)
        and group
        and all(isinstance(way, str) and way for way in group)
        for group in raw
    )
    if not right:
        raise SuiteError(
            f"Suite {suite!r}, sample {sample.id!r}: `{field}` must be a list of lists of "
            "alternatives, each a text that is not empty."
        )
    return tuple(tuple(group) for group in raw)


def memorisation(context: ScorerContext, *, training: str, optional: bool = False) -> Scorer:
    """The longest run of tokens that a text shares with one training text.

    Tokens are words, and single characters of Chinese, case and punctuation aside. `training` is
    a JSONL file (its path starts at the suite's folder), or the name of a suite whose
    references are meant. `memorised` is that run's share of the text; with `optional`, a missing
    file leaves the samples unscored instead of being an error.
    """
    metrics = (
        Metric(name="longest_overlap", higher_is_better=False, unit="tokens"),
        Metric(name="memorised", higher_is_better=False, unit="share", least=0.0, most=1.0),
    )
    texts = _training_texts(context, training, optional=optional)
    index = OverlapIndex([_tokens(text) for text in texts]) if texts is not None else None

    def measure(_sample: Sample, text: str) -> tuple[Value, Value]:
        if index is None:
            missing = Value(None, f"no training data at {training}")
            return missing, missing
        tokens = _tokens(text)
        if not tokens:
            empty = Value(None, "no words to compare")
            return empty, empty
        longest = index.longest(tokens)
        return Value(float(longest)), Value(longest / len(tokens))

    told = "not measured, there is no" if texts is None else f"against the {len(texts)} texts of"
    notes = (f"memorisation: {told} {training}",)
    return text_scorer("memorisation", metrics, measure, notes)


class OverlapIndex:
    """Texts in which the longest run of tokens shared with another text is found fast.

    One suffix automaton over all texts (Blumer et al. 1985): built in time linear in their
    tokens, then each query costs its own length.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        for text in texts:
            last = 0  # from the root again, so that no run crosses from one text into the next
            for token in text:
                last = self._extend(last, token)

    def _extend(self, last: int, token: str) -> int:
        known = self._next[last].get(token)
        if known is not None:
            if self._length[known] == self._length[last] + 1:
                return known
            return self._clone(last, token, known)
        current = self._add(self._length[last] + 1, {}, 0)
        state = last
        while state >= 0 and token not in self._next[state]:
            self._next[state][token] = current
            state = self._link[state]
        if state >= 0:
            known = self._next[state][token]
            fits = self._length[known] == self._length[state] + 1
            self._link[current] = known if fits else self._clone(state, token, known)
        return current

    def _clone(self, state: int, token: str, known: int) -> int:
        copy = self._add(self._length[state] + 1, dict(self._next[known]), self._link[known])
        self._link[known] = copy
        while state >= 0 and self._next[state].get(token) == known:
            self._next[state][token] = copy
            state = self._link[state]
        return copy

    def _add(self, length: int, following: dict[str, int], link: int) -> int:
        self._next.append(following)
        self._length.append(length)
        self._link.append(link)
        return len(self._length) - 1

    def longest(self, text: Sequence[str]) -> int:
        """Tokens in the longest run of `text` that one of the texts holds too."""
        state = run = longest = 0
        for token in text:
            while state and token not in self._next[state]:
                state = self._link[state]
                run = self._length[state]
            if token in self._next[state]:
                state = self._next[state][token]
                run += 1
            longest = max(longest, run)
        return longest


def _tokens(text: str) -> list[str]:
    return words(fold(text))


def _training_texts(context: ScorerContext, training: str, *, optional: bool) -> list[str] | None:
    path = (context.folder or Path()) / training
    if path.is_file():
        return list(_texts_of(context, path))
    if not training.endswith(".jsonl"):
        return [reference.text for reference in context.references(training)]
    if optional:
        return None
    raise SuiteError(
        f"Scorer 'memorisation' of suite {context.suite!r}: option training: "
        f"there is no file {path}."
    )


def _texts_of(context: ScorerContext, path: Path) -> Iterator[str]:
    """What a model would learn to write, of every row: its answers, not the questions."""
    try:
        text = jsonl.read_text(path)
    except jsonl.UnreadableError as error:
        raise SuiteError(str(error)) from None
    for number, line in jsonl.numbered_lines(text):
        try:
            answer = _answer_of(jsonl.parse_object(line, half_pairs=True))
        except ValueError as error:
            raise SuiteError(f"{path}, line {number}: not JSON as expected: {error}.") from None
        if answer is None:
            raise SuiteError(
                f"{path}, line {number}: scorer 'memorisation' of suite {context.suite!r} finds no "
                "text in it: a row needs `completion`, `text`, or `messages` with an answer."
            )
        yield answer


def _answer_of(row: Mapping[str, Any]) -> str | None:
    for field in ("completion", "response", "output", "text", "messages"):
        value = row.get(field)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            turns = [turn for turn in value if isinstance(turn, dict)]
            said = [
                str(turn.get("content", "")) for turn in turns if turn.get("role") == "assistant"
            ]
            if said:
                return "\n".join(said)
    return None
