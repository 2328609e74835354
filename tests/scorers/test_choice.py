"""Choice accuracy against lm-eval's own computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.records import Completion, Sample
from tests.scorers.examples import make_scorer


def choose(
    choices: Sequence[str], likelihoods: Sequence[float], answer: int | None
) -> dict[str, float | None]:
    """The values of choice_accuracy for given log-likelihoods."""
    sample = Sample(id="s", suite="t", prompt="?", choices=tuple(choices), answer=answer)
    completions = [Completion(key=str(i), logprobs=(v,)) for i, v in enumerate(likelihoods)]
    found = make_scorer("choice_accuracy").score(sample, completions)
    return {score.scorer: score.value for score in found}


def test_accuracies_are_those_of_lm_eval() -> None:
    task = pytest.importorskip("lm_eval.api.task")
    wanted = dict.fromkeys(("acc", "acc_norm", "acc_bytes"))
    stand_in = SimpleNamespace(
        OUTPUT_TYPE="multiple_choice",
        _metric_fn_list=wanted,
        doc_to_choice=lambda doc: doc["choices"],
        doc_to_target=lambda doc: doc["answer"],
        config=SimpleNamespace(process_results=None),
        multiple_input=0,
        multiple_target=0,
    )
    rng = np.random.default_rng(7)
    pool = ["a", "a dog", "北京", "牛犊", "naïve café", "🙂🙂", "a much longer choice", " x", "中a"]
    disagreements = 0
    for _ in range(500):
        choices = [str(choice) for choice in rng.choice(pool, size=4, replace=False)]
        likelihoods = [float(v) for v in np.round(-rng.exponential(5.0, size=4), 1)]
        answer = int(rng.integers(4))
        doc = {"choices": choices, "answer": answer}
        results = [(likelihood, False) for likelihood in likelihoods]
        theirs = task.ConfigurableTask.process_results(stand_in, doc, results)
        ours = choose(choices, likelihoods, answer)
        assert ours["accuracy"] == theirs["acc"]
        assert ours["accuracy_char"] == theirs["acc_norm"]
        assert ours["accuracy_byte"] == theirs["acc_bytes"]
        disagreements += len({ours["accuracy"], ours["accuracy_char"], ours["accuracy_byte"]}) > 1
    assert disagreements > 50  # the three metrics were told apart


def test_the_right_choice_has_its_share_of_the_probability() -> None:
    found = choose(["a", "b", "c"], [math.log(0.2), math.log(0.1), math.log(0.1)], 0)
    assert found["choice_probability"] == pytest.approx(0.5)
    tiny = choose(["a", "b"], [-2000.0, -2001.0], 0)["choice_probability"]
    assert tiny == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize(
    ("choices", "likelihoods", "answer"),
    [
        (["a", "b"], [-1.0, math.nan], 0),
        (["a", "b"], [-1.0, -math.inf], 0),
        (["a", "b"], [-1.0], 0),
        (["a", ""], [-1.0, -2.0], 0),
        (["a", "b"], [-1.0, -2.0], None),
        (["a", "b"], [-1.0, -2.0], 2),
    ],
)
def test_what_cannot_be_compared_is_not_scored(
    choices: list[str], likelihoods: list[float], answer: int | None
) -> None:
    assert set(choose(choices, likelihoods, answer).values()) == {None}
