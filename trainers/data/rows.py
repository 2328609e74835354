"""Reading training rows; what is wrong in a file is said with file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from evalkit import jsonl
from evalkit.errors import TrainingError
from evalkit.records import Message, Role

MOST_MISTAKES_SHOWN = 10

_ROLES = get_args(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One conversation to learn from; its assistant turns are the answers."""

    messages: tuple[Message, ...]
    file: str
    line: int

    @property
    def place(self) -> str:
        """Where the row stands, as editors understand it."""
        return f"{self.file}:{self.line}"

    @property
    def content_hash(self) -> str:
        """SHA-256 of what is said and by whom; equal for rows that teach the same."""
        turns = [[each.role, each.content] for each in self.messages]
        return hashlib.sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file: {prompt, completion} or {messages}; other keys are ignored.

    Raises TrainingError listing the first mistakes with their lines, or that there is nothing.
    """
    try:
        text = jsonl.read_text(path)
    except jsonl.MissingFileError:
        raise TrainingError(f"There is no training data at {path}.") from None
    except jsonl.UnreadableError as error:
        raise TrainingError(str(error)) from None
    rows, mistakes = [], []
    for number, line in jsonl.numbered_lines(text):
        try:
            # Only the turns must be text: what else a row holds is not looked at.
            messages = _messages(jsonl.parse_object(line, half_pairs=True))
            rows.append(Row(messages=messages, file=str(path), line=number))
        except ValueError as error:
            mistakes.append(f"{path}:{number}: {error}")
    if mistakes:
        shown = "\n".join(mistakes[:MOST_MISTAKES_SHOWN])
        more = len(mistakes) - MOST_MISTAKES_SHOWN
        raise TrainingError(
            f"{len(mistakes)} of {len(rows) + len(mistakes)} rows cannot be used:\n{shown}"
            + (f"\n… and {more} more" if more > 0 else "")
            + '\nA row is {"prompt": "…", "completion": "…"} or {"messages": [{"role": "user", '
            '"content": "…"}, {"role": "assistant", "content": "…"}]}.'
        )
    if not rows:
        raise TrainingError(f"{path} is empty: there is nothing to learn from.")
    return rows


def _messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """A row's turns; raises ValueError where it cannot be learned from."""
    if "messages" in row:
        turns = _turns(row["messages"], "messages")
    elif "prompt" in row and "completion" in row:
        turns = [*_side(row, "prompt", "user"), *_side(row, "completion", "assistant")]
    else:
        keys = ", ".join(map(_shown, sorted(row))) or "none"
        raise ValueError(f"needs `messages`, or `prompt` and `completion`; its keys are {keys}")
    if turns[-1].role != "assistant":
        raise ValueError(f"must end with an assistant's turn, ends with {turns[-1].role}'s")
    if all(turn.role != "user" for turn in turns):
        raise ValueError("has no user's turn: nothing is asked")
    return tuple(turns)


def _side(row: Mapping[str, Any], key: str, role: Role) -> list[Message]:
    value = row[key]
    return _turns(value if isinstance(value, list) else [{"role": role, "content": value}], key)


def _turns(value: Any, key: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"`{key}` must be a list of turns, and not empty")
    return [_turn(each, key) for each in value]


def _turn(value: Any, key: str) -> Message:
    if not isinstance(value, dict):
        raise ValueError(f"a turn in `{key}` must be an object, got {type(value).__name__}")
    role, content = value.get("role"), value.get("content")
    if role not in _ROLES:
        raise ValueError(f"role {role!r} in `{key}`: use {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"`{key}` must be text, got {type(content).__name__}")
    if not content.strip():
        raise ValueError(f"`{key}` is empty")
    if _shown(content) != content:
        raise ValueError(f"`{key}` holds half of a surrogate pair (\\ud800 to \\udfff): no text")
    return Message(role=cast(Role, role), content=content)


def _shown(text: str) -> str:
    """The text as it can be printed: halves of surrogate pairs are no characters."""
    return text.encode(errors="backslashreplace").decode()
