"""The engine that answers for a base and its adapters: prepare, cut, complete, account."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import EvalkitError, ModelError, UsageError
from evalkit.models.base import Prepared
from evalkit.models.hf import estimate, generation, memory, network, plan, scoring
from evalkit.models.hf.adapters import (
    Adapter,
    Arms,
    check_adapter,
    check_changes,
    open_adapter,
)
from evalkit.models.hf.loading import Placement, load_base, open_config, place, quiet
from evalkit.models.hf.tokens import (
    Encoded,
    Tokens,
    generation_defaults,
    ids_hash,
    open_tokens,
    read_template,
)
from evalkit.progress import Progress
from evalkit.records import Check, Completion, Request

ENGINE_VERSION = "hf-1"
"""Part of every key: raise it when a change of this package may change a number."""

PROBE = "The quick brown fox, 你好世界 🙂, 3 × 14 = 42. Dear friends, today I would like to"

NEUTRAL = {
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "bad_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "guidance_scale": None,
}


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
        weights: str,
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
        self._weights = weights
        self._progress = progress
        self._loaded: Loaded | None = None
        self._tally = Tally()
        given = [c.batch_tokens for c in configs.values() if c.batch_tokens is not None]
        self._budget = memory.default_budget(placement.device, min(given, default=None))
        penalty = generation_defaults(folder).get("repetition_penalty")
        self._rules = generation.Rules(
            tokenizer=tokens.tokenizer,
            stop_ids=tokens.stop_ids,
            repetition_penalty=float(penalty or 1.0),
        )
        self._identities = {arm: self._identity(arm) for arm in self.arms}

    @classmethod
    def open(cls, configs: Mapping[str, HFModel], *, offline: bool, progress: Progress) -> HFEngine:
        """Find the base, open its tokenizer, and check the adapters as far as files tell."""
        from evalkit.models.weights import find_model, weights_hash

        first = next(iter(configs.values()))
        _check_same_view(configs)
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
        for check in (one for found in checks.values() for one in found):
            if check.status != "ok":
                progress.say(check.message + ".")
        for note in _ignored_defaults(folder):
            progress.say(note)
        placement = place(first, config)
        return cls(configs, folder, config, placement, tokens, adapters, checks, weights, progress)

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """Hashes and names of what determines this arm's answers."""
        return dict(self._identities[arm])

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """Whether the arm's adapter belongs to this base and changes it."""
        if arm not in self._adapters:
            return ()
        change = self._tally.changes.get(arm)
        told = (
            "checked when its stored answers were computed"
            if change is None  # an adapter that changed nothing would have left none
            else f"by up to {change:.3g} on a probe"
        )
        moved = Check(name="adapter changes the logits", status="ok", message=told)
        return (moved, *self._checks[arm])

    def _identity(self, arm: str) -> dict[str, str]:
        adapter = self._adapters.get(arm)
        placement = self._placement
        packages = ["torch", "transformers"]
        packages += ["peft"] if adapter else []
        packages += ["bitsandbytes"] if placement.quantization != "none" else []
        return {
            "engine": ENGINE_VERSION,
            "weights": self._weights,
            "adapter": adapter.digest if adapter else "",
            "tokenizer": self._tokens.tokenizer_hash,
            "template": self._tokens.template_hash,
            "dtype": placement.dtype_name,
            "quantization": placement.quantization,
            "attention": placement.attention,
            "device": placement.device.type,
            "max_length": str(self._tokens.max_length),
            "packages": " ".join(f"{name}=={_version(name)}" for name in packages),
        }

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Tokenise and key the requests, in their order."""
        for arm in {request.arm for request in requests} - set(self.arms):
            raise AssertionError(f"no arm {arm!r} in this engine")
        with quiet():
            encoded = self._tokens.encode(requests)
        heads = {arm: self._key_head(arm) for arm in self.arms}
        return [
            self._prepared(request, ids, heads[request.arm])
            for request, ids in zip(requests, encoded, strict=True)
        ]

    def _key_head(self, arm: str) -> str:
        # Template and tokenizer reach the answer through the ids (and the ids' text) alone; they
        # stay in, so that a key never depends on how faithfully ids can be decoded.
        return json.dumps(self._identities[arm], sort_keys=True)

    def _prepared(self, request: Request, encoded: Encoded, head: str) -> Prepared:
        prompt_hash = ids_hash(encoded.prompt_ids)
        return Prepared(
            key=self._key(request, encoded, head),
            request=request,
            prompt_ids=encoded.prompt_ids,
            continuation_ids=encoded.continuation_ids,
            prompt_text=encoded.prompt_text,
            prompt_hash=prompt_hash,
            truncated=encoded.truncated,
            decoding=request.decoding if request.kind == "generate" else None,
        )

    def _key(self, request: Request, encoded: Encoded, head: str) -> str:
        material: list[object] = [head, request.kind, encoded.prompt_ids, encoded.continuation_ids]
        if request.kind == "generate":
            decoding = request.decoding
            assert decoding is not None, "a generate request carries its decoding"
            material += [decoding.max_new_tokens, decoding.stop, sorted(self._rules.stop_ids)]
            material += [self._rules.repetition_penalty]
            if decoding.temperature > 0:  # a greedy text depends on no seed
                material += [decoding.temperature, decoding.top_p, decoding.seed, request.index]
        text = json.dumps(material, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

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

    def measures(self) -> Mapping[str, float]:
        """Seconds, tokens and bytes so far; `logit_change/<arm>` is the probe's largest change."""
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


def _check_same_view(configs: Mapping[str, HFModel]) -> None:
    """Arms that would cut or render prompts differently would not see the same tokens."""
    for name in ("chat_template", "max_length"):
        given = [getattr(config, name) for config in configs.values()]
        values = {_content(value): str(value) for value in given}
        if len(values) > 1:
            raise UsageError(
                f"model.{name} must be the same for all arms, so that they see the same tokens; "
                f"here it is {' and '.join(sorted(values.values()))}."
            )


def _content(value: object) -> str:
    """A template is what its file says, wherever the file lies."""
    return read_template(value) if isinstance(value, Path) else str(value)


def _ignored_defaults(folder: Path) -> list[str]:
    """Settings of generation_config.json that would change texts and are not followed."""
    declared = generation_defaults(folder)
    ignored = [
        f"{name}: {declared[name]}"
        for name, neutral in NEUTRAL.items()
        if name in declared and declared[name] not in (neutral, None)
    ]
    if not ignored:
        return []
    return [f"The model's generation_config.json is not followed in {', '.join(ignored)}."]


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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
