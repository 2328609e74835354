"""Words, sentences, scripts and emoji of English and Chinese text, as all scorers see them."""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["en", "zh"]

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_CJK_CHARACTER = re.compile(f"[{CJK}]")
_WORD = re.compile(
    rf"[{CJK}]|\d+(?:[.,:]\d+)+|(?:(?![{CJK}])[^\W_])+(?:['’-](?:(?![{CJK}])[^\W_])+)*"
)
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+(?:['’-][A-Za-zÀ-ɏ]+)*")

_PICTURE = (
    "[\U0001f000-\U0001faff\u2600-\u27bf\u231a\u231b\u23e9-\u23fa\u2b05-\u2b07\u2b1b\u2b1c"
    "\u2b50\u2b55\u203c\u2049\u3297\u3299]"
)
# One emoji as a reader counts them: a keycap (1️⃣), a flag, a symbol that the variation selector
# turns into a picture (▶️), or a picture with its skin tone and everything joined to it (👩‍🍳).
EMOJI = re.compile(
    "[0-9#*]\ufe0f?\u20e3"
    "|[\U0001f1e6-\U0001f1ff]{2}"
    "|[\u2190-\u25ff]\ufe0f"
    rf"|{_PICTURE}\ufe0f?[\U0001f3fb-\U0001f3ff]?"
    rf"(?:\u200d{_PICTURE}\ufe0f?[\U0001f3fb-\U0001f3ff]?)*"
)

_QUOTES = str.maketrans("‘’‛′“”„″", "''''\"\"\"\"")
_ONE_SPELLING = str.maketrans("−–﹣⁄", "---/")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b(?=\s+\S)")
# Marks without which it is another answer.
_TELLING = re.compile(
    r"(?<=\d)(?!,\d{3}(?!\d))[^\w\s](?=\d)"
    r"|(?<!\w)-(?=[$€£¥]?\.?\d)|(?<!\w)\.(?=\d)"
    r"|(?<=[^\W_])[+#]+(?!\w)"
)
_SPACE_BESIDE_CJK = re.compile(rf"(?<=[{CJK}])\s+|\s+(?=[{CJK}])")
_MARKER = re.compile(r"^\s*(?:[-*•·]|\d{1,3}[.)、．）])\s*")
# A full stop after these does not end a sentence.
_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "a.m", "p.m", "u.s", "u.k", "fig")
)
_SENTENCE_END = re.compile(r"[。！？…]+[”’」』）)\"']*|[.!?]+[\"'”’)]*(?=\s|$)|\n+")


def fold(text: str) -> str:
    """Text as it is compared: NFKC (half width), case-folded, straight quotes, single spaces.

    Spaces beside Chinese characters are dropped: "25 元" and "25元" are one spelling.
    """
    folded = unicodedata.normalize("NFKC", text.translate(_QUOTES)).casefold()
    return _SPACE_BESIDE_CJK.sub("", " ".join(folded.split()))


def normalize(text: str) -> str:
    """`fold`, less punctuation and English articles: SQuAD's normalisation, for any script.

    Unlike SQuAD's it keeps what makes another answer: a mark between two digits (3.5, 1/2, 10:30;
    but no thousands comma), a minus before a number, the signs of C++ and C#, and an article that
    no word follows (the choice A). What is marks alone stays as it is.
    """
    folded = fold(text).translate(_ONE_SPELLING)
    kept = {place for match in _TELLING.finditer(folded) for place in range(*match.span())}
    bare = "".join(sign for place, sign in enumerate(folded) if place in kept or not _is_mark(sign))
    return fold(_ARTICLE.sub(" ", bare)) or folded


def _is_mark(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign)[0] == "P"


def words(text: str) -> list[str]:
    """Words of a spaced script and single Chinese characters, in order; no punctuation."""
    return _WORD.findall(text)


def characters(text: str) -> int:
    """How many characters that are not white space."""
    return sum(not character.isspace() for character in text)


def lines(text: str) -> list[str]:
    """The lines that hold something, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(text: str) -> list[str]:
    """Sentences of English and Chinese text; a line break ends one, "3.5" and "e.g." do not."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end.group()[0] == "." and _is_abbreviated(text[start : end.start()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    return [piece.strip() for piece in found if words(_MARKER.sub("", piece))]


def _is_abbreviated(before: str) -> bool:
    last = before.split()[-1:] or [""]
    # "1." at the start of a line numbers it.
    return last[0].lstrip("(\"'").casefold() in _ABBREVIATIONS or (
        last[0].isdigit() and before.strip() == last[0]
    )


def language_of(text: str) -> Language | None:
    """The language most of the text is written in, by script; None where there are no letters.

    A Chinese character weighs as much as an English word, so that a brand name does not turn a
    Chinese sentence English. Any Latin script counts as English.
    """
    chinese = len(_CJK_CHARACTER.findall(text))
    latin = len(_LATIN_WORD.findall(text))
    if not chinese and not latin:
        return None
    return "zh" if chinese >= latin else "en"


def mentions(text: str, phrase: str, *, prefix: bool = False) -> bool:
    """Whether `phrase` stands in `text` as whole words (of a spaced script) and whole numbers."""
    return find_mention(fold(text), phrase, prefix=prefix) >= 0


def find_mention(folded: str, phrase: str, *, prefix: bool = False) -> int:
    """Where `phrase` first stands in a folded text, or −1.

    Chinese needs no boundary. `prefix` lets letters follow, so that "centimet" finds
    "centimetres"; digits never may: "70" is not in "700", "5" is not in "2.5".
    """
    wanted = fold(phrase)
    if not wanted:
        return -1
    start = folded.find(wanted)
    while start >= 0:
        if _is_whole(folded, start, start + len(wanted), prefix=prefix):
            return start
        start = folded.find(wanted, start + 1)
    return -1


def _is_whole(text: str, start: int, end: int, *, prefix: bool) -> bool:
    before, after = text[max(0, start - 2) : start], text[end : end + 5]
    if text[start].isdigit() and (
        re.search(r"\d$|\d\.$", before)
        or (re.search(r"\d,$", before) and re.match(r"\d{3}(?!\d)", text[start : start + 4]))
    ):
        return False
    if text[end - 1].isdigit() and re.match(r"\d|\.\d|,\d{3}(?!\d)", after):
        return False
    if before and _is_letter(text[start]) and _is_letter(before[-1]):
        return False
    follows = bool(after) and _is_letter(text[end - 1]) and _is_letter(after[0])
    return prefix or not follows


def _is_letter(character: str) -> bool:
    """A letter of a script that puts spaces between words."""
    return character.isalpha() and not _CJK_CHARACTER.match(character)
