"""The loss on the answers, computed where the answers are."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from trainers.data.encode import IGNORED


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]  # untyped in trl
    """trl's trainer; on a CPU the output head is applied to answer positions only.

    On an accelerator trl's own loss bounds the memory of the logits tile by tile. On a CPU its
    tiles, of every position and in float32, take a third of a step of a small model.

    The held-out loss is the mean over tokens, as in training; the trainer's own is the mean
    over batches, in which a short answer's token counts for more.
    """

    _nats = 0.0
    _tokens = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sum of the answers' negative log-likelihoods over their number, in nats."""
        labels = inputs["labels"]
        if labels.device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # The logits at a position foretell the label of the next.
        following = labels[:, 1:]
        needed = (following != IGNORED).any(dim=0).nonzero().flatten()
        wanted = following[:, needed]
        if not needed.numel():  # a batch whose answers were all cut away
            needed = torch.zeros(1, dtype=torch.long)
            wanted = torch.full((len(labels), 1), IGNORED)
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=needed,
            use_cache=False,
        ).logits
        total = cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count = (wanted != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return total / torch.as_tensor(count).clamp(min=1)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, **options: Any
    ) -> Any:
        """One held-out batch, its tokens counted."""
        loss, logits, labels = super().prediction_step(
            model, inputs, prediction_loss_only, **options
        )
        tokens = int((inputs["labels"][:, 1:] != IGNORED).sum())
        self._nats += float(loss) * tokens
        self._tokens += tokens
        return loss, logits, labels

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """The held-out rows, with `eval_loss` in nats per learned token."""
        self._nats, self._tokens = 0.0, 0
        output = super().evaluation_loop(*args, **options)
        output.metrics["eval_loss"] = self._nats / max(self._tokens, 1)
        return output
