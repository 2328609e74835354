"""The engine that answers for a base and its adapters: prepare, cut, complete, account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import EvalkitError, ModelError
from evalkit.models.base import Prepared
from evalkit.models.hf import estimate, generation, identity, memory, network, plan, scoring
from evalkit.models.hf.adapters import (
    Adapter,
    Arms,
    check_adapter,
    check_changes,
    open_adapter,
)
from evalkit.models.hf.loading import Placement, load_base, open_config, place, quiet
from evalkit.models.hf.tokens import Tokens, open_tokens
from evalkit.progress import Progress
from evalkit.records import Check, Completion, Request

PROBE = "The quick brown fox, 你好世界 🙂, 3 × 14 = 42. Dear friends, today I would like to"


@dataclass(slots=True)
class Loaded:
    """What exists once the weights are in: the arms, and each arm's network."""

    arms: Arms
    networks: Mapping[str, network.Network]
    starts: Mapping[str, network.SharedStart]


@dataclass(slots=True)
class Tally:
    """What the work has cost so far."""

    load_seconds: float = 0.0
    forward_seconds: float = 0.0
    tokens_read: int = 0
    tokens_scored: int = 0
    tokens_generated: int = 0
    changes: dict[str, float] = field(default_factory=dict)


class HFEngine:
    """Answers for all arms that share one base."""

    arms: tuple[str, ...]

    def __init__(
        self,
        configs: Mapping[str, HFModel],
        folder: Path,
        config: Any,
        placement: Placement,
        tokens: Tokens,
        adapters: Mapping[str, Adapter],
        checks: Mapping[str, tuple[Check, ...]],
        identities: Mapping[str, Mapping[str, str]],
        progress: Progress,
    ) -> None:
        """Use `open`, which checks what these parts must have in common."""
        self.arms = tuple(configs)
        self._configs = configs
        self._folder = folder
        self._config = config
        self._placement = placement
        self._tokens = tokens
        self._adapters = adapters
        self._checks = checks
        self._identities = identities
        self._progress = progress
        self._loaded: Loaded | None = None
        self._tally = Tally()
        given = [c.batch_tokens for c in configs.values() if c.batch_tokens is not None]
        self._budget = memory.default_budget(
            placement.device,
            min(given, default=None),
            memory.cache_bytes(config, placement.dtype),
        )
        self._rules = generation.rules_of(folder, tokens)

    @classmethod
    def open(cls, configs: Mapping[str, HFModel], *, offline: bool, progress: Progress) -> HFEngine:
        """Find the base, open its tokenizer, and check the adapters as far as files tell."""
        from evalkit.models.weights import config_hash, find_model, weights_hash

        first = next(iter(configs.values()))
        identity.check_same_view(configs)
        folder = find_model(first.path, revision=first.revision, offline=offline, progress=progress)
        config = open_config(folder, trust_remote_code=first.trust_remote_code)
        adapters = {
            arm: open_adapter(arm, model)
            for arm, model in configs.items()
            if model.adapter is not None
        }
        with quiet():
            tokens = open_tokens(
                folder,
                config,
                chat_template=first.chat_template,
                max_length=first.max_length,
                reserved=max((a.virtual_tokens for a in adapters.values()), default=0),
                trust_remote_code=first.trust_remote_code,
                warn=progress.say,
            )
        weights = weights_hash(folder)
        checks = {
            arm: check_adapter(adapter, configs[arm], weights, tokens)
            for arm, adapter in adapters.items()
        }
        _tell(checks, folder, progress)
        placement = place(first, config)
        settings = config_hash(folder, trust_remote_code=first.trust_remote_code)
        identities = {
            arm: identity.fingerprints(
                adapters.get(arm), placement, tokens, weights=weights, config=settings
            )
            for arm in configs
        }
        return cls(
            configs, folder, config, placement, tokens, adapters, checks, identities, progress
        )

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """Hashes and names of what determines this arm's answers."""
        return dict(self._identities[arm])

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """Whether the arm's adapter belongs to this base and changes it."""
        if arm not in self._adapters:
            return ()
        # Of stored answers too: an adapter that changed nothing would have left none. By how much
        # it changed them is a measure of the session that loaded it.
        told = "checked on a probe before its first answer"
        moved = Check(name="adapter changes the logits", status="ok", message=told)
        return (moved, *self._checks[arm])

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Tokenise and key the requests, in their order."""
        for arm in {request.arm for request in requests} - set(self.arms):
            raise AssertionError(f"no arm {arm!r} in this engine")
        with quiet():
            encoded = self._tokens.encode(requests)
        heads = {arm: identity.key_head(self._identities[arm]) for arm in self.arms}
        return [
            identity.keyed(request, ids, heads[request.arm], self._rules)
            for request, ids in zip(requests, encoded, strict=True)
        ]

    def batches(self, prepared: Sequence[Prepared]) -> list[list[Prepared]]:
        """Batches of one arm and kind, the same for the same input."""
        return plan.cut(prepared, self.arms, self._budget)

    def seconds(self, batches: Sequence[Sequence[Prepared]], /) -> float:
        """About how long the batches take at most, by two matrix products timed here."""
        return estimate.seconds(batches, self._folder, self._config, self._placement)

    def complete(self, batch: Sequence[Prepared]) -> Iterator[Completion]:
        """Answer a batch, or a part of one; each key once."""
        unique = list({item.key: item for item in batch}.values())
        answerable = []
        for item in unique:
            if problem := self._problem(item):
                yield _completion(item, stop_reason="error", error=problem)
            else:
                answerable.append(item)
        for part in plan.cut(answerable, self.arms, plan.WITHOUT_LIMIT):
            arm, kind = part[0].request.arm, part[0].request.kind
            loaded = self._load()
            run = {
                "loglikelihood": self._score,
                "rolling": self._roll,
                "generate": self._generate,
            }[kind]
            yield from memory.halving(part, partial(run, loaded, arm))

    def _problem(self, item: Prepared) -> str:
        """Why a request has no answer; empty if it has one."""
        scored = len(item.continuation_ids)
        match item.request.kind:
            case "generate":
                return ""
            case "rolling":
                return "" if scored else "the text has no tokens"
            case "loglikelihood" if not scored:
                return "the continuation has no tokens"
            case "loglikelihood" if scored > self._tokens.max_length:
                return (
                    f"the continuation has {scored} tokens, more than the {self._tokens.max_length}"
                    " the model can read"
                )
            case _:
                return ""

    def _score(self, loaded: Loaded, arm: str, batch: Sequence[Prepared]) -> Iterator[Completion]:
        spans = [scoring.Span(item.prompt_ids, item.continuation_ids) for item in batch]
        started = time.perf_counter()
        scored = self._scored(loaded, arm, spans)
        seconds = (time.perf_counter() - started) / len(batch)
        for item, values in zip(batch, scored, strict=True):
            yield _completion(
                item,
                token_ids=item.continuation_ids,
                logprobs=values.logprobs,
                is_greedy=values.is_greedy,
                seconds=seconds,
            )

    def _roll(self, loaded: Loaded, arm: str, batch: Sequence[Prepared]) -> Iterator[Completion]:
        limit = self._tokens.max_length
        cuts = [scoring.windows(i.prompt_ids, i.continuation_ids, limit) for i in batch]
        started = time.perf_counter()
        scored = iter(self._scored(loaded, arm, [span for spans in cuts for span in spans]))
        seconds = (time.perf_counter() - started) / len(batch)
        for item, spans in zip(batch, cuts, strict=True):
            values = [next(scored) for _ in spans]
            yield _completion(
                item,
                token_ids=item.continuation_ids,
                logprobs=tuple(value for window in values for value in window.logprobs),
                is_greedy=all(window.is_greedy for window in values),
                seconds=seconds,
            )

    def _scored(
        self, loaded: Loaded, arm: str, spans: Sequence[scoring.Span]
    ) -> list[scoring.Scored]:
        """Scores of the spans, a token budget at a time."""
        results: list[scoring.Scored] = []
        for part in scoring.parts(spans, self._budget.score_tokens):
            with self._working(loaded, arm):
                scored, tokens = scoring.score(loaded.networks[arm], part, loaded.starts[arm])
            results += scored
            self._tally.tokens_read += tokens
            self._tally.tokens_scored += sum(len(span.continuation) for span in part)
        return results

    def _generate(
        self, loaded: Loaded, arm: str, batch: Sequence[Prepared]
    ) -> Iterator[Completion]:
        decoder = generation.Decoder(
            loaded.networks[arm], generation.rows_for(batch), self._rules, loaded.starts[arm]
        )
        while decoder.active:
            with self._working(loaded, arm):
                finished = decoder.step()
            for row in finished:
                self._tally.tokens_read += len(row.item.prompt_ids) + len(row.ids)
                self._tally.tokens_generated += len(row.ids)
                assert row.stop_reason is not None
                yield _completion(
                    row.item,
                    text=row.text,
                    token_ids=tuple(row.ids),
                    logprobs=tuple(row.logprobs),
                    stop_reason=row.stop_reason,
                    seconds=row.seconds,
                )

    @contextmanager
    def _working(self, loaded: Loaded, arm: str) -> Iterator[None]:
        """One piece of computing for one arm; never held while a caller has the word."""
        started = time.perf_counter()
        loaded.arms.use(arm)
        with torch.inference_mode():
            yield
        self._tally.forward_seconds += time.perf_counter() - started

    def _load(self) -> Loaded:
        """The weights and adapters, brought in when they are first needed."""
        if self._loaded is not None:
            return self._loaded
        started = time.perf_counter()
        path = self._configs[self.arms[0]].path
        self._progress.say(
            f"Loading {path} ({self._placement.dtype_name}, quantization "
            f"{self._placement.quantization}, {self._placement.device})"
        )
        model = self._configs[self.arms[0]]
        # Not in inference mode: PEFT sets requires_grad whenever an adapter is switched.
        with quiet(), torch.no_grad():
            base = load_base(self._folder, model, self._config, self._placement)
            arms = Arms(base, self._adapters)
            networks = self._networks(base, arms)
        self._loaded = Loaded(arms, networks, {arm: network.SharedStart() for arm in self.arms})
        self._tally.load_seconds = time.perf_counter() - started
        return self._loaded

    def _networks(self, base: Any, arms: Arms) -> dict[str, network.Network]:
        """Each arm's network, after the trial of the shortcuts and of every adapter."""
        arms.use(None)
        plain = network.Network(
            model=base,
            head=arms.head(),
            device=base.get_input_embeddings().weight.device,
        )
        try:
            fast, notes = network.survey(plain, self._tokens.max_length)
        except EvalkitError:
            raise
        except Exception as error:
            raise ModelError(
                f"{self._configs[self.arms[0]].path} was loaded, but fails on its first forward "
                f"pass ({type(error).__name__}: {error}). Try another dtype, quantization or "
                "device."
            ) from error
        for note in notes:
            self._progress.say(f"{type(base).__name__} {note}.")
        probe = self._tokens.tokenizer.encode(PROBE)[: self._tokens.max_length - 1]
        expected = network.plain_logits(plain, probe)
        networks = {}
        for arm in self.arms:
            arms.use(arm)
            own = arms.model(arm)
            if arms.takes_shortcuts(arm):
                networks[arm] = replace(fast, model=own)
            else:
                networks[arm] = replace(plain, model=own)
                self._progress.say(f"{arm}: a soft prompt is computed the plain, slow way.")
            if arm in self._adapters:
                logits = network.plain_logits(networks[arm], probe)
                change = check_changes(self._adapters[arm], expected, logits)
                self._tally.changes[arm] = change
        return networks

    def measures(self, _arm: str, /) -> Mapping[str, float]:
        """Seconds, tokens and bytes so far, of all arms together: they share weights and batches.

        `logit_change/<arm>` is the largest change of that arm's probe.
        """
        tally = self._tally
        return {
            "load_seconds": tally.load_seconds,
            "forward_seconds": tally.forward_seconds,
            "tokens_read": float(tally.tokens_read),
            "tokens_scored": float(tally.tokens_scored),
            "tokens_generated": float(tally.tokens_generated),
            "peak_memory_bytes": memory.peak_memory(self._placement.device),
            **{f"logit_change/{arm}": change for arm, change in tally.changes.items()},
        }

    def close(self) -> None:
        """Give the memory of the weights back."""
        self._loaded = None
        memory.release()


def _tell(checks: Mapping[str, tuple[Check, ...]], folder: Path, progress: Progress) -> None:
    """What is amiss, or not as the model's makers meant it, and yet no error."""
    for check in (one for found in checks.values() for one in found):
        if check.status != "ok":
            progress.say(check.message + ".")
    for note in generation.ignored_defaults(folder):
        progress.say(note)


def _completion(item: Prepared, **answer: Any) -> Completion:
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
