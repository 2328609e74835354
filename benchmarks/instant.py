"""Plans and stores without a model: what comes before and after the answers, for `growth`.

The engine is the local one in all but `complete`, which makes its answers up; requests, tokens,
keys, batches and the store are the real ones.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.config import HFModel, RunConfig
from evalkit.harnesses.base import Suite
from evalkit.models.base import Batch
from evalkit.models.hf.engine import HFEngine
from evalkit.planning import Plan, make_plan, uncollected
from evalkit.progress import Silent
from evalkit.records import Completion, Metric, Sample, SuiteInfo
from evalkit.store.completions import CompletionStore

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHOICES = 4
ARMS = ("base", "tuned")
EXAMPLES = 5
_PUT = 20_000  # completions a transaction holds
WORDS = [
    "the", "of", "and", "to", "in", "is", "for", "on", "that", "by", "this", "with", "river",
    "mountain", "which", "city", "lies", "oldest", "known", "century", "first", "king",
    "painter", "wrote", "famous", "bridge", "planet", "metal", "element", "largest", "between",
    "islands", "language", "spoken", "northern", "people", "music", "invented", "animal",
    "lives", "longest", "winter", "capital",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one number of requests cost; memory is the process's peak so far."""

    requests: int
    prompts: int
    tokens: int
    plan_seconds: float
    cut_seconds: float
    plan_peak_bytes: int
    put_seconds: float
    known_seconds: float
    get_seconds: float
    store_bytes: int
    peak_bytes: int = 0


class Instant(HFEngine):
    """The local engine with answers that are made up: all that is measured comes before them."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        # The second arm stands for an adapter on the base: its answers have keys of their own.
        self._identities = {
            arm: {**identity, "adapter": arm} for arm, identity in self._identities.items()
        }

    def complete(self, batch: Batch) -> Iterator[Completion]:
        """One made-up logarithm for each token."""
        for item in batch:
            draw = random.Random(item.key)
            yield Completion(
                key=item.key,
                token_ids=item.continuation_ids,
                logprobs=tuple(-draw.expovariate(0.5) for _ in item.continuation_ids),
                is_greedy=draw.random() < 0.5,
                tokens_in=len(item.prompt_ids),
                tokens_out=len(item.continuation_ids),
            )


def make_suite(questions: int) -> Suite:
    """Questions of about 25 tokens after worked examples that all of them share."""
    draw = random.Random(questions)

    def words(count: int) -> str:
        return " ".join(draw.choices(WORDS, k=count))

    shots = "".join(f"Question: {words(22)}?\nAnswer: {words(2)}\n\n" for _ in range(EXAMPLES))
    samples = tuple(
        Sample(
            id=f"q{number}",
            suite="growth",
            prompt=f"{shots}Question: {words(18)} {number}?\nAnswer:",
            choices=tuple(words(3) for _ in range(CHOICES)),
            answer=0,
        )
        for number in range(questions)
    )
    metric = Metric(name="accuracy", kind="binary")
    info = SuiteInfo(
        name="growth", title="Growth", language="en", task="choice", metric=metric.name,
        metrics=(metric,), fingerprint="", path="", samples=len(samples),
    )  # fmt: skip
    return Suite(info=info, task="choice", samples=samples, scorers=())


def measure(requests: int) -> Growth:
    """Plan this many requests, store an answer to each, ask for all of them again."""
    arm = HFModel(kind="hf", path=BASE)
    configs = [RunConfig(name=name, model=arm, suites=("growth",)) for name in ARMS]
    engine = Instant.open(dict.fromkeys(ARMS, arm), offline=True, progress=Silent())
    assert isinstance(engine, Instant)
    suite = make_suite(requests // (CHOICES * len(ARMS)))
    clock = Clock()
    plan = make_plan(configs, [suite], [engine])
    plan_seconds = clock.lap()
    with uncollected():
        batches = engine.batches(list(plan.work(engine).values()))
        engine.outline(batches)
    cut_seconds, plan_peak = clock.lap(), peak_bytes()
    asked = [one for planned in plan.arms for one in planned.prepared]
    return Growth(
        requests=len(asked),
        prompts=len({one.prompt_ids for one in asked}),
        tokens=sum(len(one.prompt_ids) + len(one.continuation_ids) for one in asked),
        plan_seconds=plan_seconds,
        cut_seconds=cut_seconds,
        plan_peak_bytes=plan_peak,
        **stored(engine, plan, batches),
    )


def stored(engine: Instant, plan: Plan, batches: Sequence[Batch]) -> dict[str, Any]:
    """What putting an answer to everything and getting it back cost."""
    answers = [answer for batch in batches for answer in engine.complete(batch)]
    with (
        tempfile.TemporaryDirectory() as folder,
        CompletionStore(Path(folder) / "completions.sqlite") as store,
    ):
        clock = Clock()
        for start in range(0, len(answers), _PUT):
            store.put(answers[start : start + _PUT])
        put_seconds = clock.lap()
        del answers
        keys = plan.keys()
        clock.lap()
        assert store.known(keys) == keys
        known_seconds = clock.lap()
        found = store.get(keys)
        get_seconds = clock.lap()
        assert len(found) == len(keys)
        return {
            "put_seconds": put_seconds,
            "known_seconds": known_seconds,
            "get_seconds": get_seconds,
            "store_bytes": store.size().bytes,
        }


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before


def peak_bytes() -> int:
    """This process's largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
