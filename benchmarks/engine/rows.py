"""The rows of the benchmark: what each is, what must be reached and what is aimed at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

DType: TypeAlias = Literal["float32", "bfloat16"]
BOTH: tuple[DType, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row; `must` and `aim` are by dtype, empty where nothing was declared.

    `kind` says how it is measured: speed (against lm-eval), or what evalkit does alone.
    """

    key: str
    title: str
    kind: Literal["speed", "adapters", "second", "floor", "memory", "growth", "again"]
    work: str
    unit: str
    sense: Literal["at least", "at most"] = "at least"
    must: Mapping[DType, float]
    aim: Mapping[DType, float]
    dtypes: tuple[DType, ...] = BOTH
    model: str = ""
    """A model of random weights to use instead of SmolLM2, as `1b` or `7b`; only on a GPU."""
    quantization: Literal["none", "nf4"] = "none"
    repeats: int = 1
    """How often it is measured at least: a row near its bound is the median of several."""

    def met(self, dtype: DType, value: float) -> bool | None:
        """Whether what must be reached is; None where nothing must be."""
        return self._reached(self.must.get(dtype), value)

    def aimed(self, dtype: DType, value: float) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        return self._reached(self.aim.get(dtype), value)

    def _reached(self, bound: float | None, value: float) -> bool | None:
        if bound is None:
            return None
        return value >= bound if self.sense == "at least" else value <= bound


def _both(value: float) -> dict[DType, float]:
    return {"float32": value, "bfloat16": value}


def _speed(key: str, title: str, must: float, aim: float) -> Row:
    return Row(
        key=key,
        title=title,
        kind="speed",
        work=key,
        unit="×",
        must=_both(must),
        aim=_both(aim),
    )


def _large(size: str, quantization: Literal["none", "nf4"], work: str) -> Row:
    name = "NF4" if quantization == "nf4" else "bfloat16"
    return Row(
        key=f"{size}-{'nf4' if quantization == 'nf4' else 'bf16'}-{work}",
        title=f"{work}, a Llama of {size.upper()} random weights in {name}, base + 1 adapter",
        kind="speed",
        work=work,
        unit="×",
        must={},
        aim={},
        dtypes=("bfloat16",),
        model=size,
        quantization=quantization,
    )


_SIZES: tuple[str, ...] = ("1b", "7b")
_KINDS: tuple[Literal["none", "nf4"], ...] = ("none", "nf4")
_WORKS: tuple[str, ...] = ("fewshot", "generation")

ROWS: tuple[Row, ...] = (
    _speed("fewshot", "5-shot multiple choice, choices of several tokens", 15, 25),
    _speed("letters", "5-shot, one-token choices (A/B/C/D), Chinese (CMMLU)", 5, 8),
    _speed("zeroshot", "0-shot multiple choice, 4 choices of about 20 tokens", 2, 3),
    _speed("generation", "greedy texts of uneven length, stop strings", 2, 4),
    _speed("rolling", "rolling perplexity of long documents", 1, 1.3),
    Row(
        key="adapters",
        title="base + 4 adapters against base + 1, the fewshot work, evalkit alone",
        kind="adapters",
        work="fewshot",
        unit="× the cost",
        sense="at most",
        must=_both(2.6),
        aim=_both(2.3),
    ),
    Row(
        key="second",
        title="a second tuned variant after the first, the base from the store: evalkit alone, "
        "letters, minutes of work (what starting costs is a share of seconds of it)",
        kind="second",
        work="second",
        unit="× the first",
        sense="at most",
        must=_both(0.55),
        aim={},
        repeats=3,
    ),
    Row(
        key="floor",
        title="share of the floor in scoring: unique tokens at the measured matrix-product peak",
        kind="floor",
        work="fewshot",
        unit="of the floor",
        must={"float32": 0.60, "bfloat16": 0.40},
        aim={"float32": 0.75, "bfloat16": 0.55},
    ),
    Row(
        key="memory",
        title="evalkit's peak memory in the fewshot work, beyond the weights' bytes",
        kind="memory",
        work="fewshot",
        unit="GB",
        sense="at most",
        must=_both(1.5),
        aim={},
    ),
    Row(
        key="growth",
        title="cost of one more request in the last step of growth against the step before it",
        kind="growth",
        work="growth",
        unit="× per request",
        sense="at most",
        must={"float32": 1.5},
        aim={},
        dtypes=("float32",),
    ),
    Row(
        key="again",
        title="a comparison asked again, every answer stored: two arms, a model of two layers",
        kind="again",
        work="again",
        unit="s",
        sense="at most",
        must={},
        aim={},
        dtypes=("float32",),
    ),
    *(_large(size, kind, work) for size, kind, work in product(_SIZES, _KINDS, _WORKS)),
)

BY_KEY: Mapping[str, Row] = {row.key: row for row in ROWS}
