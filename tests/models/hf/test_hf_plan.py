"""The plan alone, without a model: what is shared, what lies side by side, what it amounts to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from evalkit.models.base import Batch, Prepared
from evalkit.models.hf.lanes import Span, lay
from evalkit.models.hf.plan import (
    NESTED,
    ROW,
    Budget,
    cut,
    seated,
    starts,
    trunks,
    width,
)
from evalkit.models.hf.prefixes import Prefixes
from evalkit.models.hf.sizes import size
from evalkit.records import Decoding, Request, RequestKind

Ids = tuple[int, ...]
BUDGET = Budget(score_tokens=1024, decode_tokens=4096, decode_rows=8, trunk_tokens=200_000)


def asked(
    prompt: Sequence[int],
    continuation: Sequence[int] = (),
    *,
    arm: str = "base",
    kind: RequestKind = "loglikelihood",
    new: int = 0,
) -> Prepared:
    """A request in tokens, with a key of what it is."""
    decoding = Decoding(max_new_tokens=new) if kind == "generate" else None
    return Prepared(
        key=repr((arm, kind, tuple(prompt), tuple(continuation), new)),
        request=Request(arm=arm, suite="s", sample_id="0", kind=kind, prompt="", decoding=decoding),
        prompt_ids=tuple(prompt),
        continuation_ids=tuple(continuation),
        decoding=decoding,
    )


def few_shot(
    questions: int, *, shots: int = 300, question: int = 20, choice: int = 5, arm: str = "base"
) -> list[Prepared]:
    """Questions of four choices below one few-shot block."""
    rng = random.Random(7)
    block = [rng.randrange(1, 50_000) for _ in range(shots)]
    items = []
    for _ in range(questions):
        own = [rng.randrange(1, 50_000) for _ in range(question)]
        items += [
            asked([*block, *own], [rng.randrange(1, 50_000) for _ in range(choice)], arm=arm)
            for _ in range(4)
        ]
    return items


def nodes(texts: Sequence[Ids]) -> int:
    """Nodes of the prefix tree, counted the slow way."""
    return len({text[:end] for text in texts for end in range(1, len(text) + 1)})


def test_a_few_shot_block_becomes_the_trunk_of_all_its_questions() -> None:
    batches = cut(few_shot(40), [["base"]], BUDGET)
    assert {batch.shared for batch in batches} == {300}
    rows = [row for batch in batches for row in batch.rows]
    assert all(len(row) % 4 == 0 for row in rows), "the choices of a question stay together"
    assert len(rows) == 8, "five questions of 36 tokens fill a row of 192"


def test_a_short_start_that_two_rows_share_is_read_twice() -> None:
    items = [asked([1, 2, 3, 4, *range(n, n + 150)], [7, 8]) for n in (100, 300)]
    assert {batch.shared for batch in cut(items, [["base"]], BUDGET)} == {0}


def test_a_few_questions_on_a_passage_stand_in_one_row_with_it() -> None:
    (batch,) = cut(few_shot(4), [["base"]], BUDGET)
    assert (batch.shared, len(batch.rows)) == (0, 1)


def test_a_subject_within_a_benchmark_has_a_trunk_of_its_own_below_the_common_one() -> None:
    rng = random.Random(1)
    common = [rng.randrange(50_000) for _ in range(100)]
    items = []
    for _ in range(3):
        subject = [rng.randrange(50_000) for _ in range(200)]
        for _ in range(30):
            own = [rng.randrange(50_000) for _ in range(40)]
            items.append(asked([*common, *subject, *own], [1, 2]))
    found = trunks(Prefixes(items, ROW), ROW, 10_000)
    assert [trunk.shared for trunk in found] == [300, 300, 300]
    wanted = sorted(item.prompt_ids for item in items)
    tree = Prefixes(items, ROW)
    hung = [tree.groups[place].prompt for trunk in found for place in trunk.groups]
    assert sorted(hung) == wanted


def test_every_request_is_in_exactly_one_batch_whatever_the_order() -> None:
    items = [
        *few_shot(12),
        *few_shot(12, arm="tuned"),
        *(asked([5, 6], range(n), kind="rolling") for n in range(2, 40, 7)),
        *(asked([1] * 9 + [n], arm=arm, kind="generate", new=n) for n in range(2, 40, 3)
          for arm in ("base", "tuned")),
    ]  # fmt: skip
    batches = cut(items, [["base", "tuned"]], BUDGET)
    shuffled = random.Random(3).sample(items, len(items))
    assert cut(shuffled, [["base", "tuned"]], BUDGET) == batches
    assert sorted(one.key for batch in batches for one in batch) == sorted(i.key for i in items)
    for batch in batches:
        assert len({one.prompt_ids[: batch.shared] for one in batch}) == 1
        assert len({one.request.kind for one in batch}) == 1


def test_both_arms_get_the_same_batches() -> None:
    items = [*few_shot(30), *few_shot(30, arm="tuned")]
    shapes: dict[str, list[list[list[tuple[Ids, Ids]]]]] = {"base": [], "tuned": []}
    for batch in cut(items, [["base", "tuned"]], BUDGET):
        (arm,) = {one.request.arm for one in batch}
        rows = [[(one.prompt_ids, one.continuation_ids) for one in row] for row in batch.rows]
        shapes[arm].append(rows)
    assert shapes["base"] == shapes["tuned"]


def test_a_batch_holds_no_more_than_the_budget_with_its_padding() -> None:
    for batch in cut(few_shot(100, choice=9), [["base"]], BUDGET):
        lanes = [
            lay([Span(one.prompt_ids, one.continuation_ids) for one in row], batch.shared)
            for row in batch.rows
        ]
        assert max(map(len, lanes)) * len(lanes) <= BUDGET.score_tokens


def test_without_padding_a_batch_is_as_full_as_its_tokens_and_none_is_small() -> None:
    budget = replace(BUDGET, padded=False)
    rng = random.Random(3)
    block = [rng.randrange(1, 50_000) for _ in range(300)]
    for questions in (9, 17, 40, 90):
        items = [
            asked([*block, *(rng.randrange(1, 50_000) for _ in range(rng.randrange(20, 120)))], [7])
            for _ in range(questions)
        ]
        tokens = [
            sum(len(one.prompt_ids) - 300 for row in batch.rows for one in row)
            for batch in cut(items, [["base"]], budget)
        ]
        assert max(tokens) <= budget.score_tokens
        assert min(tokens) > 0.6 * max(tokens)
        assert len(tokens) <= len(cut(items, [["base"]], BUDGET))


def test_many_choices_of_one_prompt_are_cut_into_rows_on_it() -> None:
    rng = random.Random(2)
    prompt = [rng.randrange(50_000) for _ in range(250)]
    items = [asked(prompt, [rng.randrange(50_000) for _ in range(30)]) for _ in range(40)]
    batches = cut(items, [["base"]], BUDGET)
    assert {batch.shared for batch in batches} == {249}, "the last token predicts every choice"
    assert max(len(row) for batch in batches for row in batch.rows) <= ROW // 29 + 1


def test_texts_that_share_nothing_are_not_packed() -> None:
    items = [asked([n, n + 1, n + 2], [4, 5]) for n in range(100, 160)]
    for batch in cut(items, [["base"]], BUDGET):
        assert batch.shared == 0
        assert all(len(row) == 1 for row in batch.rows)


def test_arms_stand_side_by_side_where_they_are_decoded_together() -> None:
    items = [
        asked([n, n + 1], arm=arm, kind="generate", new=8)
        for arm in ("base", "tuned")
        for n in (1, 5)
    ]
    (together,) = cut(items, [["base", "tuned"]], BUDGET)
    assert [one.request.arm for one in seated(list(together), {})] == ["base", "tuned"] * 2
    apart = cut(items, [["base"], ["tuned"]], BUDGET)
    assert [{one.request.arm for one in batch} for batch in apart] == [{"base"}, {"tuned"}]


def test_texts_enter_a_desk_by_limit_then_start_then_length() -> None:
    prompts = [(1, 2, 9), (3, 4), (1, 2), (1, 2, 7, 8), (3, 4, 5)]
    items = [asked(prompt, kind="generate", new=8) for prompt in prompts]
    items.append(asked((6,), kind="generate", new=20))
    order = [one.prompt_ids for one in seated(items, dict.fromkeys(prompts, 2))]
    assert order == [(6,), (1, 2, 7, 8), (1, 2, 9), (1, 2), (3, 4, 5), (3, 4)]


def test_texts_of_very_unequal_width_do_not_share_a_desk() -> None:
    items = [asked([1] * n, kind="generate", new=10) for n in (5, 12, 100, 120, 500)]
    widths = [[width(one) for one in batch] for batch in cut(items, [["base"]], BUDGET)]
    assert [sorted(some) for some in widths] == [[510], [110, 130], [15, 22]]


def test_the_size_counts_every_prefix_once_per_arm() -> None:
    items = [*few_shot(15, shots=50), *few_shot(15, shots=50, arm="tuned")]
    batches = cut(items, [["base", "tuned"]], BUDGET)
    got = size(batches, 4096)
    read = {(*one.prompt_ids, *one.continuation_ids[:-1]) for one in items}
    assert got.tokens == sum(len(o.prompt_ids) + len(o.continuation_ids) for o in items)
    assert got.unique == 2 * nodes(sorted(read))
    seen = {text[:end] for text in read for end in range(1, len(text) + 1)}
    assert got.places == 2 * sum(map(len, seen))
    one_whole = size(batches, 4096, {"tuned"})
    alone = [(*o.prompt_ids, *o.continuation_ids[:-1]) for o in items if o.request.arm == "tuned"]
    assert one_whole.tokens == got.tokens
    assert one_whole.unique == got.unique // 2 + sum(map(len, alone))
    assert one_whole.places == got.places // 2 + sum(len(a) * (len(a) + 1) // 2 for a in alone)


def test_what_is_stored_already_leaves_its_batch() -> None:
    (batch,) = cut(few_shot(4), [["base"]], BUDGET)
    known = {one.key for one in list(batch)[:5]}
    left = batch.without(known)
    assert (len(left), left.shared) == (len(batch) - 5, batch.shared)
    assert not Batch.of([]).rows


def test_a_lane_holds_every_token_of_its_tree_once_and_each_sees_its_own_text_alone() -> None:
    rng = random.Random(5)
    for _ in range(50):
        stem = tuple(rng.randrange(3) for _ in range(6))
        texts = sorted({
            stem + tuple(rng.randrange(3) for _ in range(rng.randint(2, 7))) for _ in range(5)
        })  # fmt: skip
        lane = lay([Span(text[:7], (*text[7:], 9)) for text in texts], 4)
        assert len(lane) == nodes([text[4:] for text in texts])
        for text, columns in zip(texts, lane.columns, strict=True):
            end = columns[-1]
            before = range(end + 1) if lane.seen is None else lane.seen[end].nonzero()[0].tolist()
            assert tuple(lane.ids[place] for place in before) == text[4:]
            assert [lane.places[place] for place in before] == list(range(4, len(text)))


def test_prompts_to_go_on_from_share_their_starts_whatever_stands_among_them() -> None:
    rng = random.Random(4)
    block = [rng.randrange(50_000) for _ in range(100)]
    alike = [asked([*block, n, n + 1], kind="generate", new=8) for n in range(20)]
    other = asked([1, 2, 3], kind="generate", new=8)
    found = starts([*alike, other], BUDGET)
    assert {found[one.prompt_ids] for one in alike} == {100}
    assert found[other.prompt_ids] == 0


def test_a_start_always_leaves_each_prompt_a_token() -> None:
    rng = random.Random(6)
    block = tuple(rng.randrange(50_000) for _ in range(200))
    items = [asked(block[:end], [end, 7]) for end in range(100, 200)]
    for batch in cut(items, [["base"]], BUDGET):
        assert batch.shared < min(len(one.prompt_ids) for one in batch)


def test_prompts_that_go_on_from_one_another_nest_only_so_deep() -> None:
    rng = random.Random(8)
    talk = tuple(rng.randrange(50_000) for _ in range(6_000))
    items = [
        asked(talk[:end], [rng.randrange(50_000) for _ in range(3)])
        for end in range(20, 6_000, 20)
        for _ in range(12)
    ]
    batches = cut(items, [["base"]], BUDGET)
    assert sum(map(len, batches)) == len(items)
    assert len({batch.shared for batch in batches if batch.shared}) == NESTED
    narrow = cut(items, [["base"]], replace(BUDGET, trunk_tokens=5_000))
    assert sum(map(len, narrow)) == len(items)
    assert 4_000 < sum({batch.shared for batch in narrow}) <= 5_000, "all lie on one way"
