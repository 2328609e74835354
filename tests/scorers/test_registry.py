"""How a suite's line becomes a scorer, and what is said when it cannot."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from evalkit.errors import SuiteError
from evalkit.records import Completion
from evalkit.scorers import registry
from evalkit.scorers.registry import build, build_all
from tests.scorers.examples import make_context, make_sample, make_scorer, value, values


def test_an_unknown_scorer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SuiteError, match=r"tests/tiny.*'exact_mach'.*Did you mean 'exact_match'"):
        make_scorer("exact_mach")
    with pytest.raises(SuiteError, match="There are: answers, bleu"):
        make_scorer("zzz")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("contains", {"macth": "word"}, "'contains'.*'macth'.*did you mean 'match'"),
        ("answers", {"x": 1}, "'answers'.*'x'.*takes no options"),
        ("contains", {"match": "part"}, "'match'.*'word' or 'prefix'"),
        ("number", {"tolerance": "small"}, "'number'.*'tolerance'"),
        ("regex", {}, "'pattern' is missing"),
        ("regex", {"pattern": "("}, "option pattern.*not a regular expression"),
        ("regex", {"pattern": "(a)", "group": 2}, "option group.*no group 2"),
        ("memorisation", {"training": "gone.jsonl"}, "option training.*gone.jsonl"),
        ("diversity", {"repeated": True}, "'repeated'"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        build(name, options, make_context())


def test_two_scorers_with_one_metric_are_refused() -> None:
    with pytest.raises(SuiteError, match=r"'choice_accuracy' and 'number' both yield .*'accuracy'"):
        build_all([("choice_accuracy", {}), ("number", {})], make_context())


def test_a_plugin_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("shouting", "evalkit.scorers.match:exact_match", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]))
    assert value(make_scorer("shouting"), "yes", make_sample("yes")) == 1.0


@pytest.mark.parametrize("name", sorted(set(registry.SCORERS) - {"regex", "memorisation"}))
def test_a_failed_completion_is_not_scored_by_any_scorer(name: str) -> None:
    options = {"references": "style/rednote-en"} if name.startswith("style_c") else {}
    options = {"references": "style/rednote-en"} if name == "style_distance" else options
    scorer = build(name, options, make_context())
    sample = make_sample("a", text="a")
    failed = Completion(key="k", stop_reason="error", error="connection lost")
    for completions, said in (([failed], "the model failed: connection lost"), ([], "no completi")):
        found = scorer.score(sample, completions)
        assert [score.scorer for score in found] == [metric.name for metric in scorer.metrics]
        assert all(score.value is None and said in score.reason for score in found)


def test_repeats_of_a_sample_are_averaged() -> None:
    found = values(make_scorer("exact_match"), make_sample("yes"), "yes", "no", "yes", "yes")
    assert found == {"exact_match": 0.75}
