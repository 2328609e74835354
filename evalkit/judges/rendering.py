"""What a judge reads: the rubric, the question and the answers, each text fenced in by tags.

The tags carry a code that is a hash of all that is shown, so that no text can hold it, and the same
call is asked in the same words whenever it is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.judges import disarming
from evalkit.judges.disarming import disarmed
from evalkit.judges.matters import Matter
from evalkit.judges.rubrics import RATINGS, Rubric
from evalkit.judges.wording import Prompts, filled, prompts_in
from evalkit.records import Message, Order, Protocol, Side
from evalkit.scorers.text import language_of

MOST_CHARACTERS = 16_000
"""A longer text is cut: its start and its end are shown, three to one."""
_MOST_SAID = 4_000  # of an unreadable reply that is shown to the judge again
_VERSION = 1  # raised where this module's own part in the prompts changes
_SALT = "evalkit judge"


class Options(NamedTuple):
    """A prompt that ends right before one of the continuations, for a judge that is scored by
    log-likelihood. `utilities` are those of the continuations: pairwise of the answer shown first
    (1, 0, ½), pointwise the rating."""

    prompt: tuple[Message, ...]
    continuations: tuple[str, ...]
    utilities: tuple[float, ...]


def pairwise(matter: Matter, rubric: Rubric, order: Order) -> tuple[Message, ...]:
    """The prompt that asks which of the two answers is better; the reply is JSON."""
    words = prompts_in(rubric.language)
    page = _pair(matter, rubric, order, ("1", "2"))
    return page.messages(words.compare_system, words.compare, criterion=_criterion(rubric))


def pointwise(matter: Matter, rubric: Rubric, arm: Side) -> tuple[Message, ...]:
    """The prompt that asks how good one arm's answer is; the reply is JSON."""
    words = prompts_in(rubric.language)
    page = _alone(matter, rubric, arm)
    if rubric.scale == "rating":
        return page.messages(
            words.grade_system, words.rate, criterion=rubric.question, items=_levels(rubric)
        )
    fields = ", ".join(f'"item_{place}": "yes | no"' for place in range(1, len(rubric.items) + 1))
    items = "\n".join(f"item_{place}: {item}" for place, item in enumerate(rubric.items, start=1))
    return page.messages(
        words.grade_system, words.check, criterion=rubric.question, items=items, fields=fields
    )


def pairwise_options(matter: Matter, rubric: Rubric, order: Order) -> Options:
    """The same question with a letter for a reply: A the first, B the second, C neither."""
    words = prompts_in(rubric.language)
    page = _pair(matter, rubric, order, ("A", "B"))
    prompt = page.messages(
        words.compare_system, words.compare_options, criterion=_criterion(rubric)
    )
    return Options(prompt, ("A", "B", "C"), (1.0, 0.0, 0.5))


def pointwise_options(matter: Matter, rubric: Rubric, arm: Side) -> Options:
    """The same question with a digit for a reply: the rating, or how many items hold."""
    words = prompts_in(rubric.language)
    page = _alone(matter, rubric, arm)
    if rubric.scale == "rating":
        prompt = page.messages(
            words.grade_system, words.rate_options, criterion=rubric.question, items=_levels(rubric)
        )
        return Options(prompt, tuple(map(str, RATINGS)), tuple(map(float, RATINGS)))
    count = len(rubric.items)
    prompt = page.messages(
        words.grade_system,
        words.check_options,
        criterion=rubric.question,
        items=_bullets(rubric.items),
        count=str(count),
    )
    held = range(count + 1)
    return Options(prompt, tuple(map(str, held)), tuple(each / count for each in held))


def repaired(messages: Sequence[Message], said: str, why: str) -> tuple[Message, ...]:
    """The conversation that asks once more, after a reply that could not be read."""
    words = prompts_in("zh" if language_of(messages[0].content) == "zh" else "en")
    reply = said.strip()[:_MOST_SAID] or "…"  # endpoints refuse an empty turn
    again = filled(words.repair, {"why": why})
    return (
        *messages,
        Message(role="assistant", content=reply),
        Message(role="user", content=again),
    )


def prompt_hash(rubric: Rubric, protocol: Protocol) -> str:
    """Twelve digits that change with anything a judge is asked besides the texts: the prompts, the
    rubric, what is disarmed and how it is laid out."""
    words = prompts_in(rubric.language).model_dump(mode="json")
    return _digest((_VERSION, disarming.VERSION, MOST_CHARACTERS, protocol, rubric.hash, words))


@dataclass(frozen=True, slots=True)
class _Page:
    """The texts of one call, laid out, and the code of their tags."""

    tag: str
    material: str

    def messages(self, system: str, user: str, **values: str) -> tuple[Message, ...]:
        told = {"tag": self.tag, "material": self.material, **values}
        return (
            Message(role="system", content=filled(system, told)),
            Message(role="user", content=filled(user, told)),
        )


def _pair(matter: Matter, rubric: Rubric, order: Order, labels: tuple[str, str]) -> _Page:
    assert order, "a pairwise question has an order"
    shown = (matter.base, matter.tuned)
    if order == "tuned_first":
        shown = (matter.tuned, matter.base)
    layout = _Layout(prompts_in(rubric.language), _tag(matter, rubric, order, shown))
    parts = [*layout.question(matter), *layout.reference(matter, rubric)]
    for label, answers in zip(labels, shown, strict=True):
        parts += layout.answers(answers, label)
    return _Page(layout.tag, "\n\n".join(parts))


def _alone(matter: Matter, rubric: Rubric, arm: Side) -> _Page:
    # Neither the arm's name nor the other's answer: a base is rated once for all tuned models.
    answers = matter.tuned if arm == "tuned" else matter.base
    layout = _Layout(prompts_in(rubric.language), _tag(matter, rubric, "", (answers,)))
    parts = [*layout.question(matter), *layout.reference(matter, rubric)]
    return _Page(layout.tag, "\n\n".join([*parts, *layout.answers(answers)]))


def _tag(matter: Matter, rubric: Rubric, order: Order, shown: tuple[tuple[str, ...], ...]) -> str:
    asked = [(turn.role, turn.content) for turn in matter.turns]
    sample = (matter.suite, matter.sample_id, asked, matter.then, matter.reference)
    return _digest((_SALT, order, rubric.hash, sample, shown))


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How texts are set into a prompt: a heading, what there is to say of it, the fenced text."""

    words: Prompts
    tag: str

    def question(self, matter: Matter) -> list[str]:
        words = self.words
        if not matter.then:
            return [self.block(words.question, "question", self.asked(matter))]
        texts = (self.asked(matter), *matter.then)
        return [words.about_turns] + [
            self.block(filled(words.question_turn, {"turn": str(turn)}), f"question-turn-{turn}", t)
            for turn, t in enumerate(texts, start=1)
        ]

    def asked(self, matter: Matter) -> str:
        """What was asked; roles are told where there is more than one user's text."""
        if len(matter.turns) == 1:
            return matter.turns[0].content
        roles = self.words.roles
        return "\n\n".join(f"[{roles[turn.role]}]\n{turn.content}" for turn in matter.turns)

    def reference(self, matter: Matter, rubric: Rubric) -> list[str]:
        if not rubric.reference or not matter.reference:
            return []
        words = self.words
        return [self.block(words.reference, "reference", matter.reference, words.about_reference)]

    def answers(self, texts: Sequence[str], which: str = "") -> list[str]:
        words = self.words
        one = words.answer if which else words.only_answer
        many = words.answer_turn if which else words.only_answer_turn
        slug = f"answer-{which.lower()}" if which else "answer"
        if len(texts) == 1:
            return [self.block(filled(one, {"which": which}), slug, texts[0])]
        return [
            self.block(
                filled(many, {"which": which, "turn": str(turn)}), f"{slug}-turn-{turn}", text
            )
            for turn, text in enumerate(texts, start=1)
        ]

    def block(self, heading: str, slug: str, text: str, about: str = "") -> str:
        """A text between its tags; what was done to it is said before them."""
        short = self.shortened(text)
        shown, hidden = disarmed(short)
        notes = [about] if about else []
        if short != text:
            notes.append(self.words.cut)
        if hidden:
            notes.append(filled(self.words.hidden, {"count": f"{hidden:,}"}))
        if not shown.strip():
            notes.append(self.words.empty)
        name = f"{slug}-{self.tag}"
        told = heading
        if notes:
            told = filled(self.words.noted, {"heading": heading, "notes": " ".join(notes)})
        return f"{told}\n<{name}>\n{shown}\n</{name}>"

    def shortened(self, text: str) -> str:
        if len(text) <= MOST_CHARACTERS:
            return text
        start = MOST_CHARACTERS * 3 // 4
        end = len(text) - (MOST_CHARACTERS - start)
        gap = filled(self.words.left_out, {"count": f"{end - start:,}"})
        return f"{text[:start]}\n‹{self.tag}: {gap}›\n{text[end:]}"


def _criterion(rubric: Rubric) -> str:
    """A checklist's items are what to look at where answers are compared."""
    if rubric.scale == "rating":
        return rubric.question
    points = prompts_in(rubric.language).points
    return f"{rubric.question}\n{points}\n{_bullets(rubric.items)}"


def _levels(rubric: Rubric) -> str:
    levels = rubric.items or prompts_in(rubric.language).plain_levels
    return "\n".join(f"{rating}: {level}" for rating, level in zip(RATINGS, levels, strict=True))


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
