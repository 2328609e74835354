"""A dry run says what would be asked, what of it computed, and for about how long."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from evalkit.evaluate import SuitePlan
from evalkit.models.base import Outline
from reports.machine import plan_json
from reports.plan import add_up, print_plan

PART = SuitePlan(arm="base", suite="s", samples=3, requests=12, tokens=90, new_tokens=0, stored=4)
COSTS = [PART, replace(PART, arm="tuned")]
LOCAL = Outline(
    arms=("base", "tuned"), requests=16, tokens=73_000, unique_tokens=4_100, packets=9, seconds=95.0
)
REMOTE = Outline(arms=("server",), requests=8, packets=8)


def _printed(outlines: Sequence[Outline], notes: Sequence[str] = ()) -> str:
    stream = io.StringIO()
    print_plan(COSTS, outlines, notes, Console(file=stream, width=110, markup=False))
    return stream.getvalue()


def test_a_plan_says_how_much_sharing_saves_in_one_line() -> None:
    text = _printed([LOCAL], ["s: 2 samples were left out"])
    assert "Tokens     73,000 tokens asked, 4,100 computed: each shared start once" in text
    assert "Packets    9 forward passes" in text
    assert "Time       about 1 min 35 s at most" in text
    assert "To answer  16 requests" in text
    assert "s: 2 samples were left out" in text


def test_where_nothing_is_shared_nothing_is_said_to_be_saved() -> None:
    alone = replace(LOCAL, tokens=50, unique_tokens=50)
    assert "50 tokens asked, 50 computed: no start is shared" in _printed([alone])


def test_what_a_model_reads_again_is_counted() -> None:
    text = _printed([replace(LOCAL, read_tokens=70_000)])
    said = "73,000 tokens asked, 4,100 unique, 70,000 computed: not every arm can read shared"
    assert said in text


def test_a_time_that_stands_on_an_untried_model_says_so() -> None:
    text = " ".join(_printed([replace(LOCAL, assumed=True)]).split())
    assert "at most, if the model can read shared starts once" in text
    alone = replace(LOCAL, assumed=True, tokens=50, unique_tokens=50)
    assert "at most, if" not in _printed([alone])


def test_a_time_that_nobody_can_know_is_not_made_up() -> None:
    assert "Time       not known for server" in _printed([REMOTE])
    both = _printed([LOCAL, REMOTE])
    assert "about 1 min 35 s at most for the others; not known for server" in both
    assert add_up([LOCAL, REMOTE]).seconds is None


def test_where_all_is_stored_there_is_no_time_to_tell() -> None:
    text = _printed([Outline(arms=("base",), requests=0, seconds=0.0)])
    assert "Time" not in text
    assert "Packets" not in text


def test_a_plan_as_json_adds_up() -> None:
    document = json.loads(plan_json(COSTS, [LOCAL, replace(LOCAL, arms=("other",))]))
    totals = document["totals"]
    assert (totals["requests"], totals["tokens"], totals["stored"]) == (24, 180, 8)
    assert (totals["tokens_asked"], totals["unique_tokens"]) == (146_000, 8_200)
    assert (totals["packets"], totals["seconds"]) == (18, 190.0)
    assert [one["arm"] for one in document["parts"]] == ["base", "tuned"]
    assert document["engines"][0]["arms"] == ["base", "tuned"]
    assert json.loads(plan_json(COSTS, [REMOTE]))["totals"]["seconds"] is None
