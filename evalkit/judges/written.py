"""Verdicts that a judge writes: how an endpoint is asked for them, and what its answer says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evalkit.config import ModelJudge
from evalkit.judges.calls import Call
from evalkit.records import Completion, Decoding, Message, Request
from evalkit.thinking import TAGS, answer_only, unfinished

if TYPE_CHECKING:
    from evalkit.judges.reading import Reading

_ALTERNATIVES = 20  # tokens told at each place: what OpenAI and vLLM tell at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A judge that writes its verdicts, with what decides how it is asked."""

    judge: ModelJudge
    temperature: float = 0.0
    seed: int = 0

    def requests(self, call: Call) -> tuple[Request, ...]:
        """One: the question."""
        from evalkit.judges.rendering import pairwise, pointwise

        if call.job.protocol == "pairwise":
            return (self._request(call, pairwise(call.matter, call.job.rubric, call.order)),)
        assert call.arm
        return (self._request(call, pointwise(call.matter, call.job.rubric, call.arm)),)

    def _request(self, call: Call, prompt: tuple[Message, ...]) -> Request:
        return Request(
            arm=self.judge.name,
            suite=call.job.suite,
            sample_id=call.matter.sample_id,
            kind="generate",
            prompt=prompt,
            decoding=self._decoding(call),
            index=call.repeat,
        )

    def _decoding(self, call: Call) -> Decoding:
        from evalkit.judges.reading import pairwise_schema, pointwise_schema

        pairwise = call.job.protocol == "pairwise"
        schema = pairwise_schema() if pairwise else pointwise_schema(call.job.rubric)
        return Decoding(
            max_new_tokens=self.judge.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
            thinking=TAGS if self.judge.reasoning else (),
            schema=json.dumps(schema) if self.judge.structured == "auto" else "",
            alternatives=0 if pairwise else _ALTERNATIVES,
        )

    def read(self, call: Call, answers: Sequence[Completion]) -> Reading:
        """What the answer says."""
        from evalkit.judges.reading import Reading, expected_rating, read_pairwise, read_pointwise

        (answer,) = answers
        if answer.error:
            withheld = _withheld(answer)
            return Reading(status="refused" if withheld else "error", error=answer.error)
        answer = self._answer(answer)
        if cut := unfinished(answer):
            return Reading(status="unparsed", error=cut)
        if call.job.protocol == "pairwise":
            return read_pairwise(answer.text)
        reading = read_pointwise(answer.text, call.job.rubric)
        if reading.status != "judged" or not answer.alternatives:
            return reading
        value = expected_rating(answer.alternatives, answer.text, call.job.rubric)
        return reading if value is None else replace(reading, value=value)

    def _answer(self, answer: Completion) -> Completion:
        return answer_only(answer, TAGS) if self.judge.reasoning else answer

    def again(
        self, asked: Sequence[Request], answers: Sequence[Completion], reading: Reading
    ) -> tuple[Request, ...]:
        """The question put once more where its answer could not be read; () where it could, or
        where the judge thought for so long that it would again."""
        from evalkit.judges.rendering import repaired

        (request,), (answer,) = asked, answers
        answer = self._answer(answer)
        if reading.status != "unparsed" or unfinished(answer):
            return ()
        assert not isinstance(request.prompt, str)
        prompt = repaired(request.prompt, answer.text, reading.error)
        return (replace(request, prompt=prompt),)


def _withheld(answer: Completion) -> bool:
    """Whether a filter of the endpoint's kept the answer back, which is a refusal."""
    from evalkit.models.protocol import WITHHELD

    return WITHHELD in answer.error
