"""The sheet that people fill in: two answers side by side, blind; and how it is read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from evalkit.errors import UsageError
from evalkit.jsonl import listed
from evalkit.judges.blinding import Blind, Place, opened_id, places
from evalkit.judges.calibration import Label
from evalkit.judges.sheets import Row, plain, read_sheet, write_sheet
from evalkit.judges.votes import Vote, Word, is_votes, once, person_name, votes_of

if TYPE_CHECKING:
    from evalkit.judges.jobs import Job
    from evalkit.judges.matters import Matter

Choice: TypeAlias = Literal["left", "right", "tie", "skip"]
COLUMNS = ("id", "suite", "rubric", "person", "task", "question", "left", "right", "choice")
_NEEDED = ("id", "suite", "rubric", "choice")
_CHOICES: Mapping[str, Choice] = {
    "left": "left", "l": "left", "左": "left", "左边": "left",
    "right": "right", "r": "right", "右": "right", "右边": "right",
    "tie": "tie", "t": "tie", "=": "tie", "平": "tie", "平手": "tie", "一样": "tie",
    "skip": "skip", "s": "skip", "跳过": "skip",
}  # fmt: skip
_TURN = {"en": "[turn {}]", "zh": "[第{}轮]"}
_REFERENCE = {"en": "Reference answer:", "zh": "参考答案："}


class Read(NamedTuple):
    """What a file of people's words holds of these jobs: votes, rows that nobody filled in, and
    what of it is not used, in sentences."""

    votes: tuple[Vote, ...]
    empty: int = 0
    notes: tuple[str, ...] = ()


def write_labels(file: Path, pairs: Sequence[Blind], person: str = "") -> None:
    """Write a sheet for people to fill in from the top: `choice` is to become left, right, tie or
    skip.

    It is empty where both answers are the same, too: what nobody came to is no label.
    """
    write_sheet(file, COLUMNS, (_cells(pair, person) for pair in pairs))


def read_labels(file: Path, jobs: Sequence[Job] = ()) -> tuple[Label, ...]:
    """People's labels, from what `labels import` and the dashboard keep.

    With `jobs`, also from a sheet that was filled in, and only labels of these very answers.
    UsageError where the file or a row of it cannot be read, or is all of another comparison.
    """
    if jobs:
        return labels_of(read_words(file, jobs).votes)
    heads, rows = _read(file)
    if is_votes(heads):
        return labels_of(votes_of(file, rows))
    raise UsageError(
        f"{file} is blind: it takes the answers to know the sides. Open it with `evalkit judge "
        f"labels import {file} COMPARISON`."
    )


def labels_of(votes: Iterable[Vote]) -> tuple[Label, ...]:
    """The votes that prefer something or nothing: a skip is no label."""
    return tuple(
        Label(
            suite=one.suite,
            sample_id=one.sample_id,
            rubric=one.rubric,
            person=one.person,
            preferred=one.preferred,
        )
        for one in votes
        if one.preferred != "skip"
    )


def read_words(
    file: Path, jobs: Sequence[Job], person: str = "", *, may_lack: bool = False
) -> Read:
    """What people said of the pairs of these jobs, from a sheet they filled in or from labels
    that were opened before.

    Rows without a name are `person`'s; without one, the file's name stands for whoever filled it
    in. A row of twice the same answer that was left empty is a tie as far as the sheet was worked
    through. UsageError names every row that is wrong, and a file that is all of other answers,
    unless it `may_lack` these.
    """
    heads, rows = _read(file)
    known = places(jobs)
    votes = votes_of(file, rows) if is_votes(heads) else None
    ids = [plain(row.cells["id"]).strip() for row in rows]
    if ids and known.keys().isdisjoint(ids):
        if may_lack:
            return Read(())
        raise _of_another(file, len(ids))
    if votes is not None:
        return _still_valid(file, votes, jobs, known)
    return _opened(file, rows, known, person or file.stem)


def named(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The suites and the rubrics that a file of people's words names."""
    _, rows = _read(file)
    found = ({plain(row.cells[name]).strip(): None for row in rows} for name in ("suite", "rubric"))
    suites, rubrics = (tuple(filter(None, one)) for one in found)
    if not suites or not rubrics:
        raise UsageError(f"{file}: no row names a suite and a rubric; nothing can be read of it.")
    return suites, rubrics


def _read(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    """A sheet that is of labels: opened, or to be filled in."""
    heads, rows = read_sheet(file)
    lacking = [name for name in _NEEDED if name not in heads]
    if lacking and not is_votes(heads):
        raise UsageError(
            f"{file}:1: no file of labels: the column {lacking[0]!r} is missing. `evalkit judge "
            "labels export` makes one to fill in."
        )
    return heads, rows


class _Line(NamedTuple):
    """A row of a sheet; `choice` is None where nobody filled it in."""

    number: int
    place: Place
    person: str
    choice: Choice | None

    @property
    def group(self) -> tuple[str, str, str]:
        """Whose and of what it is: each has samples drawn for it, in a random order of its own."""
        return self.place.asked.matter.suite, self.place.asked.rubric.name, self.person


def _opened(file: Path, rows: Sequence[Row], known: Mapping[str, Place], person: str) -> Read:
    lines: list[_Line] = []
    mistakes: list[str] = []
    for number, cells in rows:
        try:
            lines.append(_line(number, cells, known, person))
        except ValueError as error:
            mistakes.append(f"{file}:{number}: {error}.")
    ties = _implied(lines)
    told = [one._replace(choice="tie") if one.number in ties else one for one in lines]
    votes = [(one.number, _vote(one, one.choice)) for one in told if one.choice]
    kept = once(file, votes, mistakes)
    if mistakes:
        raise UsageError(listed(mistakes))
    empty = sum(one.choice is None for one in told)
    return Read(kept, empty, tuple(_told(file, len(ties), _passed_over(lines))))


def _line(number: int, cells: Mapping[str, str], known: Mapping[str, Place], person: str) -> _Line:
    place = known.get(plain(cells["id"]).strip())
    if place is None:
        raise ValueError(f"no pair {cells['id']!r} is compared here")
    choice = _choice(plain(cells["choice"]))
    name = person_name(plain(cells.get("person", "")).strip() or person)
    return _Line(number, place, name, choice)


def _implied(lines: Sequence[_Line]) -> frozenset[int]:
    """The rows that nobody filled in and that are ties all the same: twice the same answer, as far
    as the sheet was worked through.

    That is up to the first row with two answers that is empty. Were those below it counted, too,
    the labels of whoever stops early would be mostly ties, and no random part of the samples; were
    none counted, they would lack the ties.
    """
    begun = {one.group for one in lines if one.choice}
    ended: set[tuple[str, str, str]] = set()
    ties = set()
    for one in lines:
        if one.choice or one.group not in begun:
            continue
        if not one.place.asked.same:
            ended.add(one.group)
        elif one.group not in ended:
            ties.add(one.number)
    return frozenset(ties)


def _passed_over(lines: Sequence[_Line]) -> int:
    """Rows with two answers that were left empty, and others below them were not."""
    last = {one.group: one.number for one in lines if one.choice}
    return sum(
        not (one.choice or one.place.asked.same) and one.number < last.get(one.group, 0)
        for one in lines
    )


def _told(file: Path, ties: int, passed: int) -> Iterator[str]:
    if ties:
        yield f"{ties} of its rows that show the same answer twice were left empty: they are ties."
    if passed:
        yield (
            f"{file}: {passed} rows were left empty above others that are filled in. Labels are a "
            "random part of the samples, which the correction of a judge rests on, only where the "
            "rows are filled in from the top; write skip where nobody can say."
        )


def _choice(cell: str) -> Choice | None:
    """The word that was filled in; None where nothing was."""
    word = cell.strip().lower()
    if word and word not in _CHOICES:
        raise ValueError(f"choice is {cell.strip()[:40]!r}; write left, right, tie or skip")
    return _CHOICES.get(word)


def _vote(line: _Line, choice: Choice) -> Vote:
    asked = line.place.asked
    return Vote(
        id=opened_id(asked.matter, asked.rubric.name),
        suite=asked.matter.suite,
        sample_id=asked.matter.sample_id,
        rubric=asked.rubric.name,
        person=line.person,
        preferred=preferred(choice, line.place.left),
    )


def preferred(choice: Choice, left: str) -> Word:
    """The arm on the chosen side; of two same answers neither can be."""
    match choice:
        case "tie" | "skip":
            return choice
        case "left" | "right" if left not in ("base", "tuned"):
            return "tie"
        case _:
            return "base" if (choice == "left") == (left == "base") else "tuned"


def _still_valid(
    file: Path, votes: Sequence[Vote], jobs: Sequence[Job], known: Mapping[str, Place]
) -> Read:
    """The votes on these very answers, a person's last on each; what was said of other answers is
    not used."""
    asked = {(job.suite, job.rubric.name, one.sample_id) for job in jobs for one in job.matters}
    mine = [one for one in votes if (one.suite, one.rubric, one.sample_id) in asked]
    valid = [one for one in mine if one.id in known]
    kept = {(one.suite, one.rubric, one.sample_id, one.person): one for one in valid}
    notes = []
    if len(mine) > len(valid):
        notes.append(
            f"{len(mine) - len(valid)} of {len(votes)} labels in {file} are of other answers than "
            "these, of another tuned arm or from before, and are not used here."
        )
    if len(votes) > len(mine):
        notes.append(
            f"{len(votes) - len(mine)} of {len(votes)} labels in {file} are of samples that are "
            "not judged here."
        )
    return Read(tuple(kept.values()), notes=tuple(notes))


def of_another(file: Path, why: str) -> UsageError:
    """What is said of a file that belongs to other answers."""
    return UsageError(
        f"{file} is of another comparison: {why}. Name the comparison that it was exported from; "
        "where the models answered anew, their answers have to be labelled anew."
    )


def _of_another(file: Path, count: int) -> UsageError:
    return of_another(
        file, f"none of its {count} rows is of a pair of answers that is compared here"
    )


def _cells(pair: Blind, person: str) -> tuple[str, ...]:
    left, right = (answer_of(one, pair.rubric.language) for one in pair.shown)
    question = question_of(pair.matter, pair.rubric.language, reference=pair.rubric.reference)
    names = pair.matter.suite, pair.rubric.name
    return (pair.id, *names, person, pair.rubric.question, question, left, right, "")


def question_of(matter: Matter, language: str, *, reference: bool = False) -> str:
    """What both arms were asked, as one text to read."""
    several = len(matter.turns) > 1
    said = [f"[{one.role}] {one.content}" if several else one.content for one in matter.turns]
    said += [f"{_TURN[language].format(n)} {text}" for n, text in enumerate(matter.then, start=2)]
    if reference and matter.reference:
        said.append(f"{_REFERENCE[language]} {matter.reference}")
    return "\n\n".join(said)


def answer_of(turns: Sequence[str], language: str) -> str:
    """One arm's answers, turn after turn, as one text to read."""
    if len(turns) == 1:
        return turns[0]
    marked = [f"{_TURN[language].format(n)} {text}" for n, text in enumerate(turns, start=1)]
    return "\n\n".join(marked)
