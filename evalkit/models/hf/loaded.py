"""From a folder to arms that can be asked: weights, adapters, and the trial of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import EvalkitError, ModelError
from evalkit.models.hf import trials
from evalkit.models.hf.adapters import Adapter, check_base, check_changes
from evalkit.models.hf.adding import all_add_in_place
from evalkit.models.hf.arms import Arms
from evalkit.models.hf.caches import Trunks
from evalkit.models.hf.imports import for_weights
from evalkit.models.hf.loading import SMALLER, Placement, load_base, quiet
from evalkit.models.hf.masks import layers_of, switches_at
from evalkit.models.hf.memory import is_out_of_memory
from evalkit.models.hf.network import Network, not_finite
from evalkit.models.hf.products import keep_in_order
from evalkit.models.hf.recall import keep, recall, shares
from evalkit.models.hf.seq2seq import trials as seq2seq
from evalkit.models.hf.tokens import Tokens
from evalkit.progress import Progress

PROBE = "The quick brown fox, 你好世界 🙂, 3 × 14 = 42. Dear friends, today I would like to"


@dataclass(slots=True)
class Loaded:
    """What exists once the weights are in: the arms, each one's network and the starts it has
    read; and the network of them all together, where one forward may serve several arms."""

    arms: Arms
    networks: Mapping[str, Network]
    trunks: Mapping[str, Trunks]
    together: Network | None
    changes: Mapping[str, float]

    def forget_trunks(self, arms: Collection[str]) -> None:
        """Give back what was kept for any but these arms, whose turn it is."""
        for arm, trunks in self.trunks.items():
            if arm not in arms:
                trunks.forget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """What is known of the arms of one base before their weights are needed."""

    configs: Mapping[str, HFModel]
    folder: Path
    config: Any
    placement: Placement
    tokens: Tokens
    trial: str
    """The key of this base's trial, see `recall`."""
    adapters: Mapping[str, Adapter]
    progress: Progress

    @property
    def pools(self) -> list[list[str]]:
        """The arms that may be decoded together: one copy of the weights serves them at once."""
        mixing = [arm for arm in self.configs if self._may_mix(arm)]
        return [mixing, *([arm] for arm in self.configs if arm not in mixing)]

    def _may_mix(self, arm: str) -> bool:
        return arm not in self.adapters or self.adapters[arm].may_mix

    def shares(self, arm: str) -> bool | None:
        """Whether the arm's texts are read on shared starts; None before a model's first trial."""
        if arm in self.soft or self.tokens.decoder_start:
            return False
        return shares(self.trial)

    @property
    def soft(self) -> set[str]:
        """The arms that are soft prompts."""
        return {arm for arm, adapter in self.adapters.items() if adapter.virtual_tokens}

    @property
    def name(self) -> str:
        """What the user calls the base."""
        return next(iter(self.configs.values())).path

    def load(self) -> Loaded:
        """Bring the weights in; try the shortcuts and every adapter."""
        for_weights(adapters=bool(self.adapters), quantized=self.placement.quantization != "none")
        self.progress.say(
            f"Loading {self.name} ({self.placement.dtype_name}, quantization "
            f"{self.placement.quantization}, {self.placement.device})"
        )
        model = next(iter(self.configs.values()))
        # Not in inference mode: PEFT sets requires_grad whenever an adapter is switched.
        with quiet(), torch.no_grad():
            base = load_base(self.folder, model, self.config, self.placement)
            with self._explained():
                plain, probe = self._plain(base), self._probe
                bare = [trials.plain_logits(plain, probe) for _ in range(2 if self.adapters else 0)]
            arms = Arms(base, self.adapters)
            with self._explained():
                return self._tried(base, arms, bare)

    @property
    def _probe(self) -> list[int]:
        ids: list[int] = self.tokens.tokenizer.encode(PROBE)[: self.tokens.window - 1]
        return ids

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The first forward passes of the model, where much can turn out to be wrong."""
        try:
            yield
        except EvalkitError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise ModelError(
                    f"{self.name} was loaded, but left no memory for its first forward pass. "
                    f"{SMALLER}"
                ) from error
            raise ModelError(
                f"{self.name} was loaded, but fails on its first forward "
                f"pass ({type(error).__name__}: {error}). Try another dtype, quantization or "
                "device."
            ) from error

    def _plain(self, base: Any) -> Network:
        """The base without any shortcut."""
        reach = switches_at(base.config)
        return Network(
            model=base,
            head=base.get_output_embeddings(),
            device=base.get_input_embeddings().weight.device,
            layers=layers_of(base),
            singly=reach is not None and self.tokens.max_length > reach,
            decoder_start=self.tokens.decoder_start,
        )

    def _tried(self, base: Any, arms: Arms, bare: Sequence[torch.Tensor]) -> Loaded:
        """Each arm's network, after the trial of the shortcuts and of every adapter.

        `bare` are the logits of the probe, twice, before any adapter was attached.
        """
        arms.use(None)
        plain, probe = self._plain(base), self._probe
        fast, notes = self._surveyed(plain)
        self._say(type(base).__name__, notes)
        expected = trials.plain_logits(plain, probe)
        if not bool(torch.isfinite(expected).all()):
            raise ModelError(not_finite(base))
        if self.adapters:
            check_base(self.adapters, bare, expected)
        networks: dict[str, Network] = {}
        logits: dict[str, torch.Tensor] = {}
        changes: dict[str, float] = {}
        for arm in self.configs:
            arms.use(arm)
            own = arms.model(arm)
            networks[arm] = replace(fast, model=own)
            if arms.is_soft(arm):
                networks[arm], notes = _survey(plain)(
                    replace(plain, model=own), self.tokens.max_length, soft=True
                )
                self._say(arm, notes)
            logits[arm] = expected
            if arm in self.adapters:
                logits[arm] = trials.plain_logits(replace(plain, model=own), probe)
                changes[arm] = check_changes(self.adapters[arm], expected, logits[arm])
        together = self._mixed(arms, fast, logits, probe)
        trunks = {arm: Trunks() for arm in self.configs}
        keep_in_order(base)
        return Loaded(arms, networks, trunks, together, changes)

    def _surveyed(self, plain: Network) -> tuple[Network, list[str]]:
        """What the base can do, recalled or found by trying; and what it cannot."""
        if known := recall(plain, self.trial):
            return known, []
        fast, notes = _survey(plain)(plain, self.tokens.max_length)
        keep(fast, self.trial)
        return fast, notes

    def _mixed(
        self, arms: Arms, fast: Network, logits: Mapping[str, torch.Tensor], probe: Sequence[int]
    ) -> Network | None:
        """The network of one forward for several arms, where it gives each its own numbers."""
        some = self.pools[0]
        if len(some) < 2 or not fast.desks:
            return None
        names = [arms.name(arm) for arm in some]
        if len(set(names)) == 1:
            return fast  # the base under several names
        model, wanted = arms.use_all(), [logits[arm] for arm in some]
        for told in (True, False) if all_add_in_place(model) else (False,):
            network = replace(fast, model=model, tells_rows=told)
            if trials.mixes(network, names, wanted, probe):
                return network
        self.progress.say("These adapters are decoded one after the other: they do not mix.")
        return None

    def _say(self, who: str, notes: Sequence[str]) -> None:
        if notes:
            self.progress.say(f"{who} {'; '.join(notes)}.")


def _survey(network: Network) -> Callable[..., tuple[Network, list[str]]]:
    return seq2seq.survey if network.decoder_start else trials.survey
