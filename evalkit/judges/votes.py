"""What people preferred, opened: a CSV with one row for each person and pair."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from evalkit.errors import StoreError, UsageError
from evalkit.jsonl import listed
from evalkit.judges.sheets import Row, plain, read_sheet, write_sheet

Word: TypeAlias = Literal["base", "tuned", "tie", "skip"]
Key: TypeAlias = tuple[str, str, str, str, str]
COLUMNS = ("id", "suite", "sample_id", "rubric", "person", "preferred")
_WORDS: tuple[Word, ...] = get_args(Word)
_LONGEST_NAME = 80  # characters of a person's name


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's word on one pair of answers; `id` is theirs, whichever stood on the left: other
    answers to the same sample, as of another tuned arm, have another. A skip is remembered, so that
    nobody is asked again, and is no label."""

    id: str
    suite: str
    sample_id: str
    rubric: str
    person: str
    preferred: Word

    @property
    def key(self) -> Key:
        """A person has one word on a pair by a rubric."""
        return self.suite, self.rubric, self.sample_id, self.id, self.person


class Added(NamedTuple):
    """How many votes are new, and how many stand in place of another word of the same person."""

    new: int
    changed: int


def person_name(name: str) -> str:
    """The name as it is kept; ValueError where it is none."""
    kept = " ".join(name.split())
    if not kept or len(kept) > _LONGEST_NAME or not kept.isprintable():
        raise ValueError(f"a name has 1 to {_LONGEST_NAME} printable characters")
    return kept


def is_votes(heads: Sequence[str]) -> bool:
    """Whether a sheet with these columns holds opened votes."""
    return set(COLUMNS) <= set(heads)


def read_votes(file: Path) -> tuple[Vote, ...]:
    """The votes of a file; UsageError names every row that is wrong."""
    heads, rows = read_sheet(file)
    if not is_votes(heads):
        lacking = [name for name in COLUMNS if name not in heads]
        raise UsageError(
            f"{file}:1: no file of labels: the column {lacking[0]!r} is missing. `evalkit judge "
            "labels import` makes one of what people filled in."
        )
    return votes_of(file, rows)


def votes_of(file: Path, rows: Iterable[Row]) -> tuple[Vote, ...]:
    """Rows as votes, each person's word on a sample once."""
    votes: list[tuple[int, Vote]] = []
    mistakes = []
    for line, cells in rows:
        try:
            votes.append((line, _vote(cells)))
        except ValueError as error:
            mistakes.append(f"{file}:{line}: {error}.")
    kept = once(file, votes, mistakes)
    if mistakes:
        raise UsageError(listed(mistakes))
    return kept


def once(file: Path, votes: Sequence[tuple[int, Vote]], mistakes: list[str]) -> tuple[Vote, ...]:
    """Without repetitions; one person's two words on one pair are a mistake."""
    kept: dict[Key, tuple[int, Vote]] = {}
    for line, vote in votes:
        before, known = kept.setdefault(vote.key, (line, vote))
        if known.preferred != vote.preferred:
            mistakes.append(
                f"{file}:{line}: {vote.person} said otherwise of this pair on line {before}. Leave "
                "one of the rows."
            )
    return tuple(vote for _, vote in kept.values())


def add_votes(file: Path, votes: Sequence[Vote]) -> Added:
    """Write votes beside those that are in the file already; a person's later word stands.

    Whoever adds at the same time waits; a reader sees the old file or the new one, never half.
    """
    with _locked(file):
        kept = {one.key: one for one in (read_votes(file) if file.exists() else ())}
        new = sum(one.key not in kept for one in votes)
        changed = sum(one.key in kept and kept[one.key].preferred != one.preferred for one in votes)
        kept |= {one.key: one for one in votes}
        write_sheet(file, COLUMNS, (astuple(one) for one in kept.values()))
    return Added(new, changed)


def _vote(cells: Mapping[str, str]) -> Vote:
    values = {name: plain(cells[name]).strip() for name in COLUMNS}
    for name in ("id", "suite", "sample_id", "rubric"):
        if not values[name]:
            raise ValueError(f"the column {name!r} is empty")
    word = next((one for one in _WORDS if one == values["preferred"].lower()), None)
    if word is None:
        raise ValueError(f"preferred is {values['preferred']!r}; one of {', '.join(_WORDS)}")
    person = person_name(values["person"])
    return Vote(values["id"], values["suite"], values["sample_id"], values["rubric"], person, word)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the right to change the file; the kernel frees it if the process dies."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_name(f".{file.name}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}.") from error
