"""What is put before a judge: a question, and both arms' answers to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evalkit.records import Completion, Message, Pair, Result, Sample
from evalkit.scorers.generated import unusable
from evalkit.scorers.text import EMOJI


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """One sample as a judge sees it.

    `turns` are what was asked before the first answer, the question last; `then` the user's later
    turns. `base` and `tuned` are the arms' answers, one for each turn of the user's; an answer may
    be empty, for a model that says nothing has answered. `reference` is empty where there is none.
    """

    suite: str
    sample_id: str
    language: str
    turns: tuple[Message, ...]
    then: tuple[str, ...] = ()
    base: tuple[str, ...]
    tuned: tuple[str, ...]
    reference: str = ""
    cluster: str = ""


def matter_of(pair: Pair, language: str) -> Matter | None:
    """The pair as a matter; None where an arm has no text to judge (it failed, never came to an
    answer, or was asked for likelihoods alone).

    Of several answers to one question the first is judged. Worked examples before a plain question
    are left out.
    """
    base, tuned = _answers(pair.base), _answers(pair.tuned)
    if base is None or tuned is None:
        return None
    sample = pair.base.sample
    return Matter(
        suite=sample.suite,
        sample_id=sample.id,
        language=language,
        turns=_turns(sample),
        then=sample.then,
        base=base,
        tuned=tuned,
        reference=_reference(sample),
        cluster=sample.cluster,
    )


def lengths(matter: Matter) -> tuple[int, int]:
    """How long the base's and the tuned arm's answers are, in characters, all turns together."""
    return sum(map(len, matter.base)), sum(map(len, matter.tuned))


def stripped(matter: Matter) -> Matter:
    """The same with emoji and markup taken out of the answers: what is said, without its dress."""
    return replace(
        matter,
        base=tuple(map(undressed, matter.base)),
        tuned=tuple(map(undressed, matter.tuned)),
    )


def _turns(sample: Sample) -> tuple[Message, ...]:
    lead = sample.lead or 0
    if isinstance(sample.prompt, str):
        return (Message(role="user", content=sample.prompt[lead:].strip() or sample.prompt),)
    last = sample.prompt[-1]
    return (*sample.prompt[:-1], replace(last, content=last.content[lead:].strip() or last.content))


def _answers(result: Result) -> tuple[str, ...] | None:
    """The first conversation's answers, turn after turn, as they lie in a run: each turn's repeats
    side by side."""
    completions, turns = result.completions, 1 + len(result.sample.then)
    if turns == 1:
        said: Sequence[Completion] = completions[:1]
    elif any(map(_silent, completions)) or len(completions) % turns:
        # A conversation broke off, so whose turn an answer is can no longer be told.
        return None
    else:
        said = completions[:: len(completions) // turns]
    if len(said) < turns or any(map(_silent, said)):
        return None
    return tuple(one.text for one in said)


def _silent(completion: Completion) -> bool:
    return completion.stop_reason == "scored" or bool(unusable(completion))


def _reference(sample: Sample) -> str:
    """The row's `reference` (a text, or one for each turn), else its targets."""
    given = sample.fields.get("reference")
    if isinstance(given, str) and given.strip():
        return given.strip()
    texts = given if isinstance(given, list) else sample.targets
    found = [str(text).strip() for text in texts if str(text).strip()]
    if len(found) < 2:
        return "".join(found)
    return "\n".join(f"({place}) {text}" for place, text in enumerate(found, start=1))


_Change = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
_TAGS = r"b|i|u|s|em|strong|del|ins|mark|small|sub|sup|span|font"
_BREAKS = r"br|hr|p|div|center|h[1-6]|ul|ol|li"
# Repeats are bounded or cannot begin twice in one run, so that no text takes quadratic time.
_MARKUP: tuple[_Change, ...] = (
    (re.compile(r"^[ \t]*(?:```|~~~).*$", re.M), ""),  # a fence's line; the code stays
    (re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.M), ""),  # a rule, a heading's underline
    (re.compile(r"^[ \t]*(?:\|[ \t]*)?:?-{2,}:?(?:[ \t]*\|[ \t]*:?-*:?)*[ \t]*$", re.M), ""),
    (re.compile(rf"</?(?:{_TAGS})\b[^<>\n]{{0,500}}>", re.I), ""),
    (re.compile(rf"</?(?:{_BREAKS})\b[^<>\n]{{0,500}}>", re.I), "\n"),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?:[ \t]+\"[^\"\n]*\")?\)"), r"\1"),
    (re.compile(r"^[ \t]*(?:>[ \t]?)+", re.M), ""),
    (re.compile(r"^[ \t]*#{1,6}[ \t]+", re.M), ""),
    (re.compile(r"^[ \t]*[-*+•·▪►✔☑][ \t]+", re.M), ""),
    (re.compile(r"(\*\*\*|\*\*|___|__|~~)(?=\S)(.{1,500}?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_(?=[^\s_])([^_\n]+?)(?<=[^\s_])_(?![\w_])"), r"\1"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
    # A hashtag keeps its word; "C#", "#1" and a link's anchor are none.
    (
        re.compile(r"(?<![A-Za-z0-9&/#])(?:#(?!\d+(?!\w))(?=\w)[^\s#]+)+#?"),
        lambda tags: f" {tags.group().replace('[话题]', '').replace('#', ' ')} ",
    ),
    (re.compile(r"^[ \t]*\||\|[ \t]*$", re.M), ""),
    (re.compile(r"(?<![ \t])[ \t]+\|[ \t]+"), "  "),
)
_LEFT_OVER = re.compile("[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")


def undressed(text: str) -> str:
    """A text without emoji, Markdown, formatting tags and the marks of hashtags; every word stays.

    Numbers of a list stay, too: they may be what was asked for.
    """
    text = _LEFT_OVER.sub("", EMOJI.sub(" ", text))
    for pattern, change in _MARKUP:
        text = pattern.sub(change, text)
    rows = (re.sub(r"[ \t]{2,}", " ", row).strip() for row in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip()
