"""Answers that are read before they are judged: was there one, is it right, and several of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import Field

from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.generated import Value, unscored
from evalkit.scorers.repeats import averaged
from evalkit.scorers.sampling import majority_at, pass_at

Counts: TypeAlias = Annotated[Sequence[Annotated[int, Field(ge=1)]], Field(max_length=8)]
"""For how many answers pass@k and maj@k are given."""


class Read(NamedTuple):
    """What one completion comes to; `right` is None where that could not be found out."""

    answer: Hashable | None
    right: bool | None
    reason: str = ""


ReadAll: TypeAlias = Callable[[Iterable[tuple[Sample, Completion]]], Generator[Read, None, None]]
"""Completions, each with its sample, to what they come to, in their order."""


def reading_scorer(
    name: str,
    names: tuple[str, str],
    read_all: ReadAll,
    *,
    passes: Sequence[int] = (),
    majorities: Sequence[int] = (),
    unasked: Callable[[Sample], str] = lambda _: "",
    at_once: bool = False,
) -> Scorer:
    """Is it right, was there an answer; and of a sample's answers together, pass@k and maj@k.

    `names` are those of the first two metrics. `unasked` says why a sample cannot be scored at
    all. With `at_once` many samples are handed to `read_all` together.
    """
    accuracy, extracted = names
    each = (
        Metric(name=accuracy, kind="binary"),
        Metric(name=extracted, kind="binary", extraction_of=accuracy),
    )
    together: list[tuple[Metric, Callable[[int, Sequence[Read]], Value], int]] = [
        (Metric(name=f"{kind}@{k}", unit="0–1", least=0.0, most=1.0), rule, k)
        for kind, rule, counts in (("pass", _pass, passes), ("maj", _vote, majorities))
        for k in sorted(set(counts))
    ]
    metrics = (*each, *(metric for metric, _, _ in together))

    def scored(sample: Sample, read: Sequence[Read]) -> list[Score]:
        problem = unasked(sample) if read else "no completion"
        if problem:
            return unscored(sample, metrics, problem)
        rows = [
            averaged([_score(sample, accuracy, _accuracy(one)) for one in read]),
            averaged([_score(sample, extracted, _extracted(one)) for one in read]),
        ]
        return rows + [_score(sample, m.name, rule(k, read)) for m, rule, k in together]

    def score_all(answered: Sequence[tuple[Sample, Sequence[Completion]]]) -> Iterator[list[Score]]:
        asked = ((sample, one) for sample, said in answered for one in said)
        with closing(read_all(asked)) as reads:
            for sample, said in answered:
                yield scored(sample, list(islice(reads, len(said))))

    def score(sample: Sample, completions: Sequence[Completion]) -> list[Score]:
        (scores,) = score_all([(sample, completions)])
        return scores

    return Scorer(
        name=name,
        metrics=metrics,
        score=score,
        tasks=("generate",),
        pooled=True,
        score_all=score_all if at_once else None,
    )


def _accuracy(one: Read) -> Value:
    return Value(None if one.right is None else float(one.right), one.reason)


def _extracted(one: Read) -> Value:
    if one.right is None:
        return Value(None, one.reason)
    return Value(float(one.answer is not None))


def _pass(k: int, read: Sequence[Read]) -> Value:
    known = [one.right for one in read if one.right is not None]
    return Value(pass_at(k, known)) if len(known) >= k else _too_few("pass", k, len(known))


def _vote(k: int, read: Sequence[Read]) -> Value:
    known = [one for one in read if one.right is not None]
    if len(known) < k:
        return _too_few("maj", k, len(known))
    return majority_at(k, [one.answer for one in known], [bool(one.right) for one in known])


def _too_few(kind: str, k: int, count: int) -> Value:
    return Value(
        None, f"{kind}@{k} needs {k} answers and there are {count}; decoding.repeats asks for more"
    )


def _score(sample: Sample, metric: str, value: Value) -> Score:
    return Score(sample_id=sample.id, scorer=metric, value=value.value, reason=value.reason)
