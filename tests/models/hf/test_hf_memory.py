"""Memory: what a batch may hold, and what happens when it held too much."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.errors import ModelError
from evalkit.models.hf import caches, decoding, memory, scoring
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.estimate import Shape, weights_bytes
from evalkit.models.hf.loading import Placement
from evalkit.models.hf.memory import (
    _MALLOC_VARIABLES,
    _of_glibc,
    default_budget,
    free_bytes,
)
from evalkit.models.hf.network import next_logits
from evalkit.records import Decoding
from tests.models.hf.tiny_models import Tiny, answers, likelihood, open_arms, writing

ARMS = ("base", "tuned")
TEXTS = [f"{word} {number}, what is {number}?" for number in range(4)
         for word in ("Six", "The lazy dog", "北京")]  # fmt: skip


def test_what_fits_decides_where_it_is_less_than_what_is_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("evalkit.models.hf.memory.free_bytes", lambda _: 4 * 2**30)
    small, large = (default_budget(cpu, None, size, 2**30) for size in (46_080, 524_288))
    assert small.score_tokens == large.score_tokens == 1536
    assert small.decode_tokens == 0.25 * 3 * 2**30 // 46_080 > large.decode_tokens
    tight = default_budget(cpu, None, 524_288, 4 * 2**30 - 2**29)
    assert tight.score_tokens == tight.decode_tokens == 256
    assert default_budget(cpu, 300, 46_080, 0).score_tokens == 300


_FAULTS = """
import ctypes, resource, torch
from evalkit.models.hf.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        some = [torch.ones(2_000_000) for _ in range(4)]
        del some
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, of which a few would do for all
for threshold in (-1, -3):  # glibc's first ones; it raises them as it sees larger blocks
    ctypes.CDLL(None).mallopt(threshold, 128 * 1024)
{then}
faults()
print(faults())
"""


@pytest.mark.parametrize(
    ("then", "users", "kept"),
    [
        ("", {}, False),
        ("keep_freed()", {}, True),
        ("keep_freed()", {"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
    ],
)
def test_memory_that_tensors_give_back_is_used_again_unless_the_user_has_set_that(
    then: str, users: dict[str, str], kept: bool
) -> None:
    if _of_glibc("mallopt") is None:
        pytest.skip("not glibc")
    given = {name: value for name, value in os.environ.items() if name not in _MALLOC_VARIABLES}
    found = subprocess.run(
        [sys.executable, "-c", _FAULTS.replace("{then}", then)],
        env=given | users,
        capture_output=True,
        text=True,
        check=True,
    )
    pages = 5 * 4 * 2_000_000 * 4 // 4096
    assert (int(found.stdout) < pages // 10) == kept
    assert kept or int(found.stdout) > pages // 2


GIB = 2**30


@pytest.mark.parametrize(
    ("own", "groups", "left"),
    [
        ("0::/\n", {"": ("max", 3 * GIB, 0)}, None),
        ("0::/\n", {"": (4 * GIB, 3 * GIB, GIB // 2)}, 1.5 * GIB),
        # A job of a batch system: its step has no limit of its own, the job has.
        (
            "0::/job_7/step_0\n",
            {"job_7": (4 * GIB, GIB, 0), "job_7/step_0": ("max", GIB, 0)},
            3 * GIB,
        ),
        ("0::/a/b\n", {"": ("max", 0, 0), "a": (8 * GIB, GIB, 0), "a/b": (2 * GIB, GIB, 0)}, GIB),
        ("12:cpu,cpuacct:/x\n9:memory:/x\n", {"memory/x": (2 * GIB, GIB, 0)}, GIB),
        # Version 1 in a container: the path is the host's, and the root shows the container's own.
        ("9:memory:/docker/f00\n", {"memory": (2 * GIB, GIB, 0)}, GIB),
        ("0::/\n", {"": (GIB, 2 * GIB, 0)}, 0),
    ],
)
def test_limits_of_containers_and_jobs_count(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    groups: dict[str, tuple[int | str, int, int]],
    left: float | None,
) -> None:
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    for name, (limit, used, idle) in groups.items():
        folder = tmp_path / "groups" / name
        folder.mkdir(parents=True, exist_ok=True)
        old = name.startswith("memory")
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(f"{limit}\n")
        (folder / ("memory.usage_in_bytes" if old else "memory.current")).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {idle}\nactive_file 7\n")
    machine = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: machine)
    assert free_bytes(torch.device("cpu")) == (64 * GIB if left is None else left)


def test_a_system_without_control_groups_has_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=3 * GIB))
    assert free_bytes(torch.device("cpu")) == 3 * GIB


class Narrow:
    """Stands before a function and runs out of memory whenever it is given too much."""

    def __init__(self, real: Callable[..., Any], most: int, size: Callable[..., int]) -> None:
        self.real, self.most, self.size = real, most, size
        self.sizes: list[int] = []
        self.failures = 0

    def __call__(self, *given: Any) -> Any:
        size = self.size(*given)
        if size > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(size)
        return self.real(*given)


def _lanes(_network: Any, lanes: Sequence[Any], *_: Any) -> int:
    return len(lanes)


def _rows(_network: Any, _desk: Any, lengths: Sequence[int], *_: Any) -> int:
    return len(lengths)


def test_scoring_that_runs_out_of_memory_is_halved_and_repeats_nothing(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [likelihood(text, choice, arm) for arm in ARMS for text in TEXTS
                for choice in (" A", " the lazy dog.")]  # fmt: skip
    expected = answers(open_arms(tiny()), requests)
    narrow = Narrow(scoring.score_lanes, 2, _lanes)
    monkeypatch.setattr(scoring, "score_lanes", narrow)
    got = answers(open_arms(tiny()), requests)
    assert narrow.failures > 0
    assert sum(narrow.sizes) == 2 * len(TEXTS), "each row once, on one forward that went through"
    for one, other in zip(got, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


SHOT = "What is A? A is B.\n"
NESTED = [SHOT * 2 + f"{a} {b}? It is" for a in "AB" for b in range(50)] + [
    SHOT * 4 + f"{a} {b}" for a in ("the dog", "北京") for b in range(50)
]
"""Questions on a start, and more on a longer one that begins with it."""
ENDS = (" A", "北京", " the dog")


def test_starts_that_fill_the_memory_are_given_back_before_less_is_read_at_a_time(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [likelihood(text + end, " fox") for text in NESTED for end in ENDS]
    expected = answers(open_arms(tiny(), batch_tokens=64), requests)
    engine = open_arms(tiny(), batch_tokens=64)
    assert isinstance(engine, HFEngine)
    before = engine._answering.budget

    def kept(*_: Any) -> int:
        assert engine._loaded is not None
        return len(engine._loaded.trunks["base"])

    narrow = Narrow(scoring.score_lanes, 1, kept)
    monkeypatch.setattr(scoring, "score_lanes", narrow)
    got = answers(engine, requests)
    assert narrow.failures == 1, "given back once"
    assert engine._answering.budget == before
    for one, other in zip(got, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_next_batch_does_not_try_what_did_not_fit(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [likelihood(text, " A", arm) for arm in ARMS for text in TEXTS]
    narrow = Narrow(scoring.score_lanes, 6, _lanes)
    monkeypatch.setattr(scoring, "score_lanes", narrow)
    answers(open_arms(tiny()), requests)
    assert narrow.failures > 0
    before = narrow.failures
    engine = open_arms(tiny())
    answers(engine, requests[: len(TEXTS)])
    after = narrow.failures
    answers(engine, requests[len(TEXTS) :])
    assert narrow.failures == after > before


def test_one_text_that_does_not_fit_is_an_error_that_says_what_to_do(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "score_lanes", Narrow(scoring.score_lanes, 0, _lanes))
    with pytest.raises(ModelError, match="does not fit in memory"):
        answers(open_arms(tiny()), [likelihood("The", " A")])


def test_decoding_that_runs_out_of_memory_goes_on_with_half_the_rows_and_loses_no_token(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Decoding(max_new_tokens=14)
    requests = [writing(text[:9], long, arm) for arm in ARMS for text in TEXTS]
    expected = answers(open_arms(tiny()), requests)
    steps = iter(range(10_000))

    def limit(*given: Any) -> int:
        return _rows(*given) if next(steps) > 5 else 0  # at first there is room for all

    narrow = Narrow(next_logits, 3, limit)
    monkeypatch.setattr(decoding, "next_logits", narrow)
    got = answers(open_arms(tiny()), requests)
    assert narrow.failures > 1
    assert max(narrow.sizes) <= 3
    assert [c.text for c in got] == [c.text for c in expected]
    assert [c.token_ids for c in got] == [c.token_ids for c in expected]


def test_room_grows_with_the_texts_and_none_loses_a_token(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where memory runs out while it grows, in the midst of the layers."""
    long = Decoding(max_new_tokens=14)
    requests = [writing(text[:9], long, arm) for arm in ARMS for text in TEXTS]
    expected = answers(open_arms(tiny()), requests)
    monkeypatch.setattr(caches, "_LEAST", 4)
    monkeypatch.setattr(caches, "_MORE", 1.1)
    real, rooms = caches.Places.widen, []

    def widen(place: caches.Places, rows: int, tokens: int, kept: int) -> None:
        rooms.append(tokens)
        if len(rooms) == 8:  # the second of two layers
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(place, rows, tokens, kept)

    monkeypatch.setattr(caches.Places, "widen", widen)
    got = answers(open_arms(tiny()), requests)
    assert len(set(rooms)) > 4
    assert [c.token_ids for c in got] == [c.token_ids for c in expected]


@pytest.mark.parametrize(("rows", "tokens"), [(2, 9), (3, 6), (5, 9)])
def test_rows_that_have_left_give_their_memory_to_longer_ones(rows: int, tokens: int) -> None:
    """Two rows of five stay: where the memory is enough, in it, and nowhere else."""
    held = torch.randn(2, 3, 4, 8)
    old = torch.zeros(5, 3, 4, 8)
    old[:2] = held
    new = caches._relaid(old, rows, tokens, kept=2)
    assert new.shape == (rows, 3, tokens, 8)
    assert torch.equal(new[:2, :, :4], held)
    assert (new.data_ptr() == old.data_ptr()) is (rows * tokens <= 5 * 4)
    again = caches._relaid(new[:2], 2, 10, kept=2)  # a part of the memory knows all of it
    assert (again.data_ptr() == new.data_ptr()) is (max(rows * tokens, 5 * 4) >= 2 * 10)
    assert torch.equal(again[:2, :, :4], held)


@pytest.mark.parametrize(
    ("module", "name"),
    [(decoding, "next_logits"), (decoding, "choose"), (caches.Desk, "put")],
)
def test_texts_that_share_starts_are_decoded_though_only_one_of_these_fits(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """Wherever in a turn memory runs out: what is half done is done again."""
    short = Decoding(max_new_tokens=3)
    requests = [writing(text, short) for text in [*NESTED[:12], *NESTED[-12:]]]
    expected = answers(open_arms(tiny()), requests)
    engine = open_arms(tiny())
    assert isinstance(engine, HFEngine)

    def kept(*_: Any) -> int:
        assert engine._loaded is not None
        return len(engine._loaded.trunks["base"])

    narrow = Narrow(getattr(module, name), 1, kept)
    monkeypatch.setattr(module, name, lambda *given: narrow(*given))  # a method is bound
    got = answers(engine, requests)
    assert 1 <= narrow.failures <= 5, "places are halved each time, until one start is enough"
    assert [c.text for c in got] == [c.text for c in expected]


def test_memory_that_runs_out_while_rows_are_seated_decodes_no_text_twice(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [writing(text, arm=arm) for arm in ARMS for text in TEXTS]
    expected = answers(open_arms(tiny()), requests)
    real, failing = caches.Desk.put, iter([False, True, True, False, True])

    def put(*given: Any) -> None:
        if next(failing, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(*given)

    monkeypatch.setattr(caches.Desk, "put", put)
    engine = open_arms(tiny())
    (batch,) = engine.batches(engine.prepare(requests))
    got = list(engine.complete(batch))
    assert sorted(one.key for one in got) == sorted(one.key for one in batch)
    texts = {one.key: one.text for one in got}
    prepared = engine.prepare(requests)
    assert [texts[one.key] for one in prepared] == [one.text for one in expected]


def test_a_text_that_is_written_alone_and_does_not_fit_is_an_error_that_says_what_to_do(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(*_: Any) -> Iterator[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(decoding, "alone", alone)
    with pytest.raises(ModelError, match="Not even one text at a time fits"):
        answers(open_arms(tiny("bloom")), [writing("The")])


def test_prompts_of_uneven_length_are_read_together(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one row without padding: the longest does not say how many fit."""
    real, read = decoding.Decoder._read, []

    def noted(decoder: Any, arm: Any, start: Any, rows: Any, by_text: Any) -> torch.Tensor:
        read.append([len(lane) for lane in by_text.values()])
        return real(decoder, arm, start, rows, by_text)

    monkeypatch.setattr(decoding.Decoder, "_read", noted)
    prompts = ["the lazy dog and the fox " * 2, "A fox is B", "The dog is A", "Six is B"]
    engine = open_arms(tiny())
    assert isinstance(engine, HFEngine)
    engine._answering.budget = replace(engine._answering.budget, score_tokens=64)
    answers(engine, [writing(text) for text in prompts])
    assert [len(sizes) for sizes in read] == [len(prompts)]
    assert max(read[0]) * len(prompts) > 64 >= sum(read[0])


def test_closing_gives_the_weights_back(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    answers(engine, [likelihood("The", " A", arm) for arm in ARMS])
    assert isinstance(engine, HFEngine)
    assert engine._loaded is not None
    layers = [weakref.ref(one) for one in engine._loaded.networks["tuned"].model.modules()]
    gc.disable()  # it is not chance that collects them
    try:
        engine.close()
        assert not [one for layer in layers if (one := layer()) is not None]
    finally:
        gc.enable()


def test_quantised_weights_leave_the_room_they_save(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(weights=8_000, body=6_000, head=2_000, looking=64, width=64)
    places = {
        name: Placement(
            device=torch.device("cpu"), dtype=torch.bfloat16, quantization=name,
            spread=False,
        )
        for name in ("none", "int8", "nf4")
    }  # fmt: skip
    needed = [weights_bytes(shape, place) for place in places.values()]
    assert needed == [16_000, 8_800, 4_800]


def test_a_caller_who_stops_listening_leaves_the_engine_usable(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    requests = [writing(text, arm=arm) for arm in ARMS for text in TEXTS]
    (batch,) = engine.batches(engine.prepare(requests))
    listening: Iterator[Any] = engine.complete(batch)
    next(listening)
    listening.close()  # type: ignore[attr-defined]
    again = {c.key: c.text for c in engine.complete(batch)}
    expected = [c.text for c in answers(open_arms(tiny()), requests)]
    assert [again[one.key] for one in engine.prepare(requests)] == expected
