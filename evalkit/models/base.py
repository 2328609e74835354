"""The narrow protocol every source of completions speaks."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from evalkit.records import Check, Completion, Decoding, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as the model will see it, with the key of everything that determines its answer.

    `prompt_ids` and `continuation_ids` are empty for models that take text. Two requests with
    one key have one answer: whoever runs them computes it once.
    """

    key: str
    request: Request
    prompt_ids: tuple[int, ...] = ()
    continuation_ids: tuple[int, ...] = ()
    prompt_text: str = ""
    prompt_hash: str = ""
    truncated: int = 0
    decoding: Decoding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests that are computed side by side.

    All of them begin with the same `shared` tokens, which are read once for every batch that
    begins so. The requests of one row share what comes after that, too, as far as they agree.
    """

    rows: tuple[tuple[Prepared, ...], ...]
    shared: int = 0

    @classmethod
    def of(cls, items: Iterable[Prepared]) -> Batch:
        """Requests with nothing in common, in their order."""
        return cls(rows=tuple((one,) for one in items))

    def __iter__(self) -> Iterator[Prepared]:
        """Its requests, in the order they are best computed."""
        return chain.from_iterable(self.rows)

    def __len__(self) -> int:
        """How many requests it holds."""
        return sum(map(len, self.rows))

    def without(self, known: Container[str]) -> Batch:
        """What is left of it when some answers are there already."""
        kept = (tuple(one for one in row if one.key not in known) for row in self.rows)
        return replace(self, rows=tuple(row for row in kept if row))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the work of one engine amounts to before it is done.

    `tokens` are all that was asked, `unique_tokens` those that have to be computed when each
    shared start is computed once per arm (0 where the engine takes text), `read_tokens` those that
    will be computed: more where a model reads texts whole. Where that is not known yet, they are
    `assumed` to be the unique ones. `packets` are the forward passes or calls they are cut into,
    not counting the steps of generated texts; `flop` the floating-point operations of reading the
    unique tokens (0 where unknown). `seconds` is about how long it takes at most; None where
    nobody can know.
    """

    arms: tuple[str, ...]
    requests: int
    tokens: int = 0
    unique_tokens: int = 0
    read_tokens: int = 0
    assumed: bool = False
    packets: int = 0
    flop: float = 0.0
    seconds: float | None = None


class Engine(Protocol):
    """One opened source that answers for one or more arms.

    The local engine answers for a base and all its adapters over one copy of the weights, which
    is why arms are named in the requests and not one object each. Nothing heavy is loaded before
    the first call of `complete`, so that a plan costs only a tokenizer.
    """

    arms: tuple[str, ...]

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """Hashes and names of what determines this arm's answers (weights, adapter, tokenizer,
        template, dtype, quantization, engine …); goes into the manifest."""

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """The canaries that only the opened source can tell of (is the adapter this base's?)."""

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Tokenise and key the requests, in their order."""

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        """Cut work into batches, in the order they are best computed.

        Deterministic in its input, so that a killed run resumes with the same batches, and the
        same for every arm, so that what a batch's shape does to the numbers cancels in a pair.
        """

    def outline(self, batches: Sequence[Batch], /) -> Outline:
        """What the batches amount to; loads nothing."""

    def complete(self, batch: Batch) -> Iterator[Completion]:
        """Answer a batch; one completion for each key, in any order, each as soon as it is there.

        Raises ModelError where it cannot go on; what it gave before that is kept.
        """

    def profile(self) -> Mapping[str, float]:
        """Measures that cost a moment to take, for whoever asks what the machine could do."""

    def measures(self, arm: str, /) -> Mapping[str, float]:
        """What the work for this arm cost so far (seconds, peak memory in bytes, usage, cost).

        Where arms are computed together, over one copy of the weights, each has the whole.
        """

    def close(self) -> None:
        """Give back memory and connections; closing twice is harmless."""
