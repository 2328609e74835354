"""A budget is kept to, whatever the answers turn out to cost, and what was paid stays."""

from __future__ import annotations

from collections import Counter

import pytest

from evalkit.config import Budget
from evalkit.errors import UsageError
from evalkit.judges.asking import judge
from evalkit.judges.budget import Purse, Tokens
from evalkit.models.base import Prepared
from evalkit.records import Completion, Decoding, Message, Request
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, job, pairs
from tests.judges.serving import JudgeServer


def asked(text: str, *, most: int = 100) -> Prepared:
    prompt = (Message(role="user", content=text),)
    request = Request(
        arm="judge", suite="s", sample_id="1", kind="generate", prompt=prompt,
        decoding=Decoding(max_new_tokens=most),
    )  # fmt: skip
    return Prepared(key="k", request=request, decoding=request.decoding)


def said(tokens_in: int, tokens_out: int) -> Completion:
    return Completion(key="k", text="x", tokens_in=tokens_in, tokens_out=tokens_out)


def test_before_there_are_answers_a_byte_may_be_a_token() -> None:
    purse = Purse.of(Budget(tokens=1000))
    assert purse.worst([asked("好" * 100)]) == Tokens(300 + 32, 100)


def test_a_text_is_never_thought_to_have_less_than_twice_the_tokens_of_the_worst_so_far() -> None:
    purse = Purse.of(Budget(tokens=1000))
    purse.pay([asked("a" * 400)], [said(100, 7)])
    assert purse.worst([asked("b" * 400)]) == Tokens(200 + 32, 100)
    purse.pay([asked("c" * 400)], [said(20, 7)])
    assert purse.worst([asked("b" * 400)]) == Tokens(200 + 32, 100)
    assert (purse.spent_tokens, purse.spent_calls) == (100 + 7 + 20 + 7, 2)


def test_calls_fit_as_long_as_the_worst_of_all_of_them_does() -> None:
    calls = [Tokens(100, 50)] * 10
    assert Purse.of(Budget()).fits(calls) == 10
    assert Purse.of(Budget(tokens=450)).fits(calls) == 3
    assert Purse.of(Budget(tokens=449)).fits(calls) == 2
    assert Purse.of(Budget(calls=4)).fits(calls) == 4
    priced = Purse.of(Budget(money=0.001)).share(1, price_in=1.0, price_out=2.0)
    assert priced.fits(calls) == 5  # 200 millionths each


def test_what_an_endpoint_does_not_tell_counts_at_the_worst() -> None:
    purse = Purse.of(Budget(tokens=1000))
    assert purse.pay([asked("a" * 68)], [said(0, 0)])
    assert purse.spent_tokens == 68 + 32 + 100


def test_judges_share_what_is_left() -> None:
    whole = Purse.of(Budget(calls=90, tokens=9000, money=3.0))
    first = whole.share(3)
    assert (first.calls, first.tokens, first.money) == (30, 3000, 1.0)
    first.spent_calls, first.spent_tokens, first.spent_money = 10, 1000, 0.5
    whole.take(first)
    second = whole.share(2)
    assert (second.calls, second.tokens, second.money) == (40, 4000, 1.25)


def test_calls_end_with_whole_pairs_and_go_on_where_they_ended(
    server: JudgeServer, store: CompletionStore
) -> None:
    jobs = [job(pairs(20))]
    done = judge(jobs, config(server.judge(), budget={"calls": 13}), store, offline=True)
    assert Counter(one.status for one in done.judgements) == {"judged": 12, "unasked": 28}
    both = Counter(one.sample_id for one in done.judgements if one.status == "judged")
    assert set(both.values()) == {2}
    assert done.spent["scripted"].calls == 12
    (note,) = done.notes
    assert "28 calls were not asked" in note
    assert "Raise it and run the same command to go on" in note
    again = judge(jobs, config(server.judge(), budget={"calls": 28}), store, offline=True)
    assert Counter(one.status for one in again.judgements) == {"judged": 40}
    assert again.notes == ()
    assert sorted(server.calls()["asked"].values()) == [1] * 40, "what was judged costs nothing"


@pytest.mark.parametrize("latency", [0.0, 0.01])
def test_tokens_are_never_overspent_and_little_is_left(
    server: JudgeServer, store: CompletionStore, latency: float
) -> None:
    server.script(latency=latency)
    told = server.judge(max_new_tokens=200, concurrency=16)
    done = judge([job(pairs(100))], config(told, budget={"tokens": 40_000}), store, offline=True)
    spent = done.spent["scripted"]
    assert 37_000 < spent.tokens_in + spent.tokens_out <= 40_000
    statuses = Counter(one.status for one in done.judgements)
    assert statuses["judged"] == spent.calls == 200 - statuses["unasked"]


def test_money_is_never_overspent(server: JudgeServer, store: CompletionStore) -> None:
    told = server.judge(max_new_tokens=200, price_in=2.0, price_out=8.0)
    done = judge([job(pairs(60))], config(told, budget={"money": 0.05}), store, offline=True)
    spent = done.spent["scripted"]
    assert spent.cost is not None
    assert 0.04 < spent.cost <= 0.05
    assert spent.cost == pytest.approx((2 * spent.tokens_in + 8 * spent.tokens_out) / 1e6)
    assert any(one.status == "unasked" for one in done.judgements)


def test_where_nothing_is_told_of_tokens_the_cost_is_unknown_and_not_nothing(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(usage=False)
    told = server.judge(price_in=2.0, price_out=8.0)
    done = judge([job(pairs(60))], config(told, budget={"tokens": 50_000}), store, offline=True)
    assert done.spent["scripted"].cost is None
    assert any("does not tell how many tokens" in note for note in done.notes)
    assert any(one.status == "unasked" for one in done.judgements)


def test_repairs_are_paid_from_the_budget_too(server: JudgeServer, store: CompletionStore) -> None:
    server.script(faults=[{"kind": "fields", "times": -1}])
    done = judge([job(pairs(3))], config(server.judge(), budget={"calls": 8}), store, offline=True)
    assert Counter(one.status for one in done.judgements) == {"unparsed": 6}
    assert done.spent["scripted"].calls == sum(server.calls()["asked"].values()) == 8


def test_a_jury_shares_the_budget(server: JudgeServer, store: CompletionStore) -> None:
    jury = config(server.judge("one"), server.judge("two", model="other"), budget={"calls": 20})
    done = judge([job(pairs(20))], jury, store, offline=True)
    assert {name: spent.calls for name, spent in done.spent.items()} == {"one": 10, "two": 10}


def test_a_budget_that_does_not_pay_for_the_probes_is_a_mistake(
    server: JudgeServer, store: CompletionStore
) -> None:
    how = config(server.judge(), budget={"calls": 20}, probes="refuse")
    with pytest.raises(UsageError, match=r"does not pay for the known-answer probes.*24 calls"):
        judge([job(pairs(2))], how, store, offline=True)
