"""Judges are asked over real HTTP: both orders, each once, whatever the endpoint does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from evalkit.errors import ModelError, UsageError
from evalkit.judges.asking import estimate, judge
from evalkit.judges.preferences import preferences
from evalkit.progress import Silent
from evalkit.records import Judgement
from evalkit.store.completions import CompletionStore
from tests.judges.asked import SUITE, config, graded, job, matter, pairs, values
from tests.judges.serving import JudgeServer


class Ear(Silent):
    """A progress that remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.steps: Counter[str] = Counter()
        self.totals: dict[str, int] = {}

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        self.totals[part] = total

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        self.steps[part] += steps

    def say(self, message: str) -> None:
        self.heard.append(message)


def statuses(judgements: tuple[Judgement, ...]) -> Counter[str]:
    return Counter(one.status for one in judgements)


def test_each_pair_is_asked_in_both_orders_and_the_value_is_the_tuned_arms(
    server: JudgeServer, store: CompletionStore
) -> None:
    jobs = [job([graded("up", 2, 7), graded("down", 5, 4), graded("same", 3, 3)])]
    done = judge(jobs, config(server.judge()), store, offline=True)
    assert values(done.judgements) == {
        ("up", "base_first"): 1.0, ("up", "tuned_first"): 1.0,
        ("down", "base_first"): 0.0, ("down", "tuned_first"): 0.0,
        ("same", "base_first"): 0.5, ("same", "tuned_first"): 0.5,
    }  # fmt: skip
    levels = {(one.sample_id, one.order): one.level for one in done.judgements}
    assert levels["up", "base_first"] == "much_worse", "the level is said of the first answer"
    assert levels["up", "tuned_first"] == "much_better"
    assert levels["down", "base_first"] == "better"
    assert all("好的 🙂" in one.rationale for one in done.judgements)
    told = server.calls()
    assert sorted(told["asked"].values()) == [1] * 6
    spent = done.spent["scripted"]
    assert (spent.calls, spent.stored, spent.cost) == (6, 0, None)
    assert spent.tokens_in == sum(one.tokens_in for one in done.judgements) > 0
    assert spent.tokens_out == sum(one.tokens_out for one in done.judgements) > 0


def test_an_endpoint_is_asked_by_schema_at_temperature_0(
    server: JudgeServer, store: CompletionStore
) -> None:
    judge([job(pairs(1))], config(server.judge()), store, offline=True)
    body = server.calls()["bodies"][0]
    assert body["temperature"] == 0.0
    assert "seed" not in body
    assert body["response_format"]["type"] == "json_schema"
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["rationale", "verdict"]
    assert "logprobs" not in body


def test_structured_never_sends_no_schema(server: JudgeServer, store: CompletionStore) -> None:
    judge([job(pairs(1))], config(server.judge(structured="never")), store, offline=True)
    assert "response_format" not in server.calls()["bodies"][0]


def test_where_a_schema_is_refused_it_is_left_out_and_that_is_said_once(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(schema=False)
    ear = Ear()
    done = judge([job(pairs(6))], config(server.judge()), store, offline=True, progress=ear)
    assert statuses(done.judgements) == {"judged": 12}
    assert [one for one in ear.heard if "takes no JSON schema" in one] == ear.heard
    assert len(ear.heard) == 1
    assert not any("response_format" in body for body in server.calls()["bodies"][-4:])


def test_what_is_stored_is_not_asked_again(server: JudgeServer, store: CompletionStore) -> None:
    jobs, how = [job(pairs(5))], config(server.judge(price_in=1.0, price_out=2.0))
    first = judge(jobs, how, store, offline=True)
    again = judge(jobs, how, store, offline=True)
    assert again.judgements == first.judgements
    assert sorted(server.calls()["asked"].values()) == [1] * 10
    spent = again.spent["scripted"]
    assert (spent.calls, spent.stored, spent.tokens_in, spent.cost) == (0, 10, 0, 0.0)
    whole = first.spent["scripted"]
    assert whole.cost == pytest.approx((whole.tokens_in + 2 * whole.tokens_out) / 1e6)


def test_fresh_asks_what_is_stored_but_each_once(
    server: JudgeServer, store: CompletionStore
) -> None:
    jobs, how = [job(pairs(3))], config(server.judge())
    judge(jobs, how, store, offline=True)
    judge(jobs, how, store, offline=True, fresh=True)
    assert sorted(server.calls()["asked"].values()) == [2] * 6


@pytest.mark.parametrize("kind", ["cut", "fields", "empty"])
def test_an_unreadable_answer_is_asked_for_once_more(
    server: JudgeServer, store: CompletionStore, kind: str
) -> None:
    fault = {"kind": kind} if kind != "empty" else {"kind": "say", "text": ""}
    server.script(faults=[fault | {"match": "quality"}])
    done = judge([job([graded("up", 2, 7)])], config(server.judge()), store, offline=True)
    assert values(done.judgements) == {("up", "base_first"): 1.0, ("up", "tuned_first"): 1.0}
    assert done.spent["scripted"].calls == 4
    bodies = server.calls()["bodies"]
    assert [len(body["messages"]) for body in bodies] == [2, 2, 4, 4]
    first = done.judgements[0]
    assert first.tokens_in > 1.5 * bodies[0]["messages"][1]["content"].encode().__len__() / 4
    again = judge([job([graded("up", 2, 7)])], config(server.judge()), store, offline=True)
    assert again.judgements == done.judgements
    assert len(server.calls()["bodies"]) == 4


def test_what_stays_unreadable_is_missing(server: JudgeServer, store: CompletionStore) -> None:
    server.script(faults=[{"kind": "fields", "times": -1}])
    done = judge([job(pairs(2))], config(server.judge()), store, offline=True)
    assert statuses(done.judgements) == {"unparsed": 4}
    assert all(one.value is None and one.error for one in done.judgements)
    assert done.spent["scripted"].calls == 8, "one repair each, and no more"


@pytest.mark.parametrize("kind", ["refuse", "filter"])
def test_a_refusal_is_kept_apart_and_not_asked_again(
    server: JudgeServer, store: CompletionStore, kind: str
) -> None:
    server.script(faults=[{"kind": kind, "match": "s0000", "times": -1}])
    done = judge([job(pairs(2))], config(server.judge()), store, offline=True)
    assert statuses(done.judgements) == {"refused": 2, "judged": 2}
    assert {one.sample_id for one in done.judgements if one.status == "refused"} == {"s0000"}
    assert done.spent["scripted"].calls == 4


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "0.1"}},
        {"kind": "status", "status": 500},
        {"kind": "hang", "seconds": 5.0},
        {"kind": "drop"},
        {"kind": "broken"},
        {"kind": "trickle", "seconds": 0.4},
        {"kind": "fence"},
    ],
    ids=lambda fault: (
        "-".join(str(fault[key]) for key in ("kind", "status") if key in fault)
        + ("-after" if "headers" in fault else "")
    ),
)
def test_whatever_goes_wrong_once_every_pair_is_judged(
    server: JudgeServer, store: CompletionStore, fault: dict[str, Any]
) -> None:
    server.script(faults=[fault | {"share": 0.3}])
    jobs = [job(pairs(20))]
    done = judge(jobs, config(server.judge(timeout=2.5)), store, offline=True)
    assert statuses(done.judgements) == {"judged": 40}
    for one in preferences(done.judgements):
        number = int(one.sample_id[1:])
        assert one.outcome == ("base" if number % 2 else "tuned")
    told = server.calls()
    # A call that hangs past the client's patience is answered to nobody.
    extra = 0 if fault["kind"] in ("trickle", "fence") else sum(told["asked"].values()) - 40
    assert sum(told["asked"].values()) == 40 + extra
    assert fault["kind"] in ("trickle", "fence") or extra > 3


def test_what_always_fails_is_an_error_of_its_sample_alone(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(
        faults=[
            {"kind": "status", "status": 500, "match": "s0001", "times": -1},
            {"kind": "trickle", "seconds": 30.0, "match": "s0002", "times": -1},
        ]
    )
    how = config(server.judge(timeout=2.5, max_retries=1))
    done = judge([job(pairs(6))], how, store, offline=True)
    errors = {one.sample_id: one.error for one in done.judgements if one.status == "error"}
    assert sorted(errors) == ["s0001", "s0002"]
    assert "500: something went wrong" in errors["s0001"]
    assert "no answer within 2.5 s" in errors["s0002"]
    assert statuses(done.judgements) == {"judged": 8, "error": 4}
    server.script()
    again = judge([job(pairs(6))], how, store, offline=True)
    assert statuses(again.judgements) == {"judged": 12}
    assert sum(server.calls()["asked"].values()) == 4, "failures alone are asked again"


def test_a_judge_that_is_refused_ends_the_judging_with_its_words(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(faults=[{"kind": "status", "status": 401, "message": "bad key", "times": -1}])
    with pytest.raises(ModelError, match=r"scripted: .*refuses the key .*bad key"):
        judge([job(pairs(3))], config(server.judge()), store, offline=True)


def test_a_judge_that_answers_no_call_at_all_is_no_judge(
    server: JudgeServer, store: CompletionStore
) -> None:
    fault = {"kind": "status", "status": 400, "message": "too long", "times": -1}
    server.script(faults=[fault])
    with pytest.raises(ModelError, match=r"not one call could be answered.*too long"):
        judge([job(pairs(3))], config(server.judge()), store, offline=True)


def test_ratings_are_expected_values_where_the_endpoint_tells_probabilities(
    server: JudgeServer, store: CompletionStore
) -> None:
    jobs = [job([graded("up", 2, 4)], protocol="pointwise")]
    done = judge(jobs, config(server.judge()), store, offline=True)
    assert values(done.judgements) == {
        ("up", "base"): pytest.approx(0.75 * 2 + 0.25 * 1, abs=1e-3),
        ("up", "tuned"): pytest.approx(0.75 * 4 + 0.25 * 3, abs=1e-3),
    }
    body = server.calls()["bodies"][0]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)


def test_ratings_are_the_written_ones_where_it_does_not(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(logprobs=False)
    ear = Ear()
    jobs = [job([graded("up", 2, 4), graded("down", 5, 1)], protocol="pointwise")]
    done = judge(jobs, config(server.judge()), store, offline=True, progress=ear)
    assert values(done.judgements) == {
        ("up", "base"): 2.0, ("up", "tuned"): 4.0, ("down", "base"): 5.0, ("down", "tuned"): 1.0,
    }  # fmt: skip
    assert len([one for one in ear.heard if "probabilities of tokens" in one]) == 1


def test_a_style_rubric_is_judged_again_without_markup_where_that_changes_anything(
    server: JudgeServer, store: CompletionStore
) -> None:
    plain = matter("plain", "no dress: quality 2", "nor here: quality 3")
    dressed = matter("dressed", "no dress: quality 2", "🙂 **bold**: quality 3")
    jobs = [job([plain, dressed], rubric="rednote"), job([plain], suite="other")]
    done = judge(jobs, config(server.judge(), strip=True), store, offline=True)
    again = [one for one in done.judgements if one.stripped]
    assert [(one.suite, one.sample_id) for one in again] == [
        (SUITE, "plain"), (SUITE, "plain"), (SUITE, "dressed"), (SUITE, "dressed"),
    ]  # fmt: skip
    assert all(one.value == 1.0 for one in again)
    assert sum(server.calls()["asked"].values()) == 4 + 2 + 2, "the plain pair's stay the same"
    shown = [body["messages"][1]["content"] for body in server.calls()["bodies"]]
    assert sum("🙂 **bold**" in one for one in shown) == 2
    assert sum("🙂" not in one and "\nbold: quality 3" in one for one in shown) == 2


def test_repeats_are_drawn_anew_and_seeded(server: JudgeServer, store: CompletionStore) -> None:
    how = config(server.judge(), repeat=3, temperature=0.7, seed=11)
    done = judge([job(pairs(2))], how, store, offline=True)
    assert Counter(one.repeat for one in done.judgements) == {0: 4, 1: 4, 2: 4}
    assert len({one.key for one in done.judgements}) == 12
    bodies = server.calls()["bodies"]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert len({body["seed"] for body in bodies}) == 3


def test_jurors_are_asked_one_after_the_other_and_keep_their_names(
    server: JudgeServer, store: CompletionStore
) -> None:
    jury = config(server.judge("one", model="small"), server.judge("two", model="large"))
    ear = Ear()
    done = judge([job(pairs(3))], jury, store, offline=True, progress=ear)
    assert Counter(one.judge for one in done.judgements) == {"one": 6, "two": 6}
    assert {name: spent.calls for name, spent in done.spent.items()} == {"one": 6, "two": 6}
    assert ear.totals == ear.steps
    assert list(ear.totals) == [f"{name} · {SUITE} · helpful" for name in ("one", "two")]


def test_a_position_bias_is_found_at_its_planted_size(
    server: JudgeServer, store: CompletionStore
) -> None:
    from evalkit.judges.health import judge_health

    server.script(first=0.4)
    jobs = [job(pairs(150))]
    done = judge(jobs, config(server.judge(concurrency=32)), store, offline=True)
    matters = {one.sample_id: one for one in jobs[0].matters}
    health = judge_health("scripted", "judge", "x", done.judgements, matters)
    assert health.first_wins is not None
    assert health.first_wins.low is not None
    assert health.first_wins.high is not None
    # Where it does not take the first outright, each answer is first in one of two orders.
    assert health.first_wins.low < 0.4 + 0.6 * 0.5 < health.first_wins.high
    assert health.first_wins.low > 0.5
    assert health.flips is not None
    assert health.flips.low is not None
    assert health.flips.high is not None
    assert health.flips.low < 0.4 < health.flips.high


def test_a_length_bias_is_found_at_its_planted_size(
    server: JudgeServer, store: CompletionStore
) -> None:
    from evalkit.judges.health import judge_health

    server.script(longer=0.5)
    # Which answer is the better one has nothing to do with which is the longer one.
    matters = [
        matter(
            f"s{n:04}",
            f"Of {n}: quality 3 " + "word " * (30 if n // 2 % 2 else 10),
            f"Of {n}: quality {5 if n % 2 else 1} " + "word " * (10 if n // 2 % 2 else 30),
        )
        for n in range(200)
    ]
    done = judge([job(matters)], config(server.judge(concurrency=32)), store, offline=True)
    by_id = {one.sample_id: one for one in matters}
    health = judge_health("scripted", "judge", "x", done.judgements, by_id)
    assert health.longer_wins is not None
    assert health.longer_wins.low is not None
    assert health.longer_wins.high is not None
    assert health.longer_wins.low < 0.5 + 0.5 * 0.5 < health.longer_wins.high
    assert health.longer_wins.low > 0.5
    assert health.length_coefficient is not None
    assert health.length_coefficient.low is not None
    assert health.length_coefficient.low > 0


def test_an_estimate_is_what_is_then_asked(server: JudgeServer, store: CompletionStore) -> None:
    jobs = [job(pairs(4), rubric="rednote"), job(pairs(2), protocol="pointwise", suite="other")]
    how = config(server.judge(price_in=1.0, price_out=10.0), strip=True, probes="refuse")
    (told,) = estimate(jobs, how, store, offline=True)
    assert sum(server.calls()["asked"].values()) == 0
    done = judge(jobs, how, store, offline=True)
    spent = done.spent["scripted"]
    assert told.calls - told.stored == spent.calls == sum(server.calls()["asked"].values())
    assert told.calls == 24 + 8 + 8 + 4
    assert 0.5 < told.tokens_in / spent.tokens_in < 2
    assert told.tokens_out == spent.calls * 768 > spent.tokens_out
    assert told.cost == pytest.approx((told.tokens_in + 10 * told.tokens_out) / 1e6)
    (after,) = estimate(jobs, how, store, offline=True)
    assert (after.calls, after.stored, after.cost) == (told.calls, told.calls, 0.0)


def test_money_without_a_price_is_refused_before_anything_is_asked(
    server: JudgeServer, store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-real")
    remote = server.judge()
    model = remote.model.model_copy(update={"base_url": "https://judge.example/v1"})
    how = config(remote.model_copy(update={"model": model}), budget={"money": 1.0})
    with pytest.raises(UsageError, match=r"budget\.money: what 'scripted' costs is not known"):
        judge([job(pairs(1))], how, store, offline=False)


def test_what_a_judge_thinks_is_no_verdict(server: JudgeServer, store: CompletionStore) -> None:
    thought = '<think>{"verdict": "worse"}? No:</think>{"rationale": "so", "verdict": "better"}'
    server.script(faults=[{"kind": "say", "text": thought, "times": -1}])
    done = judge([job(pairs(1))], config(server.judge(reasoning=True)), store, offline=True)
    assert values(done.judgements) == {("s0000", "base_first"): 0.0, ("s0000", "tuned_first"): 1.0}
    assert {one.rationale for one in done.judgements} == {"so"}


def test_a_judge_that_never_stops_thinking_is_not_asked_to_think_again(
    server: JudgeServer, store: CompletionStore
) -> None:
    endless = {"kind": "say", "text": "<think>well, and", "reason": "length", "times": -1}
    server.script(faults=[endless])
    done = judge([job(pairs(1))], config(server.judge(reasoning=True)), store, offline=True)
    assert statuses(done.judgements) == {"unparsed": 2}
    assert done.spent["scripted"].calls == 2


def test_conversations_are_shown_turn_by_turn_and_judged_once(
    server: JudgeServer, store: CompletionStore
) -> None:
    one = graded("talk", 2, 7)
    talk = replace(one, then=("And after that?",), base=(*one.base, "Nothing: quality 2."),
                   tuned=(*one.tuned, "A lot: quality 7."))  # fmt: skip
    done = judge([job([talk], rubric="chat")], config(server.judge()), store, offline=True)
    assert values(done.judgements) == {("talk", "base_first"): 1.0, ("talk", "tuned_first"): 1.0}
    shown = server.calls()["bodies"][0]["messages"][1]["content"]
    assert "And after that?" in shown
    assert "answer-2-turn-2-" in shown


def test_a_reference_is_shown_where_the_rubric_goes_by_one(
    server: JudgeServer, store: CompletionStore
) -> None:
    known = replace(graded("ref", 2, 7), reference="Only this is right.")
    judge([job([known], rubric="faithful")], config(server.judge()), store, offline=True)
    judge([job([known], rubric="funny")], config(server.judge()), store, offline=True)
    shown = [body["messages"][1]["content"] for body in server.calls()["bodies"]]
    assert ["Only this is right." in one for one in shown] == [True, True, False, False]


def test_what_two_arms_share_is_asked_and_estimated_once_also_when_fresh(
    server: JudgeServer, store: CompletionStore
) -> None:
    """Pointwise, the base's three ratings are the same question for both tuned arms."""
    arms = [[graded(f"s{n}", 3, quality) for n in range(3)] for quality in (2, 4)]
    how = config(server.judge())
    for arm in arms:
        judge([job(arm, protocol="pointwise")], how, store, offline=True)
    server.script()
    seen: set[str] = set()
    now: set[str] = set()
    for number, arm in enumerate(arms):
        jobs = [job(arm, protocol="pointwise")]
        (told,) = estimate(jobs, how, store, offline=True, fresh=True, seen=seen)
        assert (told.calls, told.stored) == (6, 3 * number)
        done = judge(jobs, how, store, offline=True, fresh=True, now=now)
        assert done.spent["scripted"].calls == told.calls - told.stored
    assert set(server.calls()["answered"].values()) == {1}
