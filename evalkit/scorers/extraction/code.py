"""The Python function a model wrote: in a fence, bare among words, or as the rest of its prompt."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from evalkit.scorers.extraction.found import NOT_EXTRACTED, Found

_PYTHON = frozenset({"", "python", "python3", "py", "py3", "ipython"})
_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^`]*$")
_LONGEST = 100_000  # characters that are read
_BLOCKS, _BODY = 16, 20_000  # blocks that are tried as a body, and characters of one
# How a line of code begins where it is not indented; words of a sentence do not.
_CODE = re.compile(
    r"import\s+[\w.]+\s*(?:,|as\b|#|$)|from\s+[\w.]+\s+import\b|@\w|(?:async\s+)?def\s+\w+\s*\("
    r"|class\s+\w+\s*[(:]|(?:if|elif|for|while|with|except)\b.*:\s*(?:#.*)?$|(?:else|try|finally)\s*:"
    r"|[A-Za-z_][\w.]*(?:\[[^]]*\])?\s*(?::\s*[\w.\[\], ]+)?(?:[-+*/|&%]|//|\*\*)?=(?!=)"
    r"|[A-Za-z_][\w.]*\(|[)\]}#]|assert\s|return\b|raise\b|\"\"\"|'''"
)
_INDENTED = re.compile(r"\t| {2}")


class Code(NamedTuple):
    """What was written; `continues`: it goes on behind the prompt, else it stands by itself."""

    text: str
    continues: bool


def code_in(text: str, head: str, name: str) -> Found[Code]:
    """The code that defines the function `name`, which `head`, the prompt's code, begins.

    The last fenced block that defines it counts. Without fences it is the run of lines around its
    `def`. A body without its `def` goes on where the head ends, whatever indentation was lost in
    front of it. Words alone, and code that defines something else, are not extracted.
    """
    text = text[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n")
    before, blocks = _split(text)
    if not blocks:
        return _bare(text, head, name)
    python = [one.text for one in blocks if one.language.lower() in _PYTHON]
    whole = [one for one in python if _defines(one, name)]
    if whole:
        return Found(Code(textwrap.dedent(whole[-1]).strip("\n"), continues=False))
    for one in python[:_BLOCKS]:
        if body := _body(one, head, name):
            return Found(Code(body, continues=True))
    found = _bare(before, head, name)  # a fence that only closes what the prompt opened
    return found if found.answer else Found(None, NOT_EXTRACTED)


class _Block(NamedTuple):
    language: str
    text: str


def _split(text: str) -> tuple[str, list[_Block]]:
    """What stands before the first fence, and the fenced blocks; one that is cut off goes to the
    end of the text."""
    lines = text.split("\n")
    blocks: list[_Block] = []
    first: int | None = None
    opened: re.Match[str] | None = None
    start = 0
    for place, line in enumerate(lines):
        match = _FENCE.match(line)
        if opened is None:
            if match:
                opened, start = match, place + 1
                first = place if first is None else first
        elif match and _closes(match, opened):
            blocks.append(_block(opened, lines[start:place]))
            opened = None
    if opened is not None:
        blocks.append(_block(opened, lines[start:]))
    return "\n".join(lines[:first]), blocks


def _closes(match: re.Match[str], opened: re.Match[str]) -> bool:
    return match["fence"].startswith(opened["fence"]) and not match["language"]


def _block(opened: re.Match[str], lines: Sequence[str]) -> _Block:
    """A block within a list is indented as a whole."""
    indent = opened["indent"]
    if indent and all(line.startswith(indent) or not line.strip() for line in lines):
        lines = [line.removeprefix(indent) for line in lines]
    return _Block(opened["language"], "\n".join(lines))


def _bare(text: str, head: str, name: str) -> Found[Code]:
    """Code without a fence."""
    text = text.strip("\n")
    lines = (text[1:] if re.match(r" \S", text) else text).split("\n")  # a token's own space
    place = next((n for n, line in enumerate(lines) if _definition(name).match(line)), None)
    if place is not None:
        start = place - _run(reversed(lines[:place]))
        end = place + 1 + _run(lines[place + 1 :])
        return Found(Code("\n".join(lines[start:end]).strip("\n"), continues=False))
    known = lines[: _run(lines[1:]) + 1]
    if body := _body("\n".join(known), head, name):
        return Found(Code(body, continues=True))
    if lines[0].strip() and _INDENTED.match(lines[0]):  # a body with a mistake in it
        return Found(Code("\n".join(known), continues=True))
    return Found(None, NOT_EXTRACTED)


def _run(lines: Iterator[str] | Sequence[str]) -> int:
    """How many lines there are before the first that is not code."""
    count = 0
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")) and not _CODE.match(line):
            break
        count += 1
    return count


def _definition(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:async\s+)?def\s+{re.escape(name)}\s*\(|{re.escape(name)}\s*=(?!=)")


def _defines(code: str, name: str) -> bool:
    pattern = _definition(name)
    return any(pattern.match(line) for line in textwrap.dedent(code).split("\n"))


def _body(code: str, head: str, name: str) -> str:
    """The code, indented as it has to be to become part of the function that the head begins.

    Empty where it cannot: it is none of Python's, or it would stand behind the function.
    """
    if not code.strip() or len(code) > _BODY:
        return ""
    own = _function(head, name)
    if own is None and _function(joined(head, "    ..."), name) is None:
        return ""
    before = 0 if own is None else len(own.body)
    code = code.strip("\n")
    ways = [code, " " + code] if code[0] in " \t" else [code]
    guesses = ["    " + code.lstrip(), textwrap.indent(code, "    ")]
    for way in (*ways, *guesses):
        grown = _function(joined(head, way), name)
        # A line of words may happen to be an expression; what is moved has to end somewhere.
        if grown and len(grown.body) > before and (way in ways or _ends(grown)):
            return way
    return ""


def joined(head: str, body: str) -> str:
    """A function's head and its body."""
    return head.rstrip() + "\n" + body


_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def _function(source: str, name: str) -> _Function | None:
    """The last function of that name; None where there is none or the source cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a stranger's escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [one for one in tree.body if isinstance(one, _Function) and one.name == name]
    return found[-1] if found else None


def _ends(function: ast.AST) -> bool:
    """Whether it returns, yields or raises anywhere, functions and classes within it aside."""
    left = list(ast.iter_child_nodes(function))
    while left:
        one = left.pop()
        if isinstance(one, ast.Return | ast.Raise | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(one, _Function | ast.ClassDef | ast.Lambda):
            left += ast.iter_child_nodes(one)
    return False
