"""Joining runs and estimating differences: nothing missing is ever counted as zero."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from evalkit.compare import answer, compare
from evalkit.errors import CanaryError, UsageError
from evalkit.estimates import ALPHAS, SMALL_ALPHAS
from evalkit.records import Run
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def _tuned(values: list[float | None], **options: object) -> Run:
    return make_run("tuned", {SUITE: values}, adapter="a", **options)  # type: ignore[arg-type]


def test_a_missing_score_is_counted_and_left_out() -> None:
    base = make_run("base", {SUITE: [1.0, 0.0, None, 1.0]})
    delta = compare(base, _tuned([1.0, 1.0, 1.0, None])).deltas[0]
    assert (delta.n, delta.missing_base, delta.missing_tuned) == (2, 1, 1)
    assert (delta.base, delta.tuned, delta.difference) == (0.5, 1.0, 0.5)
    assert (delta.gained, delta.lost) == (1, 0)


def test_a_score_that_is_not_a_number_is_missing() -> None:
    base = make_run("base", {SUITE: [1.0, float("nan"), 0.0]})
    delta = compare(base, _tuned([1.0, 1.0, float("inf")])).deltas[0]
    assert (delta.n, delta.missing_base, delta.missing_tuned) == (1, 1, 1)


def test_no_common_score_gives_no_difference_and_says_so() -> None:
    base = make_run("base", {SUITE: [None, None]})
    delta = compare(base, _tuned([1.0, 1.0])).deltas[0]
    assert delta.difference is None
    assert delta.low is None
    assert delta.note == "no sample has a score in both arms"


def test_unmatched_samples_are_listed_for_both_arms() -> None:
    base = make_run("base", {SUITE: [1.0, 0.0, 1.0]})
    tuned = _tuned([1.0, 0.0, 1.0])
    only = replace(tuned.results[2].sample, id="new")
    tuned = replace(tuned, results=(*tuned.results[:2], replace(tuned.results[2], sample=only)))
    comparison = compare(base, tuned)
    assert comparison.unpaired == {SUITE: ("new", "s2")}
    assert comparison.deltas[0].n == 2


def test_slices_get_a_difference_each() -> None:
    topics = ["food", "food", "nature", "nature"]
    base = make_run("base", {SUITE: [1.0, 0.0, 0.0, 0.0]}, slices=topics)
    comparison = compare(base, _tuned([1.0, 1.0, 0.0, 0.0], slices=topics))
    by_slice = {delta.slice: delta.difference for delta in comparison.deltas}
    assert by_slice == {"": 0.25, "topic=food": 0.5, "topic=nature": 0.0}


def test_clusters_widen_the_interval() -> None:
    info = make_info(SUITE, kind="continuous")
    scores = [share for share in (0.1, 0.9, 0.4, 0.2, 0.7, 0.5, 0.3, 0.8) for _ in range(3)]
    groups = [name for name in "abcdefgh" for _ in range(3)]
    zeros: list[float | None] = [0.0] * 24
    alone = compare(
        make_run("base", {SUITE: zeros}, infos=[info]),
        make_run("tuned", {SUITE: scores}, infos=[info], adapter="a"),
    ).deltas[0]
    grouped = compare(
        make_run("base", {SUITE: zeros}, infos=[info], clusters=groups),
        make_run("tuned", {SUITE: scores}, infos=[info], adapter="a", clusters=groups),
    ).deltas[0]
    assert grouped.clusters == 8
    assert grouped.interval == "wild"
    assert grouped.high is not None
    assert alone.high is not None
    assert grouped.high > alone.high


def test_the_answers_that_got_worse_come_first() -> None:
    base = make_run("base", {SUITE: [1.0, 0.0, 1.0]})
    flips = compare(base, _tuned([0.0, 1.0, 1.0])).flips
    assert [flip.sample_id for flip in flips] == ["s0", "s1"]
    assert flips[0].base_text == "base says 1.0"


def test_the_order_of_the_samples_changes_nothing() -> None:
    info = make_info(SUITE, kind="continuous")
    base = make_run("base", {SUITE: [0.1, 0.7, 0.3, 0.9]}, infos=[info])
    tuned = make_run("tuned", {SUITE: [0.2, 0.4, 0.8, 0.95]}, infos=[info], adapter="a")
    turned = replace(tuned, results=tuple(reversed(tuned.results)))
    assert compare(base, tuned).deltas == compare(base, turned).deltas


def test_the_same_model_twice_is_an_error() -> None:
    base = make_run("base", {SUITE: [1.0, 0.0]})
    with pytest.raises(CanaryError, match="are the same model"):
        compare(base, make_run("twin", {SUITE: [1.0, 0.0]}))


def _served(name: str, values: list[float | None], address: str) -> Run:
    run = make_run(name, {SUITE: values})
    served = {"engine": "openai/1", "endpoint": address, "model": "tiny"}
    return replace(run, manifest=replace(run.manifest, fingerprints=served))


def test_two_servers_may_call_their_models_by_one_name() -> None:
    base = _served("base", [1.0, 0.0], "http://127.0.0.1:8000/v1")
    tuned = _served("tuned", [1.0, 1.0], "http://127.0.0.1:8001/v1")
    assert compare(base, tuned).checks[0].message == "they differ in endpoint"


def test_one_name_on_one_server_is_the_same_model() -> None:
    base = _served("base", [1.0, 0.0], "http://127.0.0.1:8000/v1")
    twin = _served("twin", [1.0, 1.0], "http://127.0.0.1:8000/v1")
    with pytest.raises(CanaryError, match=r"same address.*`model\.base_url`"):
        compare(base, twin)


def _recorded(name: str, values: list[float | None], digest: str) -> Run:
    run = make_run(name, {SUITE: values})
    told = {"engine": "recorded/1", "recording": digest}
    return replace(run, manifest=replace(run.manifest, fingerprints=told))


def test_one_recording_given_twice_is_the_same_model() -> None:
    base, twin = _recorded("base", [1.0, 0.0], "ab"), _recorded("twin", [1.0, 0.0], "ab")
    with pytest.raises(CanaryError, match=r"same model: one recording.*`model\.path`"):
        compare(base, twin)
    checks = compare(base, _recorded("tuned", [1.0, 1.0], "cd")).checks
    assert checks[0].message == "they differ in recording"


def test_runs_that_tell_nothing_of_their_models_are_a_warning() -> None:
    base, tuned = _recorded("base", [1.0, 0.0], ""), _recorded("tuned", [1.0, 1.0], "")
    check = compare(base, tuned).checks[0]
    assert (check.status, check.message[:9]) == ("warning", "not known")


def test_the_same_weights_in_another_configuration_are_another_model() -> None:
    base, tuned = make_run("base", {SUITE: [1.0, 0.0]}), make_run("long", {SUITE: [1.0, 1.0]})
    changed = {**tuned.manifest.fingerprints, "config": "other rotary scaling"}
    tuned = replace(tuned, manifest=replace(tuned.manifest, fingerprints=changed))
    assert compare(base, tuned).checks[0].message == "they differ in config"


def test_a_tuned_model_that_answers_exactly_as_its_base_is_an_error() -> None:
    base = make_run("base", {SUITE: [1.0, 0.0]})
    twin = replace(base, manifest=replace(_tuned([1.0, 0.0]).manifest))
    with pytest.raises(CanaryError, match="changes nothing"):
        compare(base, twin)


def test_prompts_that_differ_fail_their_canary() -> None:
    base, tuned = make_run("base", {SUITE: [1.0, 0.0]}), _tuned([1.0, 1.0])
    other = replace(
        tuned.results[0].completions[0], prompt_hash="other", prompt_text="<|im_start|>…"
    )
    tuned = replace(
        tuned, results=(replace(tuned.results[0], completions=(other,)), tuned.results[1])
    )
    failed = [check for check in compare(base, tuned).checks if check.status == "failed"]
    assert [check.name for check in failed] == ["same prompts"]


def test_runs_without_a_common_suite_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="share no suite"):
        compare(make_run("base", {"a/a": [1.0]}), make_run("tuned", {"b/b": [1.0]}, adapter="a"))


def test_a_suite_that_changed_between_the_runs_cannot_be_paired() -> None:
    base = make_run("base", {SUITE: [1.0]})
    edited = make_info(SUITE, fingerprint="suite-2")
    tuned = make_run("tuned", {SUITE: [0.0]}, infos=[edited], adapter="a")
    with pytest.raises(UsageError, match="changed between the two runs"):
        compare(base, tuned)


def test_a_choice_is_read_as_the_likeliest_one() -> None:
    result = _tuned([1.0]).results[0]
    likely = replace(result.completions[0], logprobs=(-0.5,))
    unlikely = replace(result.completions[0], logprobs=(-0.1, -0.6))
    sample = replace(result.sample, choices=("cat", "dog"))
    assert answer(replace(result, sample=sample, completions=(unlikely, likely))) == "dog"


def test_several_answers_are_read_one_after_the_other() -> None:
    result = make_run("base", {SUITE: [1.0]}).results[0]
    texts = [replace(result.completions[0], text=text) for text in ("Paris", "Lyon")]
    assert answer(replace(result, completions=tuple(texts))) == "[1] Paris\n\n[2] Lyon"
    assert answer(replace(result, completions=(texts[0],))) == "Paris"


def test_a_perplexity_is_of_all_tokens_and_not_a_mean_of_samples() -> None:
    """Long documents weigh more: exp(Σ nll / Σ tokens), by hand."""
    info = make_info(SUITE, metric="token_perplexity", kind="perplexity", higher_is_better=False)
    sizes = [10.0 * (1 + number % 7) for number in range(40)]

    def run(name: str, rates: list[float], **more: str) -> Run:
        made = make_run(name, {SUITE: [math.exp(rate) for rate in rates]}, infos=[info], **more)
        results = [
            replace(
                result,
                scores=tuple(replace(score, stats=(rate * size, size)) for score in result.scores),
            )
            for result, rate, size in zip(made.results, rates, sizes, strict=True)
        ]
        return replace(made, results=tuple(results))

    rates = [1 + 0.01 * (number % 11) for number in range(40)]
    lower = [rate - 0.1 - 0.002 * (number % 5) for number, rate in enumerate(rates)]
    delta = compare(run("base", rates), run("tuned", lower, adapter="a")).deltas[0]
    by_hand = math.exp(sum(r * s for r, s in zip(rates, sizes, strict=True)) / sum(sizes))
    assert delta.base == pytest.approx(by_hand)
    assert delta.interval == "bootstrap"
    assert delta.difference is not None
    assert delta.low is not None
    assert delta.high is not None
    assert delta.low < delta.difference < delta.high < 0
    assert delta.tuned is not None
    assert delta.base is not None
    assert delta.ratio is not None
    assert delta.ratio == pytest.approx(delta.tuned / delta.base)
    assert delta.ratio_low is not None
    assert delta.ratio_high is not None
    assert delta.ratio_low < delta.ratio < delta.ratio_high < 1
    assert [tail.alpha for tail in delta.tails] == [*ALPHAS, *SMALL_ALPHAS]
    assert [tail.alpha for tail in delta.tuned_tails] == [*ALPHAS, *SMALL_ALPHAS]
    assert all(tail.low < delta.difference < tail.high for tail in delta.tails)
