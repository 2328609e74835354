"""Sums of what documents add, against lm-eval's own aggregations of the same items."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.estimates import alone
from evalkit.harnesses.lm_eval.metrics import Reading, readings, with_even_references
from evalkit.records import Score

theirs = pytest.importorskip("lm_eval.api.metrics")
pytestmark = pytest.mark.filterwarnings("ignore")  # of scikit-learn, where a class never occurs

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "it", "rained", "and", "dogs", "ran")
Draw = Callable[[random.Random], Any]


class Task:
    """As much of a task of lm-eval's as its metrics are read from."""

    def __init__(self, name: str, aggregation: Any, *, higher: Any = True) -> None:
        self._filters = [SimpleNamespace(name="none")]
        self._told = name, aggregation, higher
        self.config = SimpleNamespace(process_results=None)
        self.eval_docs = [3, 4, 2]

    def aggregation(self) -> dict[str, Any]:
        return {self._told[0]: self._told[1]}

    def higher_is_better(self) -> dict[str, Any]:
        return {self._told[0]: self._told[2]}

    def doc_to_choice(self, doc: int) -> list[str]:
        return ["x"] * doc


def read(name: str, aggregation: Any, example: Any = None) -> Reading:
    tried = None if example is None else {(name, "none"): example}
    (found,) = readings(Task(name, aggregation), tried, {})
    return found


def total(reading: Reading, items: Sequence[Any]) -> float | None:
    scores = []
    for place, item in enumerate(items):
        found = reading.read(item)
        scores.append(Score(sample_id=str(place), scorer="x", value=found.value, stats=found.stats))
    return alone(reading.metric, scores, [])[0]


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(4, 12)))


def translation(chance: random.Random) -> tuple[list[str], str]:
    first = sentence(chance).split()
    said = [word if chance.random() < 0.8 else "bird" for word in first]
    return [" ".join(first), sentence(chance)], " ".join(said)


def ragged(chance: random.Random) -> tuple[list[str], str]:
    references, said = translation(chance)
    return references + [said] * chance.randrange(2), said


def classes(count: int) -> Draw:
    return lambda chance: (chance.randrange(count), chance.randrange(count))


def shares(chance: random.Random) -> tuple[int, list[float]]:
    drawn = [chance.random() for _ in range(3)]
    return chance.randrange(3), [one / sum(drawn) for one in drawn]


DRAWS: list[tuple[str, Draw]] = [
    ("mean", lambda chance: chance.random()),
    ("perplexity", lambda chance: -chance.expovariate(0.1)),
    ("weighted_perplexity", lambda chance: (-chance.expovariate(0.1), chance.randint(1, 9))),
    ("bits_per_byte", lambda chance: (-chance.expovariate(0.1), chance.randint(1, 90))),
    ("bleu", translation),
    ("chrf", translation),
    ("chrfpp", translation),
    ("ter", translation),
    ("f1_score", classes(2)),
    ("matthews_corrcoef", classes(4)),
    ("matthews_corrcoef", classes(2)),
    ("brier_score", shares),
]


@pytest.mark.parametrize(("name", "draw"), DRAWS)
def test_an_aggregate_is_lm_evals_own(name: str, draw: Draw) -> None:
    aggregation = getattr(theirs, name)
    for seed in range(5):
        chance = random.Random(seed)
        items = [draw(chance) for _ in range(61)]
        expected = aggregation(items)
        assert expected not in (0, 100), "a number that says nothing"
        assert total(read(name, aggregation), items) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrfpp", "ter"])
def test_of_uneven_references_as_many_count_as_lm_eval_compares_with(name: str) -> None:
    chance, notes = random.Random(3), dict[str, None]()
    items = [([], "said of nothing"), *(ragged(chance) for _ in range(61))]
    aggregation = getattr(theirs, name)
    found = [read(name, aggregation)]
    (even,) = with_even_references(found, [{(name, "none"): one} for one in items], notes)
    expected = aggregation(items[1:])
    assert total(found[0], items[1:]) != pytest.approx(expected, rel=1e-3)
    assert total(even, items[1:]) == pytest.approx(expected, rel=1e-12)
    assert even.read(items[0]).value is None
    (note,) = notes
    assert note.endswith("lm-eval compares with the first 2 of each")


def test_even_references_all_count() -> None:
    items = [{("ter", "none"): translation(random.Random(seed))} for seed in range(3)]
    found = [read("ter", theirs.ter)]
    assert with_even_references(found, items, {}) == tuple(found)


def test_one_class_alone_has_no_correlation() -> None:
    items = [(0, 1), (1, 1), (2, 1)]
    assert theirs.matthews_corrcoef(items) == 0
    assert total(read("mcc", theirs.matthews_corrcoef), items) == 0


def test_a_value_that_is_no_number_is_missing_and_not_zero() -> None:
    found = read("score", theirs.nanmean).read(math.nan)
    assert (found.value, found.reason) == (None, "lm-eval says nan")
    assert not read("score", theirs.nanmean).averaged, "it is no mean over all documents"


def test_right_or_wrong_is_known_by_name_or_by_type() -> None:
    assert read("acc", theirs.mean, 1.0).metric.kind == "binary"
    assert read("score", theirs.mean, 1.0).metric.kind == "continuous"
    task = Task("acc", theirs.mean)
    task.config.process_results = lambda _doc, _results: {}
    for value, kind in [(0.5, "continuous"), (1.0, "continuous"), (1, "binary"), (True, "binary")]:
        (found,) = readings(task, {("acc", "none"): value}, {})
        assert found.metric.kind == kind, value


def test_an_aggregation_of_the_tasks_own_is_left_out_and_said() -> None:
    notes: dict[str, None] = {}

    def median_of_squares(items: Sequence[float]) -> float:
        return sum(items)

    assert readings(Task("odd", median_of_squares), {("odd", "none"): 1.0}, notes) == ()
    (note,) = notes
    assert note.startswith("odd is left out: the task computes it from all documents")
    assert note.endswith("(median_of_squares)")


def test_a_metric_that_no_document_gives_is_said() -> None:
    notes: dict[str, None] = {}
    assert readings(Task("acc", theirs.mean), {("other", "none"): 1.0}, notes)[0].key[0] == "other"
    assert list(notes) == ["acc is left out: no document gives it"]


def test_a_metric_without_a_direction_is_described_and_never_judged() -> None:
    (found,) = readings(Task("size", theirs.mean, higher="N/A"), {("size", "none"): 1.0}, {})
    assert found.metric.higher_is_better is None
