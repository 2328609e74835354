"""Later turns of a conversation: each is asked after the model's own answer to the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from evalkit.models.base import Engine, Prepared
from evalkit.planning import ArmPlan, Plan
from evalkit.records import Completion, Message, Sample

Said = Callable[[Prepared], str | None]
"""What a model answered to a request; None where it failed, or never came to answer."""


def next_turn(asked: Plan, engine: Engine, turn: int, said: Said) -> Plan | None:
    """What `engine` is to be asked in a turn (1 is the first of the later ones), now that the turn
    before is answered; None where no sample goes on.

    A failed answer is followed by nothing: its sample has no score. A request's `index` grows by
    the run's repeats with each turn, so that every answer stays with its own conversation.
    """
    samples = {(s.info.name, one.id): one for s in asked.suites for one in s.samples if one.then}
    arms = tuple(
        replace(arm, prepared=tuple(_followed(arm, engine, samples, turn, said)))
        for arm in asked.arms
        if samples
    )
    names = {one.request.suite for arm in arms for one in arm.prepared}
    if not names:
        return None
    return replace(asked, arms=arms, suites=tuple(s for s in asked.suites if s.info.name in names))


def _followed(
    arm: ArmPlan,
    engine: Engine,
    samples: dict[tuple[str, str], Sample],
    turn: int,
    said: Said,
) -> Sequence[Prepared]:
    if arm.engine is not engine:
        return ()
    requests = []
    for one in arm.prepared:
        sample = samples.get((one.request.suite, one.request.sample_id))
        text = said(one) if sample is not None and len(sample.then) >= turn else None
        if sample is None or text is None:
            continue
        assert not isinstance(one.request.prompt, str), "only a chat has later turns"
        answer = Message(role="assistant", content=text)
        question = Message(role="user", content=sample.then[turn - 1])
        prompt = (*one.request.prompt, answer, question)
        index = one.request.index + arm.config.decoding.repeats
        requests.append(replace(one.request, prompt=prompt, index=index))
    return engine.prepare(requests) if requests else ()


def last_answers(
    sample: Sample, asked: Sequence[Prepared], answers: Sequence[Completion], repeats: int
) -> tuple[Completion, ...]:
    """The answers that are scored, in the order of the repeats: each conversation's last one."""
    if not sample.then:
        return tuple(answers)
    last: dict[int, Completion] = {}
    for one, answer in zip(asked, answers, strict=True):
        last[one.request.index % repeats] = answer
    return tuple(last[place] for place in sorted(last))
