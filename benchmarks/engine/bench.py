"""Measuring: every kind of row, each to a record."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine import works
from benchmarks.engine.answers import Answers, agreement
from benchmarks.engine.results import Record, middle
from benchmarks.engine.rows import DType, Row
from benchmarks.engine.tools import BASE, TUNED, Compared, Model, Tools, harness_args, knows_profile
from benchmarks.engine.works import Work
from benchmarks.machine import Ended

FACTORS = (1.0, 0.5, 0.75, 1.25)
"""What lora_B of the trained adapter is multiplied by; the first is the adapter itself."""
SIZES = (1, 4, 8, 16, 32, 64)
"""Of lm-eval's batches."""
BYTES = {"float32": 4, "bfloat16": 2}


class NotRun(Exception):  # noqa: N818  it is what happened
    """A row that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything."""

    questions: int
    letters: int
    second: int
    zeroshot: int
    prompts: int
    new_tokens: int
    documents: int
    search: int
    growth: tuple[int, ...]
    again: int


@dataclass(slots=True, kw_only=True)
class Bench:
    """Measures rows; what several rows need is run once and kept."""

    tools: Tools
    sizes: Sizes
    repeats: int
    device: str
    data: Path
    batch: str
    base: Path
    adapter: Path
    _firsts: dict[tuple[str, str, int], Compared] = field(default_factory=dict)
    _made: list[Path] = field(default_factory=list)

    def measure(self, row: Row, dtype: DType) -> Record:
        """One row in one dtype; raises NotRun or RunFailed."""
        kinds: dict[str, Callable[[Row, DType], Record]] = {
            "speed": self._speed,
            "adapters": self._adapters,
            "second": self._second,
            "floor": self._floor,
            "memory": self._memory,
            "growth": self._growth,
            "again": self._again,
        }
        return kinds[row.kind](row, dtype)

    def _speed(self, row: Row, dtype: DType) -> Record:
        """evalkit's one process against lm-eval's two, in turn, so that noise meets both."""
        work, model = self._work(row.work), self._model(row, dtype)
        adapter = self._adapter(row)
        batch, tried = self._batch_size(model, work)
        seconds: dict[str, list[float]] = {"evalkit": [], "lm_eval base": [], "lm_eval tuned": []}
        peaks: dict[str, list[float]] = {name: [] for name in seconds}
        theirs: dict[str, Answers] = {}
        for repeat in range(self.repeats):
            first = self._first(row, model, work, adapter, repeat)
            _note("evalkit", first.ended, seconds, peaks)
            for arm, given in ((BASE, None), (TUNED[0], adapter)):
                ended, theirs[arm] = self.tools.harness(model, work, batch, given)
                _note(f"lm_eval {arm}", ended, seconds, peaks)
        first = self._first(row, model, work, adapter, 0)
        both = zip(seconds["lm_eval base"], seconds["lm_eval tuned"], strict=True)
        return {
            "value": middle([sum(pair) for pair in both]) / middle(seconds["evalkit"]),
            "sizes": work.sizes(self._tokenizer()),
            "work": work.fingerprint,
            "seconds": seconds,
            "peak_gb": {name: max(values) / 1e9 for name, values in peaks.items()},
            "batch_size": batch,
            "batch_search_seconds": tried,
            "agreement": {
                arm: agreement(first.answers(arm), theirs[arm], work) for arm in (BASE, TUNED[0])
            },
            "measures": first.measures(),
        }

    def _adapters(self, row: Row, dtype: DType) -> Record:
        """A comparison with one adapter, and right after it one with four."""
        work, model, variants = self._work(row.work), self._model(row, dtype), self._variants()
        seconds: dict[str, list[float]] = {}
        peaks: dict[str, list[float]] = {}
        for _ in range(self.repeats):
            for name, adapters in (("base + 1", variants[:1]), ("base + 4", variants)):
                _note(name, self.tools.compare(model, work, adapters).ended, seconds, peaks)
        return {
            "value": middle(seconds["base + 4"]) / middle(seconds["base + 1"]),
            "sizes": work.sizes(self._tokenizer()),
            "seconds": seconds,
            "peak_gb": {name: max(values) / 1e9 for name, values in peaks.items()},
        }

    def _second(self, row: Row, dtype: DType) -> Record:
        """A comparison, and right after it another tuned variant with the same store."""
        work, model, variants = self._work(row.work), self._model(row, dtype), self._variants()
        times = max(self.repeats, row.repeats)
        record = self._from_store(model, work, variants[:1], "second", variants[1:2], times)
        pairs = zip(record["seconds"]["first"], record["seconds"]["second"], strict=True)
        # Each against the first right before it: the machine is not as fast in every hour.
        return {"value": middle([second / first for first, second in pairs]), **record}

    def _again(self, row: Row, dtype: DType) -> Record:
        """A comparison by a tiny model and its adapter, and then the very same."""
        made = self._llama("tiny")
        model = Model(folder=made / "model", dtype=dtype, device=self.device)
        adapters = [made / "adapter"]
        work = self._work(row.work)
        record = self._from_store(model, work, adapters, "again", adapters, self.repeats)
        return {"value": middle(record["seconds"]["again"]), **record}

    def _from_store(
        self, model: Model, work: Work, first: list[Path], name: str, later: list[Path], times: int
    ) -> Record:
        """A comparison from an empty store, and right after it one with what that left there."""
        seconds: dict[str, list[float]] = {}
        peaks: dict[str, list[float]] = {}
        for _ in range(times):
            before = self.tools.compare(model, work, first)
            after = self.tools.compare(model, work, later, home=before.home)
            _note("first", before.ended, seconds, peaks)
            _note(name, after.ended, seconds, peaks)
        return {
            "sizes": work.sizes(self._tokenizer()),
            "seconds": seconds,
            "peak_gb": {name: max(values) / 1e9 for name, values in peaks.items()},
        }

    def _floor(self, row: Row, dtype: DType) -> Record:
        """How much of the time in the network its arithmetic alone would take."""
        if not knows_profile():
            raise NotRun("not known: this evalkit's compare has no --profile")
        work, model = self._work(row.work), self._model(row, dtype)
        found, shares = [], []
        for _ in range(self.repeats):
            measures = self.tools.compare(model, work, [self.adapter], profile=True).measures()
            found.append(measures)
            shares.append(floor_share(measures))
        return {
            "value": middle(shares),
            "sizes": work.sizes(self._tokenizer()),
            "shares": shares,
            "measures": found[0],
        }

    def _memory(self, row: Row, dtype: DType) -> Record:
        """The process's peak (on a GPU: the device's) less what the weights take."""
        work, model = self._work(row.work), self._model(row, dtype)
        weights = sum(_elements(folder) for folder in (self.base, self.adapter)) * BYTES[dtype]
        peaks = []
        for repeat in range(self.repeats):
            first = self._first(row, model, work, self.adapter, repeat)
            peaks.append(self._peak_of(first))
        return {
            "value": (middle(peaks) - weights) / 1e9,
            "sizes": work.sizes(self._tokenizer()),
            "peak_gb": {"evalkit": max(peaks) / 1e9},
            "weights_gb": weights / 1e9,
        }

    def _peak_of(self, compared: Compared) -> float:
        if self.device == "cpu":
            return compared.ended.peak_bytes
        peak = compared.measures().get("peak_memory_bytes")
        if peak is None:
            raise NotRun("not known: the manifest does not tell the device's peak memory")
        return peak

    def _growth(self, _row: Row, dtype: DType) -> Record:
        """A tiny model, ever more requests: what one more costs in the last step against before.

        A step's first requests drown in the noise of starting a process, so the steps are large.
        """
        model = Model(folder=self._llama("tiny") / "model", dtype=dtype, device=self.device)
        seconds: dict[str, list[float]] = {}
        peaks: dict[str, list[float]] = {}
        for requests in self.sizes.growth:
            for _ in range(self.repeats):
                ended = self.tools.run_alone(model, works.growth(requests))
                _note(str(requests), ended, seconds, peaks)
        cost = [middle(seconds[str(requests)]) for requests in self.sizes.growth]
        more = _more_each(self.sizes.growth, cost)
        if len(more) < 2 or more[-2] <= 0:
            told = ", ".join(f"{value:.1f}" for value in cost)
            raise NotRun(f"not known: {told} s are too near to tell; give more with --growth")
        return {
            "value": more[-1] / more[-2],
            "sizes": {"requests": list(self.sizes.growth)},
            "seconds": seconds,
            "peak_gb": {name: max(values) / 1e9 for name, values in peaks.items()},
            "seconds_per_further_request": more,
        }

    def _first(self, row: Row, model: Model, work: Work, adapter: Path, repeat: int) -> Compared:
        """The comparison of base and one adapter from an empty store, once for each repeat."""
        key = (f"{row.model}{row.quantization}{work.key}", model.dtype, repeat)
        if key not in self._firsts:
            self._firsts[key] = self.tools.compare(model, work, [adapter])
        return self._firsts[key]

    def _work(self, key: str) -> Work:
        match key:
            case "fewshot":
                return works.fewshot(self.sizes.questions)
            case "zeroshot":
                return works.zeroshot(self.sizes.zeroshot)
            case "letters" | "second":
                if not (self.data / "test").is_dir():
                    raise NotRun(f"CMMLU is not in {self.data}: name its folder with --data")
                long = key == "second"
                return works.letters(self.sizes.second if long else self.sizes.letters, self.data)
            case "again":
                return works.growth(works.CHOICES * self.sizes.again)
            case "generation":
                return works.generation(self.sizes.prompts, self.sizes.new_tokens)
            case _:
                return works.rolling(self.sizes.documents, self._tokenizer())

    def _model(self, row: Row, dtype: DType) -> Model:
        if not row.model:
            return Model(folder=self.base, dtype=dtype, device=self.device)
        made = self._llama(row.model)
        nf4 = row.quantization == "nf4"
        return Model(
            folder=made / "model",
            dtype=dtype,
            device=self.device,
            quantization=row.quantization,
            quantized=made / "nf4" if nf4 else None,
        )

    def _adapter(self, row: Row) -> Path:
        return self._llama(row.model) / "adapter" if row.model else self.adapter

    def _llama(self, size: str) -> Path:
        folder = self.tools.work / "llama" / size
        if not folder.is_dir():
            arguments = ["llama", size, str(self.base), str(folder), "--device", self.device]
            self.tools.module("weights", arguments)
        return folder

    def _variants(self) -> list[Path]:
        """Four adapters that differ: the trained one and copies of another strength."""
        if not self._made:
            self._made.append(self.adapter)
            for factor in FACTORS[1:]:
                folder = self.tools.place("adapter") / f"{factor}"
                self.tools.module("weights", ["scale", str(self.adapter), str(factor), str(folder)])
                self._made.append(folder)
        return self._made

    def _batch_size(self, model: Model, work: Work) -> tuple[str, dict[str, float]]:
        """lm-eval's fastest batch size on the first samples, and the seconds of each."""
        if self.batch != "search":
            return self.batch, {}
        if self.device != "cpu":
            return "auto", {}
        limit, sizes = _trial(work, self.sizes.search)
        found = self._searched(model, work, limit, sizes)
        return min(found, key=found.__getitem__), found

    def _searched(
        self, model: Model, work: Work, limit: int, sizes: Sequence[int]
    ) -> dict[str, float]:
        arguments = {
            "--model-args": ",".join(f"{k}={v}" for k, v in harness_args(model, work).items()),
            "--device": model.device,
            "--task": self.tools.task(work),
            "--include-path": str(self.tools.work / "tasks"),
            "--limit": str(limit),
            "--sizes": ",".join(map(str, sizes)),
        }
        said = self.tools.module("batches", [word for pair in arguments.items() for word in pair])
        last = next(line for line in reversed(said.splitlines()) if line.startswith("{"))
        return dict(json.loads(last))

    def _tokenizer(self) -> works.Tokenizer:
        return works.Tokenizer(self.base)


def floor_share(measures: dict[str, float]) -> float:
    """The seconds the arithmetic needs at the measured peak, over those that were spent."""
    needed = ("flop_unique", "peak_flop_per_second", "prefill_seconds", "score_seconds")
    missing = [name for name in needed if measures.get(name) is None]
    if missing:
        raise NotRun(f"not known: the manifest's measures lack {', '.join(missing)}")
    least = measures["flop_unique"] / measures["peak_flop_per_second"]
    return least / (measures["prefill_seconds"] + measures["score_seconds"])


def _trial(work: Work, requests: int) -> tuple[int, list[int]]:
    """How many samples a trial of a batch size has, and the sizes in the order to try them.

    Small batches of texts take very long, and a single one of all may be the fastest; large ones
    of scoring take no less than small ones.
    """
    if work.task == "generate":
        limit = len(work.rows)
        return limit, [limit, *(size for size in reversed(SIZES) if size < limit)]
    each = len(work.rows[0]["choices"]) if work.task == "choice" else 1
    # Whole documents are long texts, each as much work as many questions.
    wanted = requests // each if work.task == "choice" else requests // 8
    limit = min(max(1, wanted), len(work.rows))
    return limit, [size for size in SIZES if size <= limit * each]


def _more_each(counts: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """Between neighbours, what one more costs."""
    steps = zip(counts, counts[1:], seconds, seconds[1:], strict=False)
    return [(after - before) / (many - few) for few, many, before, after in steps]


def _note(
    name: str, ended: Ended, seconds: dict[str, list[float]], peaks: dict[str, list[float]]
) -> None:
    seconds.setdefault(name, []).append(ended.seconds)
    peaks.setdefault(name, []).append(float(ended.peak_bytes))
    print(f"  {name}: {ended.seconds:.1f} s, {ended.peak_bytes / 1e9:.2f} GB", flush=True)


def _elements(folder: Path) -> int:
    """How many numbers the folder's weights hold, from the headers of their files."""
    found = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as content:
            (size,) = struct.unpack("<Q", content.read(8))
            header: dict[str, Any] = json.loads(content.read(size))
        for name, told in header.items():
            if name != "__metadata__":
                count = 1
                for side in told["shape"]:
                    count *= side
                found += count
    return found
