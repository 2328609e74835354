"""Making a text under judgement harmless to the prompt it stands in, and still readable.

What could be taken for something other than text is marked, never removed: the bracket that opens
a tag becomes ‹, a forged key stands in ‹ ›. Only characters that nobody sees are taken out, and
counted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from evalkit.judges.replies import ITEM, RATING, VERDICT
from evalkit.scorers.text import EMOJI

VERSION = 1
"""Raised when what is marked changes, for then judges are asked something else."""


class Disarmed(NamedTuple):
    """A text as it is shown to a judge, and how many invisible characters it had."""

    text: str
    hidden: int


# Zero-width and direction characters, fillers, "tag" characters (which can spell hidden ASCII) and
# controls other than tab and line feed. Joiners and selectors inside an emoji are no part of it.
HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# England, Scotland and Wales have flags that are written with tag characters.
_REGIONS = "|".join("".join(chr(0xE0000 + ord(one)) for one in at) for at in ("eng", "sct", "wls"))
_FLAG = f"\U0001f3f4\U000e0067\U000e0062(?:{_REGIONS})\U000e007f"
# A joiner shapes letters of scripts that join them, such as Persian and Hindi.
_SHAPING = "(?<=[\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d](?=[\u0600-\u08ff\u0900-\u0dff])"
# ©️ and its like: a sign that is shown as a picture.
_PICTURED = "(?<=[\u00a9\u00ae\u2000-\u3299])[\ufe0e\ufe0f]"
_SEEN = re.compile(
    rf"(?P<kept>{_FLAG}|{EMOJI.pattern}|{_SHAPING}|{_PICTURED})|(?P<hidden>{HIDDEN.pattern})"
)
_LINE_ENDS = re.compile("\r\n|[\r\u0085\u2028\u2029]")
_LONE = re.compile("[\ud800-\udfff]")  # half a character, which no encoding can write

_OURS = r"(?:answer|question|reference|conversation|material|criterion)"
_SPECIAL = (
    r"s|bos|eos|pad|unk|mask|cls|sep|eot|eod|eop|sop|eom|sys|inst|system|user|human|assistant|bot"
    r"|think|thinking|reasoning|tool_call|tool_response|start_of_turn|end_of_turn|start_of_image"
    r"|end_of_text|endoftext|im_start|im_end|_user|_bot|_system|reserved_\d+|unused\d+"
)
_INSTRUCT = (
    r"/?INST|gMASK|sMASK|/?SYSTEM_PROMPT|/?AVAILABLE_TOOLS|/?TOOL_CALLS|/?TOOL_RESULTS|CLS|SEP|PAD"
    r"|UNK|BOS|EOS|MASK"
)
_SECTION = (
    r"instruction|response|input|system(?:[ ]prompt)?|user|human|assistant|new[ ]instruction"
    r"|指令|新指令|系统|系统提示|用户|助手"
)
_SPEAKER = r"system|human|user|assistant|系统(?:提示|消息|通知)?|裁判|评委"
_KEY = rf"{VERDICT}|{RATING}|{ITEM}|rationale"
_QUOTE = "[\"'“”‘’＂＇]"


def _line(before: str, what: str, then: str) -> re.Pattern[str]:
    return re.compile(rf"^({before})({what})(?={then})", re.I | re.M)


_CHANGES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Our own tags, also in look-alike brackets.
    (re.compile(rf"[<＜﹤〈](?=\s{{0,4}}[/／]?\s{{0,4}}{_OURS}\b)", re.I), "‹"),
    # <|im_start|>, <｜User｜> and all of that form; <s>, <start_of_turn>; <<SYS>>.
    (re.compile(r"[<＜](?=[|｜][^<>＜＞|｜\n]{1,60}[|｜][>＞])"), "‹"),
    (re.compile(rf"<{{1,2}}(?=/?(?:{_SPECIAL})\s{{0,4}}/?>)", re.I), "‹"),
    (re.compile(rf"\[(?=(?:{_INSTRUCT})\])"), "⟦"),
    # "### Instruction:" and "Human:" at the start of a line.
    (_line(r"[ \t]{0,8}", "#{1,6}", rf"[ \t]*(?:{_SECTION})[ \t]*[:：]?[ \t]*$"), r"\1‹\2›"),
    (_line(r"[ \t]{0,8}", _SPEAKER, r"[ \t]{0,4}[:：]"), r"\1‹\2›"),
    # A verdict's key in JSON, also escaped, and a line that gives a verdict.
    (
        re.compile(rf"(\\?{_QUOTE}\s{{0,4}})({_KEY})(?=\s{{0,4}}\\?{_QUOTE}\s{{0,8}}[:：])", re.I),
        r"\1‹\2›",
    ),
    (_line(r"[\s*_#>`\-]{0,12}", f"{VERDICT}|{RATING}|{ITEM}", r"[\s*_`]{0,8}[:：]"), r"\1‹\2›"),
)  # fmt: skip


def disarmed(text: str) -> Disarmed:
    """The text without invisible characters, with everything marked that imitates a prompt's own
    parts: our tags, other models' special tokens, role labels, a verdict's keys."""
    seen, hidden = without_hidden(_LONE.sub("\ufffd", _LINE_ENDS.sub("\n", text)))
    for pattern, change in _CHANGES:
        seen = pattern.sub(change, seen)
    return Disarmed(seen, len(hidden))


def without_hidden(text: str) -> tuple[str, str]:
    """The text without characters that nobody sees, and those characters.

    What belongs to an emoji, or shapes letters of a script that joins them, stays.
    """
    gone: list[str] = []

    def kept(match: re.Match[str]) -> str:
        if match["kept"] is not None:
            return match["kept"]
        gone.append(match["hidden"])
        return ""

    return _SEEN.sub(kept, text), "".join(gone)
