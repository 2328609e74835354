"""The statistics stay fast: what `benchmarks.statistics` measures, with slack."""

from __future__ import annotations

import pytest

from benchmarks.paired import SHAPES, TWENTY, measure


def _seconds(samples: int, name: str) -> float:
    return sum(one.join + one.deltas for one in measure(samples, {name: 1}))


@pytest.mark.slow
def test_twenty_suites_of_a_hundred_thousand_samples_take_seconds() -> None:
    each = {name: _seconds(100_000, name) for name in TWENTY}
    assert sum(times * each[name] for name, times in TWENTY.items()) < 40  # 20 on an idle machine


@pytest.mark.slow
@pytest.mark.parametrize("name", [shape.name for shape in SHAPES])
def test_ten_times_the_samples_take_about_ten_times_as_long(name: str) -> None:
    small, large = _seconds(20_000, name), _seconds(200_000, name)
    assert large < 25 * max(small, 0.05)
