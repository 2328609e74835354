"""From completions to the numbers that OpenCompass's own Hugging Face class computes of texts."""

from __future__ import annotations

import math

from evalkit.records import Completion


def tokens_of(whole: Completion) -> int:
    """How many tokens a whole text has, special ones counted: the first of them has no score."""
    return len(whole.logprobs) + 1


def perplexity(whole: Completion, masked: int = 0) -> float:
    """What OpenCompass calls a perplexity: a mean of negative log-likelihoods, in nats.

    The first token has none, and is counted among those that are divided by. With `masked` the
    first tokens are neither summed nor counted. (`HuggingFaceBaseModel.get_ppl`.)
    """
    kept = whole.logprobs[max(masked, 1) - 1 :]
    counted = tokens_of(whole) - masked
    return -math.fsum(kept) / counted if counted > 0 else math.nan


def loglikelihood(whole: Completion, continuation: Completion) -> float:
    """OpenCompass's log-likelihood of a text, given how many tokens its continuation has.

    It leaves out as many of the *first* tokens as the continuation has, and is a mean
    (`HuggingFaceBaseModel.get_loglikelihood`): another number than the name says, and what its
    choices are made by.
    """
    return -perplexity(whole, len(continuation.logprobs))
