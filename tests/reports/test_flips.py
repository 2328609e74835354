"""Flips and slices in words."""

from __future__ import annotations

import pytest

from evalkit.records import Delta, Metric
from reports.flips import better_and_worse, flips_text, nats, p_text, slices_text, stands_out


def _delta(
    *,
    higher: bool = True,
    slice_: str = "",
    adjusted_p: float | None = None,
    changed: int | None = None,
    divergence: float | None = None,
) -> Delta:
    return Delta(
        suite="knowledge/tiny",
        metric=Metric(name="accuracy", kind="binary", higher_is_better=higher),
        slice=slice_,
        base=0.5,
        tuned=0.525,
        difference=0.025,
        low=-0.01,
        high=0.06,
        n=200,
        gained=9,
        lost=4,
        adjusted_p=adjusted_p,
        changed=changed,
        divergence=divergence,
    )


def test_a_choice_is_told_with_its_other_mistakes() -> None:
    assert flips_text(_delta(changed=11, divergence=0.0312)) == (
        "of 200: 9 newly right, 4 newly wrong, 11 wrong in another way; the choices' probabilities "
        "moved by 0.031 nats on average"
    )
    assert "wrong in another way" not in flips_text(_delta(divergence=0.5))


def test_other_answers_get_better_and_worse_whichever_way_is_better() -> None:
    assert flips_text(_delta()) == "of 200: 9 better, 4 worse"
    assert flips_text(_delta(higher=False)) == "of 200: 4 better, 9 worse"
    assert better_and_worse(_delta(higher=False)) == (4, 9)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (1e-5, "less than 0.001"), (0.0312, "0.031"), (12.345, "12.35")],
)
def test_a_small_divergence_is_not_said_to_be_none(value: float, text: str) -> None:
    assert nats(value) == text


def test_a_p_is_never_zero() -> None:
    assert [p_text(p) for p in (None, 1e-9, 0.0214)] == ["–", "< 0.001", "0.021"]


def test_only_slices_that_stand_among_all_are_pointed_at() -> None:
    ps = [0.05, 0.051, 0.2, None]
    slices = [_delta(slice_=f"t={i}", adjusted_p=p) for i, p in enumerate(ps)]
    assert [stands_out(one) for one in slices] == [True, False, False, False]
    assert slices_text(slices).endswith(
        "Of 3 weighed together (Benjamini–Hochberg, 5 %), 1 stands out (★)."
    )
    assert slices_text(slices[1:]).endswith("none stands out.")
    assert slices_text(slices[3:]).endswith("some differ by chance.")
