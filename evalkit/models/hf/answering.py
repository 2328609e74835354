"""The work itself: requests of loaded arms become completions, as many at once as memory allows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from evalkit.errors import ModelError
from evalkit.models.base import Batch, Prepared
from evalkit.models.hf import decoding, generation, memory, plan, scoring
from evalkit.models.hf.caches import Trunks
from evalkit.models.hf.generation import Row, Rules
from evalkit.models.hf.lanes import Lane, amount, first_part
from evalkit.models.hf.loaded import Loaded
from evalkit.models.hf.network import Network, read_trunk
from evalkit.models.hf.openings import Openings
from evalkit.models.hf.plan import Budget
from evalkit.models.hf.seq2seq.writing import Writer
from evalkit.models.hf.sizes import Size
from evalkit.records import Completion

LEAST = 64
"""Tokens of a start that are read at a time at least."""


@dataclass(slots=True)
class Tally:
    """What the work has cost so far."""

    score_seconds: float = 0.0
    trunk_seconds: float = 0.0
    trunks: Size = field(default_factory=Size)
    packed: Size = field(default_factory=Size)
    scored_tokens: int = 0
    spent: decoding.Spent = field(default_factory=decoding.Spent)


@dataclass(slots=True)
class Answering:
    """Answers batches of the arms of one base; `budget` shrinks where memory runs out."""

    budget: Budget
    rules: Rules
    window: int
    """Tokens that are scored at a time at most."""
    tally: Tally = field(default_factory=Tally)
    openings: dict[str, Openings] = field(default_factory=dict)

    def score(self, loaded: Loaded, arm: str, batch: Batch) -> Iterator[Completion]:
        """Rows of texts, as many at a time as memory allows; halved where it runs out."""
        network = loaded.networks[arm]
        loaded.forget_trunks({arm})
        shared = batch.shared if network.packs else 0
        texts = [
            [scoring.text_of(one, self.window, shared) for one in scoring.ordered(row, network)]
            for row in batch.rows
        ]
        whole = texts[0][0].item.request.kind == "whole"
        waiting = list(scoring.laid(texts, shared, network))
        answers = scoring.Answers(texts)
        while waiting:
            part = first_part(waiting, self._tokens(network), chained=network.chains)
            cause = None
            try:
                scored = self._scored(loaded, arm, part, shared, whole=whole)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                cause = error.with_traceback(None)  # which holds the batch's tensors
            if cause is not None:
                if self._make_room(loaded, arm, part, shared, cause) and len(part) == 1:
                    waiting[:1] = scoring.apart(part[0], shared, network)
                continue
            waiting = waiting[len(part) :]
            for item, values, seconds in answers.add(*scored):
                ids = item.prompt_ids[1:] if whole else ()
                yield completion(
                    item,
                    token_ids=ids + item.continuation_ids,
                    logprobs=values.logprobs,
                    is_greedy=values.is_greedy,
                    seconds=seconds,
                )

    def _tokens(self, network: Network) -> int:
        """Tokens of one forward; fewer where the logits of all it is asked for exist at once."""
        if network.singly:
            return 1
        if network.logits_from == "head":
            return self.budget.score_tokens
        return min(self.budget.score_tokens, 2 * network.chunk)

    def _scored(
        self, loaded: Loaded, arm: str, lanes: Sequence[Lane], shared: int, *, whole: bool
    ) -> tuple[list[scoring.Scored], float]:
        """Scores of the lanes' spans (`whole`: and of the start they share), and the seconds."""
        network, trunks = loaded.networks[arm], loaded.trunks[arm]
        started = time.perf_counter()
        loaded.arms.use(arm)
        with torch.inference_mode():
            start = lanes[0].spans[0].prompt[:shared]
            openings = self.openings.setdefault(arm, Openings()) if whole and shared else None
            most, read, opening = max(LEAST, self._tokens(network)), 0, None
            if openings is not None:
                opening, read = openings.of(network, trunks, start, most)
            if shared:
                read += read_trunk(network, trunks, start, most)
            if read:
                memory.wait_for(network.device)
            trunk_seconds = time.perf_counter() - started if read else 0.0
            cache = trunks.nearest(start)[1] if shared else None
            scored = scoring.score_lanes(network, lanes, shared, cache)
            if opening is not None:
                spans = (span for lane in lanes for span in lane.spans)
                scored = [
                    opening.through(span.prompt[shared]).followed_by(one)
                    for span, one in zip(spans, scored, strict=True)
                ]
        seconds = time.perf_counter() - started
        self.tally.trunk_seconds += trunk_seconds
        self.tally.score_seconds += seconds - trunk_seconds
        self.tally.trunks.add_text(shared - read, shared, 0)
        for prompt in {lane.encoded for lane in lanes}:
            self.tally.packed.add_encoded(len(prompt))
        for lane in lanes:
            self.tally.packed.unique += len(lane)
            self.tally.packed.places += sum(lane.places) + len(lane) * (1 + len(lane.encoded))
            self.tally.packed.reads += len({column for one in lane.columns for column in one})
        self.tally.scored_tokens += sum(len(one.logprobs) for one in scored)
        return scored, seconds

    def _make_room(
        self, loaded: Loaded, arm: str, tried: Sequence[Lane], shared: int, cause: Exception
    ) -> bool:
        """Out of memory: give the starts on the way to this one back or, where there are none,
        take half as much at a time from now on: what did not fit will not fit the next time.

        Whether it was halved; ModelError where that is not possible.
        """
        if loaded.trunks[arm].only(tried[0].spans[0].prompt[:shared]):
            memory.release()
            return False
        if self.budget.score_tokens <= LEAST and len(tried[0].spans) == 1 == len(tried):
            raise ModelError(_too_long(tried[0])) from cause
        amounts = amount(tried, chained=loaded.networks[arm].chains)
        tokens = max(1, min(self.budget.score_tokens, amounts) // 2)
        self.budget = replace(self.budget, score_tokens=tokens)
        memory.release()
        return True

    def generate(self, loaded: Loaded, batch: Batch) -> Iterator[Completion]:
        """Texts of one or several arms: at one desk, arm by arm, in step, or one at a time."""
        items = list(batch)
        arms = list(dict.fromkeys(one.request.arm for one in items))
        desks = all(loaded.networks[arm].desks for arm in arms)
        together = desks and (len(arms) == 1 or loaded.together is not None)
        for some in [arms] if together else [[arm] for arm in arms]:
            mine = [one for one in items if one.request.arm in some]
            if loaded.networks[some[0]].desks:
                yield from self._decoded(loaded, some, mine)
            elif loaded.networks[some[0]].decoder_start:
                yield from self._in_step(loaded, some[0], mine)
            else:
                for row in generation.rows_for(mine, self.rules):
                    self._write_alone(loaded, row)
                    yield self._written(row)

    def _decoded(
        self, loaded: Loaded, arms: Sequence[str], items: Sequence[Prepared]
    ) -> Iterator[Completion]:
        loaded.forget_trunks(arms)
        starts = plan.starts(items, self.budget)
        rows = generation.rows_for(plan.seated(items, starts), self.rules)
        decoder = decoding.Decoder(
            arms={arm: self._arm(loaded, arm) for arm in arms},
            mixed=self._together(loaded) if len(arms) > 1 else None,
            rules=self.rules,
            starts=starts,
            places=self._places(items),
            tokens=max(map(plan.width, items)),
            read_tokens=max(LEAST, self._tokens(loaded.networks[arms[0]])),
            spent=self.tally.spent,
        )
        yield from self._run(decoder, rows, decoder.tokens)

    def _in_step(self, loaded: Loaded, arm: str, items: Sequence[Prepared]) -> Iterator[Completion]:
        """Texts of an arm whose prompts an encoder reads."""
        network = loaded.networks[arm]
        writer = Writer(
            network=network,
            use=partial(loaded.arms.use, arm),
            rules=self.rules,
            places=self._abreast(network, items),
            read_tokens=max(LEAST, self.budget.score_tokens),
            spent=self.tally.spent,
        )
        rows = generation.rows_for(plan.seated(items, {}), self.rules)
        yield from self._run(writer, rows, max(map(plan.width, items)))

    def _places(self, items: Sequence[Prepared]) -> int:
        """How many of the texts may be written at once."""
        tokens = max(map(plan.width, items))
        most = min(self.budget.decode_rows, self.budget.decode_tokens // tokens, len(items))
        return max(1, most)

    def _abreast(self, network: Network, items: Sequence[Prepared]) -> int:
        """How many texts are written in step; where the model encodes their prompts by itself, it
        does so in one forward."""
        if not network.in_step:
            return 1
        fitting = self.budget.score_tokens // max(map(plan.width, items))
        places = self._places(items)
        return places if network.encoder is not None else max(1, min(places, fitting))

    def _run(
        self, writer: decoding.Decoder | Writer, rows: Sequence[Row], tokens: int
    ) -> Iterator[Completion]:
        """Have rows of at most `tokens` tokens written, and remember what did not fit."""
        planned = writer.places
        yield from map(self._written, writer.run(rows))
        if writer.places < planned:  # what did not fit will not fit the next time
            self.budget = replace(
                self.budget,
                decode_tokens=writer.places * tokens,
                score_tokens=writer.read_tokens,
            )

    def _arm(self, loaded: Loaded, arm: str) -> decoding.Arm:
        return decoding.Arm(
            network=loaded.networks[arm],
            trunks=loaded.trunks[arm],
            use=partial(loaded.arms.use, arm),
            name=loaded.arms.name(arm),
        )

    def _together(self, loaded: Loaded) -> decoding.Arm:
        assert loaded.together is not None
        return decoding.Arm(
            network=loaded.together, trunks=Trunks(), use=loaded.arms.use_all, name=""
        )

    def _write_alone(self, loaded: Loaded, row: Row) -> None:
        """Write one text the plain way; its first token comes with reading the prompt."""
        arm = row.item.request.arm
        network = loaded.networks[arm]
        spent, started, read = self.tally.spent, time.perf_counter(), 0.0
        loaded.arms.use(arm)
        try:
            with torch.inference_mode():
                for step, logits in enumerate(decoding.alone(network, row)):
                    generation.choose(network.model, [logits], [row], self.rules)
                    if step == 0:
                        read = time.perf_counter() - started
                    if row.stop_reason is not None:
                        break
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            raise ModelError(decoding.NO_ROOM) from error
        row.seconds = time.perf_counter() - started
        spent.prefill_seconds += read
        spent.read.add_text(0, len(row.item.prompt_ids), 1)
        spent.decode_seconds += row.seconds - read
        spent.decode_tokens += len(row.ids) - 1

    def _written(self, row: Row) -> Completion:
        assert row.stop_reason is not None
        return completion(
            row.item,
            text=row.text,
            token_ids=tuple(row.ids),
            logprobs=tuple(row.logprobs),
            stop_reason=row.stop_reason,
            seconds=row.seconds,
        )


def completion(item: Prepared, **answer: Any) -> Completion:
    """A completion with what the request itself tells filled in."""
    return Completion(
        key=item.key,
        tokens_in=len(item.prompt_ids),
        tokens_out=len(answer.get("token_ids", ())),
        truncated=item.truncated,
        prompt_text=item.prompt_text,
        prompt_hash=item.prompt_hash,
        **answer,
    )


def _too_long(lane: Lane) -> str:
    tokens = len(lane) + len(lane.encoded)
    return (
        f"One text of {tokens} tokens does not fit in memory. Use a smaller max_length, a smaller "
        "dtype, or quantization."
    )
