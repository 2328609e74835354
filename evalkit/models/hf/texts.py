"""Many texts to token ids, where most of them begin alike: each piece is encoded once.

A fast tokenizer cuts a text into words before it looks any of them up, and no token crosses the
border of a word. So a text may be cut at such a border and its halves be encoded apart, where
three things hold: the steps of the tokenizer look at the neighbourhood of a border only (their
kinds are read from it), the border lies between plain letters (never at an accent, a digit, a
special token), and pieces put together are seen to equal the texts encoded whole (tried on some
of the texts that were asked for). Where any of them fails, every text is encoded whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

Ids: TypeAlias = tuple[int, ...]
_T = TypeVar("_T")

_CHUNK = 2_000  # texts a thread encodes in one go
_FEW = 16  # texts that begin alike and are worth a cut
_TRIED = 16  # texts on which cutting is tried
_NEAR = 160  # characters before a text's end in which a border is looked for
_LENGTHS = tuple(round(64 * 1.5**step) for step in range(18))  # of starts, up to some 60,000

# Greedy: the last border of the stretch they are matched on is the end of the match.
_BETWEEN_WORDS = re.compile(r"(?s:.*)(?<=[A-Za-z])(?= [A-Za-z])")
_BETWEEN_WORDS_OR_LINES = re.compile(r"(?s:.*)(?:(?<=[A-Za-z])(?= [A-Za-z])|(?<=\n)(?=[A-Za-z]))")
_CROSSING = re.compile(r"[A-Za-z] |\n[A-Za-z]")

# What a step does at one place depends on nothing but the characters beside it.
_LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"}
_LOCAL_PRETOKENIZERS = {"ByteLevel", "Split", "Digits", "Punctuation", "Whitespace",
                        "WhitespaceSplit", "BertPreTokenizer", "Metaspace"}  # fmt: skip
_LOOKS_FAR = re.compile(r"\(\?[=!<]|\\[AbBGzZ]|\^|\$")


class Seen(NamedTuple):
    """A prompt as the model sees it, which the requests on it share.

    `digest` is a SHA-256 of its ids, `hash` a short name for them.
    """

    ids: Ids
    text: str
    digest: str
    hash: str

    @classmethod
    def of(cls, ids: Ids, text: str) -> Seen:
        """These ids, which read as this text."""
        digest = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()
        return cls(ids, text, digest, digest[:16])


class Encoded(NamedTuple):
    """One request in tokens; `truncated` counts the prompt tokens cut from the left."""

    prompt: Seen
    continuation_ids: Ids
    truncated: int


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one tokenizer; `encode` and `wholes` equal encoding each text alone."""

    tokenizer: Any
    backend: Any
    """The tokenizer's compiled part, which threads may share; None where it has none."""
    border: re.Pattern[str] | None
    """Where a text may be cut; None: nowhere."""
    numbers: list[int]
    """One object for each token id: a million prompts of equal tokens hold no copies of them."""

    @classmethod
    def of(cls, tokenizer: Any, some: list[str]) -> Texts:
        """Read from the tokenizer whether its texts may be cut; try its compiled part on some."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # Whoever called the tokenizer last may have left it set to pad or to cut short.
            backend.no_padding()
            backend.no_truncation()
            backend.encode_special_tokens = tokenizer.split_special_tokens
        highest = max(tokenizer.get_vocab().values(), default=0)  # there may be gaps below it
        numbers = list(range(highest + 1))
        if backend is not None:
            texts = cls(tokenizer, backend, _border(backend), numbers)
            if texts._compiled(some) == texts._exact(some):
                return texts
        return cls(tokenizer, None, None, numbers)

    def encode(self, texts: Iterable[str]) -> dict[str, Ids]:
        """Ids without special tokens of the non-empty texts; shared starts are read once."""
        ordered = sorted({text for text in texts if text})
        groups, rest = _shared_starts(ordered) if self.border else ([], ordered)
        found: dict[str, Ids] = {}
        cut: list[tuple[Ids, int, list[str]]] = []
        for members, shared in groups:
            place = self._last_border(members[0], shared)
            if place and (start := self._start(members, place)):
                cut.append((start, place, members))
            else:
                rest += members
        pairs = ((start, place, text) for start, place, texts in cut for text in texts)
        pieces = (text[place:] for _, place, texts in cut for text in texts)
        for (start, _, text), ids in zip(pairs, self._ids(pieces), strict=True):
            found[text] = start + ids
        found.update(zip(rest, self._ids(rest), strict=True))
        return found

    def wholes(
        self, contexts: Mapping[str, Ids], tails: Mapping[str, Collection[str]]
    ) -> Iterator[tuple[str, list[Ids]]]:
        """Each context with the ids of context + tail, for its tails in their order.

        `contexts` has the ids of each context, none of them empty.
        """
        tried = len(tails) >= _FEW and self._tried_tails(contexts, tails)
        cuts = {c: self._last_border(c, len(c)) if tried else 0 for c in tails}
        for block in _chunks(tails.items()):
            wanted = dict.fromkeys(
                text
                for context, several in block
                for text in _ends(context, cuts[context], several)
            )
            ids = dict(zip(wanted, self._ids(wanted), strict=True))
            for context, several in block:
                yield context, self._joined(context, cuts[context], contexts[context], several, ids)

    def _joined(
        self, context: str, place: int, known: Ids, tails: Collection[str], ids: Mapping[str, Ids]
    ) -> list[Ids]:
        """The ids of a context with each of its tails, which were encoded from `place` on."""
        end = context[place:]
        kept = len(known) - len(ids[end]) if place else 0
        if place and known[kept:] != ids[end]:  # it did not come out as it did within the context
            return list(self._ids(context + tail for tail in tails))
        start = known[:kept]
        return [start + ids[end + tail] for tail in tails]

    def _last_border(self, text: str, end: int) -> int:
        """The last place before `end`, and near it, where the text may be cut; 0 if nowhere."""
        assert self.border is not None
        match = self.border.match(text, max(0, end - _NEAR), end)
        return match.end() if match else 0

    def _start(self, members: Sequence[str], place: int) -> Ids | None:
        """The ids before the border, if cutting there is right wherever it is tried."""
        some = [*members[:: max(1, len(members) // _TRIED)], members[-1]]
        pieces = self._ids(text[place:] for text in some)
        starts = set()
        for text, piece, whole in zip(some, pieces, self._exact(some), strict=True):
            start = whole[: len(whole) - len(piece)]
            if start + piece != whole or not self._parts_words(text, len(start)):
                return None
            starts.add(start)
        return starts.pop() if len(starts) == 1 else None

    def _tried_tails(
        self, contexts: Mapping[str, Ids], tails: Mapping[str, Collection[str]]
    ) -> bool:
        """Whether cutting near the ends of contexts is right wherever it is tried."""
        if self.border is None:
            return False
        some = list(islice(tails, 0, None, max(1, len(tails) // _TRIED)))
        for context in some:
            place = self._last_border(context, len(context))
            if not place:
                continue
            (end,) = self._ids([context[place:]])
            kept = len(contexts[context]) - len(end)
            texts = [context + tail for tail in tails[context]]
            pieces = self._ids(text[place:] for text in texts)
            for text, piece, whole in zip(texts, pieces, self._exact(texts), strict=True):
                if contexts[context][:kept] + piece != whole or not self._parts_words(text, kept):
                    return False
        return True

    def _parts_words(self, text: str, place: int) -> bool:
        """Whether a word of the tokenizer's ends right before this token."""
        words = self.backend.encode(text, add_special_tokens=False).word_ids
        return 0 < place < len(words) and words[place - 1] != words[place]

    def _ids(self, texts: Iterable[str]) -> Iterator[Ids]:
        """Ids of texts, each encoded whole, in their order."""
        chunks = _chunks(texts)
        first = list(islice(chunks, 2))
        chunks = chain(first, chunks)
        if self.backend is None:
            yield from chain.from_iterable(map(self._exact, chunks))
        elif len(first) < 2:  # not worth a thread
            yield from chain.from_iterable(map(self._compiled, chunks))
        else:
            yield from self._threaded(chunks)

    def _threaded(self, chunks: Iterator[list[str]]) -> Iterator[Ids]:
        # Threads of ours and not the tokenizer's own: those are switched off wherever a process
        # might fork, and these end here. It lets go of the interpreter while it works.
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[list[Ids]]] = deque()  # a few at a time, or all would be held
            for chunk in chunks:
                waiting.append(pool.submit(self._compiled, chunk))
                if len(waiting) > threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def _compiled(self, texts: list[str]) -> list[Ids]:
        encoded = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return self._shared(one.ids for one in encoded)

    def _exact(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of the texts as the tokenizer's own call gives them."""
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return self._shared(encoded)

    def _shared(self, encoded: Iterable[Sequence[int]]) -> list[Ids]:
        number = self.numbers.__getitem__
        return [tuple(map(number, ids)) for ids in encoded]


def _ends(context: str, place: int, tails: Iterable[str]) -> Iterator[str]:
    """What is to be encoded for a context and its tails: ends from the border on, or wholes."""
    end = context[place:]
    if place:
        yield end
    for tail in tails:
        yield end + tail


def _shared_starts(texts: list[str]) -> tuple[list[tuple[list[str], int]], list[str]]:
    """Groups of sorted texts that begin alike, each with how many characters; and the others."""
    groups: list[tuple[list[str], int]] = []
    rest = texts
    longest = max(map(len, texts), default=0)
    for length in reversed(_LENGTHS):  # a long start is looked for first: it saves the most
        if length > longest:
            continue
        starts: dict[str, list[str]] = {}
        for text in rest:
            starts.setdefault(text[:length], []).append(text)
        rest = []
        for start, members in starts.items():
            if len(members) >= _FEW and len(start) == length:
                groups.append((members, _common(members[0], members[-1])))
            else:
                rest += members
    return groups, rest


def _common(one: str, other: str) -> int:
    """How many first characters two texts share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _chunks(things: Iterable[_T]) -> Iterator[list[_T]]:
    waiting = iter(things)
    while chunk := list(islice(waiting, _CHUNK)):
        yield chunk


def _border(backend: Any) -> re.Pattern[str] | None:
    """Where texts of this tokenizer may be cut, as far as its parts tell."""
    try:
        steps = _steps(backend.pre_tokenizer, "pretokenizers")
        normalizers = _steps(backend.normalizer, "normalizers")
    except Exception:  # a step written in Python does not tell what it is
        return None
    local = (
        bool(steps)
        and all(step["type"] in _LOCAL_PRETOKENIZERS for step in steps)
        and not any(_looks_far(step.get("pattern", {}).get("Regex", "")) for step in steps)
        and all(step["type"] in _LOCAL_NORMALIZERS for step in normalizers)
        and not getattr(backend.model, "dropout", None)
        and not any(map(_may_cross, backend.get_added_tokens_decoder().values()))
    )
    if not local:
        return None
    # Some write a space in front of a text that has none: they may be cut before a space only.
    writes_space = any(
        step["type"] == "Metaspace" or step.get("add_prefix_space") for step in steps
    )
    return _BETWEEN_WORDS if writes_space else _BETWEEN_WORDS_OR_LINES


def _steps(part: Any, inner: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, with their settings; [] where there is none."""
    if part is None:
        return []
    told = json.loads(part.__getstate__())
    steps: list[dict[str, Any]] = []
    waiting = [told]
    while waiting:
        step = waiting.pop()
        if step["type"] == "Sequence":
            waiting += reversed(step[inner])
        else:
            steps.append(step)
    return steps


def _looks_far(pattern: str) -> bool:
    """Whether a regular expression looks back, at the ends of a text, or on past one character."""
    harmless = pattern.replace(r"(?!\S)", "").replace("[^", "[").replace(r"\$", "")
    return _LOOKS_FAR.search(harmless) is not None


def _may_cross(token: Any) -> bool:
    """Whether an added token may reach over a border between plain words or lines."""
    edges = token.content[:1] + token.content[-1:]
    spreads = token.lstrip or token.rstrip or token.single_word
    return _CROSSING.search(token.content) is not None or (
        spreads and any(each.isascii() and each.isalpha() for each in edges)
    )
