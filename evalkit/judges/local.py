"""Verdicts that are not written: a local judge's log-likelihoods of the options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.config import ModelJudge
from evalkit.judges.calls import Call
from evalkit.records import Completion, Request

if TYPE_CHECKING:
    from evalkit.judges.reading import Reading
    from evalkit.judges.rendering import Options

_LEVELS = {1.0: "better", 0.5: "tie", 0.0: "worse"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A judge whose verdict is the mean of what the options say, each as probable as the judge
    finds it among them. Nothing has to be read, and nothing can be misread."""

    judge: ModelJudge

    def requests(self, call: Call) -> tuple[Request, ...]:
        """One for each option, all on one prompt."""
        options = _options(call)
        return tuple(
            Request(
                arm=self.judge.name,
                suite=call.job.suite,
                sample_id=call.matter.sample_id,
                kind="loglikelihood",
                prompt=options.prompt,
                continuation=continuation,
                index=index,
            )
            for index, continuation in enumerate(options.continuations)
        )

    def read(self, call: Call, answers: Sequence[Completion]) -> Reading:
        """The expected utility (pairwise) or rating (pointwise) over the options."""
        from evalkit.judges.reading import Reading

        if problem := next(filter(None, map(_problem, answers)), ""):
            return Reading(status="error", error=problem)
        options = _options(call)
        shares = softmax([one.loglikelihood for one in answers])
        value = math.fsum(
            share * utility for share, utility in zip(shares, options.utilities, strict=True)
        )
        likeliest = max(range(len(shares)), key=shares.__getitem__)
        level = options.continuations[likeliest].strip()
        if call.job.protocol == "pairwise":
            level = _LEVELS[options.utilities[likeliest]]
        return Reading(status="judged", level=level, value=value)

    def again(
        self, _asked: Sequence[Request], _answers: Sequence[Completion], _: Reading
    ) -> tuple[Request, ...]:
        """Nothing: scores are never unreadable."""
        return ()


def _options(call: Call) -> Options:
    from evalkit.judges.rendering import pairwise_options, pointwise_options

    if call.job.protocol == "pairwise":
        return pairwise_options(call.matter, call.job.rubric, call.order)
    assert call.arm
    return pointwise_options(call.matter, call.job.rubric, call.arm)


def _problem(answer: Completion) -> str:
    """A judge that has not seen the whole question says nothing of it."""
    if answer.error:
        return answer.error
    if answer.truncated:
        return f"the question is {answer.truncated} tokens longer than this judge can read"
    return ""


def softmax(scores: Sequence[float]) -> list[float]:
    """Log-likelihoods (nats) to probabilities that add up to one."""
    most = max(scores)
    weights = [math.exp(score - most) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]
