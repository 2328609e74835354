"""Which texts of a row share a lane, and where lanes stand that are not padded."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.models.hf.lanes import Span, amount, chain, first_part, lay, parted
from evalkit.models.hf.masks import Layers

LAYERS = Layers(windows={"": None}, additive=False, dtype=torch.float32)
CPU = torch.device("cpu")


def span(prompt: list[int], continuation: int = 1) -> Span:
    return Span(tuple(prompt), (continuation,))


def test_choices_of_one_prompt_share_a_lane() -> None:
    prompt = list(range(150))
    spans = [Span(tuple(prompt), (200 + choice, 7, 8)) for choice in range(4)]
    assert list(parted(spans, 0)) == [spans]


def test_long_texts_with_a_few_tokens_in_common_have_lanes_of_their_own() -> None:
    start = [1, 2, 3, 4, 5, 6, 7, 8]
    spans = [span([*start, *range(100 * n, 100 * n + 140)]) for n in (2, 5, 8)]
    assert list(parted(spans, 0)) == [[one] for one in spans]
    assert list(parted(spans, 4)) == [[one] for one in spans]


def test_short_texts_with_as_many_in_common_do_not() -> None:
    start = [1, 2, 3, 4, 5, 6, 7, 8]
    spans = [span([*start, *range(20 * n, 20 * n + 15)]) for n in (2, 5, 8)]
    assert list(parted(spans, 0)) == [spans]


def test_as_many_lanes_are_taken_as_fit_with_or_without_padding() -> None:
    lanes = [lay([span(list(range(size)))], 0) for size in (60, 5, 5, 5, 60)]
    assert len(first_part(lanes, 75, chained=True)) == 4
    assert len(first_part(lanes, 74, chained=True)) == 3
    assert len(first_part(lanes, 180, chained=False)) == 3
    assert len(first_part(lanes, 179, chained=False)) == 2
    assert len(first_part(lanes, 1, chained=True)) == 1, "what does not fit is tried alone"
    assert amount(lanes[:4], chained=True) == 75
    assert amount(lanes[:4], chained=False) == 240


TEXTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=60), min_size=1, max_size=9)


@given(TEXTS)
def test_no_span_is_lost_and_their_order_stays(texts: list[list[int]]) -> None:
    spans = [span([9, *text]) for text in sorted(texts)]
    assert [one for part in parted(spans, 1) for one in part] == spans


@given(TEXTS)
def test_lanes_one_behind_the_other_have_no_padding(texts: list[list[int]]) -> None:
    spans = [span([9, *text]) for text in sorted(texts)]
    lanes = [lay(part, 1) for part in parted(spans, 1)]
    packed = chain(lanes, LAYERS, CPU)
    assert packed.ids.shape == (1, sum(map(len, lanes)))
    assert packed.places is not None
    for number, lane in enumerate(lanes):
        row, part = packed.part(number, len(lane))
        assert (row, packed.pieces[number].part) == (0, part)
        assert packed.ids[0, part].tolist() == list(lane.ids)
        assert packed.places[0, part].tolist() == list(lane.places)
        rows, columns = packed.where(torch.tensor([number]), torch.tensor([len(lane) - 1]))
        assert (rows.item(), columns.item()) == (0, part.stop - 1)
