"""The engine that answers for a base and its adapters: prepare, cut, complete, account."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from evalkit.config import HFModel
from evalkit.models.base import Batch, Outline, Prepared
from evalkit.models.hf import estimate, generation, identity, memory, plan, sizes
from evalkit.models.hf.adapters import check_adapter, open_adapter
from evalkit.models.hf.answering import Answering, completion
from evalkit.models.hf.imports import uncompiled
from evalkit.models.hf.loaded import Loaded, Loader
from evalkit.models.hf.loading import open_config, place, quiet
from evalkit.models.hf.recall import trial_key
from evalkit.models.hf.texts import Encoded
from evalkit.models.hf.tokenizers import open_tokens
from evalkit.models.hf.tokens import Tokens
from evalkit.progress import Progress
from evalkit.records import Check, Completion, Request


class HFEngine:
    """Answers for all arms that share one base."""

    arms: tuple[str, ...]

    def __init__(
        self,
        loader: Loader,
        checks: Mapping[str, tuple[Check, ...]],
        identities: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Use `open`, which checks what these parts must have in common."""
        self.arms = tuple(loader.configs)
        self._loader = loader
        self._checks = checks
        self._identities = identities
        self._tokens = loader.tokens
        self._placement = loader.placement
        self._loaded: Loaded | None = None
        self._load_seconds = 0.0
        self._peak = 0.0
        self._changes: Mapping[str, float] = {}
        self._shape = estimate.shape_of(loader.folder, loader.config)
        given = [c.batch_tokens for c in loader.configs.values() if c.batch_tokens is not None]
        self._budget = memory.default_budget(
            self._placement.device,
            min(given, default=None),
            memory.cache_bytes(loader.config, self._placement.kept_in),
            estimate.weights_bytes(self._shape, self._placement),
        )
        self._rules = generation.rules_of(loader.folder, loader.tokens)
        self._answering = Answering(self._budget, self._rules, self._tokens.window)

    @classmethod
    def open(cls, configs: Mapping[str, HFModel], *, offline: bool, progress: Progress) -> HFEngine:
        """Find the base, open its tokenizer, and check the adapters as far as files tell."""
        from evalkit.models.weights import config_hash, find_model, weights_hash

        first = next(iter(configs.values()))
        identity.check_same_view(configs)
        folder = find_model(first.path, revision=first.revision, offline=offline, progress=progress)
        with uncompiled():  # a configuration brings in far more than it needs
            config = open_config(folder, trust_remote_code=first.trust_remote_code)
        adapters = {
            arm: open_adapter(arm, model)
            for arm, model in configs.items()
            if model.adapter is not None
        }
        with uncompiled(), quiet():
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
        _tell(checks, folder, tokens, progress)
        placement = place(first, config)
        identify = partial(
            identity.fingerprints,
            placement=placement,
            tokens=tokens,
            weights=weights,
            config=config_hash(folder, trust_remote_code=first.trust_remote_code),
        )
        loader = Loader(
            configs=configs,
            folder=folder,
            config=config,
            placement=placement,
            tokens=tokens,
            trial=trial_key(identify(None)),
            adapters=adapters,
            progress=progress,
        )
        return cls(loader, checks, {arm: identify(adapters.get(arm)) for arm in configs})

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """Hashes and names of what determines this arm's answers."""
        return dict(self._identities[arm])

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """Whether the arm's adapter belongs to this base and changes it."""
        if arm not in self._loader.adapters:
            return ()
        # Of stored answers too: an adapter that changed nothing would have left none. By how much
        # it changed them is a measure of the session that loaded it.
        told = "checked on a probe before its first answer"
        moved = Check(name="adapter changes the logits", status="ok", message=told)
        return (moved, *self._checks[arm])

    @property
    def tokens(self) -> Tokens:
        """The tokenizer, and the rules by which requests become token ids."""
        return self._tokens

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Tokenise and key the requests, in their order."""
        with quiet():
            encoded = self._tokens.encode(requests)
        return self.prepare_encoded(requests, encoded)

    def prepare_encoded(
        self, requests: Sequence[Request], encoded: Sequence[Encoded]
    ) -> list[Prepared]:
        """Key requests whose token ids are another's, in their order."""
        for arm in {request.arm for request in requests} - set(self.arms):
            raise AssertionError(f"no arm {arm!r} in this engine")
        stems = {arm: identity.key_stem(self._identities[arm]) for arm in self.arms}
        return [
            identity.keyed(request, ids, stems[request.arm], self._rules, self._tokens.window)
            for request, ids in zip(requests, encoded, strict=True)
        ]

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        """Batches of one kind, the same for the same input and for every arm."""
        return plan.cut(prepared, self._loader.pools, self._budget)

    def outline(self, batches: Sequence[Batch], /) -> Outline:
        """Tokens from the prefix tree; seconds at most, by two matrix products timed here."""
        size, read, whole = self._sizes(batches)
        return Outline(
            arms=self.arms,
            requests=sum(map(len, batches)),
            tokens=size.tokens,
            unique_tokens=size.unique,
            read_tokens=read.unique,
            assumed=any(self._loader.shares(arm) is None for arm in self.arms),
            packets=len(batches),
            flop=self._shape.flop(size),
            seconds=estimate.seconds(
                batches, read, self._shape, self._placement, self._budget, whole
            ),
        )

    def _sizes(self, batches: Sequence[Batch]) -> tuple[sizes.Size, sizes.Size, set[str]]:
        """What the work is, what has to be read for it, and whose texts are written one by one."""
        longest = self._tokens.window
        if self._tokens.decoder_start:
            started, soft = len(self._tokens.text_start), self._loader.soft
            size = sizes.paired(batches, longest, started)
            return size, sizes.paired(batches, longest, started, soft) if soft else size, soft
        size = sizes.size(batches, longest)
        whole = {arm for arm in self.arms if self._loader.shares(arm) is False}
        return size, sizes.size(batches, longest, whole) if whole else size, whole

    def profile(self) -> Mapping[str, float]:
        """The rate of a large matrix product on this device, measured now; empty where the model
        left no memory for one."""
        try:
            return {"peak_flop_per_second": estimate.peak(self._placement)}
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            return {}

    def complete(self, batch: Batch) -> Iterator[Completion]:
        """Answer a batch, or what is left of one; each key once."""
        problems = {one.key: problem for one in batch if (problem := self._problem(one))}
        for item in {one.key: one for one in batch if one.key in problems}.values():
            yield completion(item, stop_reason="error", error=problems[item.key])
        left = _once(batch.without(problems))
        by_kind: dict[tuple[str, str], list[tuple[Prepared, ...]]] = {}
        for row in left.rows:
            first = row[0].request
            arm = "" if first.kind == "generate" else first.arm
            by_kind.setdefault((first.kind, arm), []).append(row)
        for (kind, arm), rows in by_kind.items():
            part = replace(left, rows=tuple(rows))
            if kind == "generate":
                yield from self._answering.generate(self._load(), part)
            else:
                yield from self._answering.score(self._load(), arm, part)

    def _problem(self, item: Prepared) -> str:
        """Why a request has no answer; empty if it has one."""
        if problem := self._tokens.problem(item.prompt_ids, item.continuation_ids):
            return problem
        scored = len(item.continuation_ids)
        match item.request.kind:
            case "generate":
                return ""
            case "rolling":
                return "" if scored else "the text has no tokens"
            case "whole":
                return "" if item.prompt_ids else "the text has fewer than two tokens"
            case "loglikelihood" if not scored:
                return "the continuation has no tokens"
            case "loglikelihood" if scored > self._tokens.window:
                return (
                    f"the continuation has {scored} tokens, more than the {self._tokens.window}"
                    " the model can read"
                )
            case _:
                return ""

    def _load(self) -> Loaded:
        """The weights and adapters, brought in when they are first needed."""
        if self._loaded is None:
            started = time.perf_counter()
            if self._placement.device.type == "cpu":
                memory.keep_freed()
            memory.forget_peak(self._placement.device)
            self._loaded = self._loader.load()
            self._load_seconds += time.perf_counter() - started
            self._changes = self._loaded.changes
        return self._loaded

    def measures(self, _arm: str, /) -> Mapping[str, float]:
        """Seconds, tokens and bytes so far, of all arms together: they share weights and batches.

        `logit_change/<arm>` is the largest change of that arm's probe.
        """
        tally, spent = self._answering.tally, self._answering.tally.spent
        return {
            "load_seconds": self._load_seconds,
            "prefill_seconds": tally.trunk_seconds + spent.prefill_seconds,
            "score_seconds": tally.score_seconds,
            "decode_seconds": spent.decode_seconds,
            "tokens_prefilled": float(tally.trunks.unique + spent.read.unique),
            "tokens_packed": float(tally.packed.unique),
            "tokens_scored": float(tally.scored_tokens),
            "tokens_generated": float(spent.decode_tokens),
            "flop_done": sum(map(self._shape.flop, (tally.trunks, tally.packed, spent.read))),
            "peak_memory_bytes": max(self._peak, memory.peak_memory(self._placement.device)),
            "weights_bytes": float(estimate.weights_bytes(self._shape, self._placement)),
            **{f"logit_change/{arm}": change for arm, change in self._changes.items()},
        }

    def close(self) -> None:
        """Give the memory of the weights back."""
        if self._loaded is not None:
            self._peak = max(self._peak, memory.peak_memory(self._placement.device))
            self._loaded = None
            self._answering.openings.clear()
            gc.collect()  # layers and what was put in place of their forward hold each other
        memory.release()


def _once(batch: Batch) -> Batch:
    """The batch with each key at its first place only."""
    seen: set[str] = set()
    rows = []
    for row in batch.rows:
        mine = tuple({one.key: one for one in row if one.key not in seen}.values())
        seen.update(one.key for one in mine)
        if mine:
            rows.append(mine)
    return replace(batch, rows=tuple(rows))


def _tell(
    checks: Mapping[str, tuple[Check, ...]], folder: Path, tokens: Tokens, progress: Progress
) -> None:
    """What is amiss, or not as the model's makers meant it, and yet no error."""
    for check in (one for found in checks.values() for one in found):
        if check.status != "ok":
            progress.say(check.message + ".")
    for note in generation.ignored_defaults(folder, tokens):
        progress.say(note)
