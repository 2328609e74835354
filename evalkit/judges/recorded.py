"""Judgements made elsewhere, a call a line, as JSONL.

Pairwise {id, preference: base | tie | tuned}, or {id, value: utility for the tuned arm, 0 to 1},
with `order: base_first | tuned_first` where the judge was asked in both; pointwise {id, arm: base |
tuned, value: rating}. `suite` and `rubric` where a file holds several, `judge` where it holds
several judges', `repeat` and `stripped` where there are such; `status` (refused, unparsed, error)
instead of a value where the judge gave none; `level`, `rationale`, `error`, `tokens_in` and
`tokens_out` for the reader. A judgements.jsonl that evalkit wrote is such a file; its `answers`
tell of which answers a row is. `tuned` names the tuned arm, which must be told by one of the two
where several are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from evalkit import jsonl
from evalkit.errors import UsageError
from evalkit.judges.calls import Call, answers_id, blank
from evalkit.judges.jobs import Job
from evalkit.records import Judgement, JudgementStatus, Order, Side

if TYPE_CHECKING:
    from evalkit.judges.matters import Matter

_UTILITY = {"base": 0.0, "tie": 0.5, "tuned": 1.0}
_Name = Annotated[str, StringConstraints(min_length=1)]

Named: TypeAlias = tuple[str, str, str]
"""(suite, rubric, sample id); suite and rubric are '' where the row names none."""


class Row(BaseModel):
    """One line; fields that are not these are the other tool's business."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    id: _Name = Field(validation_alias=AliasChoices("id", "sample_id"))
    suite: str = ""
    rubric: str = ""
    judge: str = ""
    tuned: str = ""
    answers: str = ""
    order: Order = ""
    arm: Side | Literal[""] = ""
    repeat: int = Field(default=0, ge=0)
    stripped: bool = False
    preference: Literal["base", "tie", "tuned"] | None = None
    value: float | None = None
    status: JudgementStatus = "judged"
    level: str = ""
    rationale: str = ""
    error: str = ""
    tokens_in: int = Field(default=0, ge=0)
    tokens_out: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def says_one_thing(self) -> Self:
        """A judgement has a value in one form, and what is none has none."""
        told = [one for one in (self.preference, self.value) if one is not None]
        if len(told) != (self.status == "judged"):
            expected = (
                "either 'preference' or 'value'" if self.status == "judged" else "neither, then"
            )
            raise ValueError(f"status {self.status!r}: expected {expected}")
        if self.arm and (self.order or self.preference):
            raise ValueError("'arm' is of a rating, which has neither 'order' nor 'preference'")
        if not self.arm and self.value is not None and not 0 <= self.value <= 1:
            raise ValueError(
                f"value {self.value:g}: the utility for the tuned arm is between 0 and 1 (a rating "
                "names its 'arm')"
            )
        return self

    @property
    def named(self) -> Named:
        """Of which sample it speaks."""
        return self.suite, self.rubric, self.id

    @property
    def call(self) -> tuple[object, ...]:
        """At which call of the sample it was said."""
        return self.order, self.arm, self.repeat, self.stripped

    @property
    def tells_arm(self) -> bool:
        """Whether it can be told of which tuned arm it speaks; a base's rating is of every one."""
        return bool(self.tuned or self.answers) or self.arm == "base"

    def is_of(self, matter: Matter, arm: str) -> bool:
        """Whether it speaks of these answers, as far as it says."""
        return self.tuned in ("", arm) and self.answers in ("", answers_id(matter, self.arm))


Placed: TypeAlias = tuple[str, Row]
"""A row and where it stands (file:line)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One judge's rows of a file by sample, each with its place (file:line)."""

    path: Path
    rows: Mapping[Named, Sequence[Placed]]
    passed_over: int
    """Rows of other judges."""


def read_recording(path: Path, judge: str, *, several: bool = False) -> Recording:
    """A judge's rows; of a file that names judges, those that name it (or nobody).

    Raises UsageError with all that is wrong in it, as file:line; where `several` tuned arms are
    compared, a row that does not tell of which it speaks is wrong.
    """
    try:
        lines = list(jsonl.numbered_lines(jsonl.read_text(path)))
    except jsonl.UnreadableError as error:
        raise UsageError(str(error)) from None
    mistakes: list[str] = []
    rows: dict[Named, list[Placed]] = defaultdict(list)
    places: dict[tuple[object, ...], Placed] = {}
    passed_over = 0
    for number, line in lines:
        place = f"{path}:{number}"
        try:
            row = _row(line)
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
            continue
        if row is None or row.judge not in ("", judge):
            passed_over += row is not None
            continue
        key = (row.named, row.call, row.tuned, row.answers)
        first, known = places.setdefault(key, (place, row))
        if first != place and row.answers and row == known:
            continue  # files of several arms, joined: a base's rating stands in each
        if first != place:
            mistakes.append(_twice(place, row, first))
        if several and not row.tells_arm:
            mistakes.append(
                f"{place}: several tuned arms are compared, and nothing tells of which this is: "
                "add its name as 'tuned', or compare one at a time"
            )
        rows[row.named].append((place, row))
    if mistakes:
        raise UsageError(jsonl.listed(mistakes))
    if not rows:
        others = f"; its {passed_over:,} rows name other judges" if passed_over else ""
        raise UsageError(f"{path} holds no judgements of {judge!r}{others}.")
    return Recording(path=path, rows=rows, passed_over=passed_over)


def _row(line: str) -> Row | None:
    """A line; None for the header of a judgements.jsonl."""
    value = jsonl.parse_object(
        line, strict=True, example='{"id": "q1", "order": "base_first", "preference": "tuned"}'
    )
    if "schema_version" in value and "judgements" in value:
        return None
    try:
        return Row.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {what}" if where else what) from None


def _twice(place: str, row: Row, first: str) -> str:
    return f"{place}: this judgement of {row.id!r} was made before, at {first}"


def recorded_judgements(
    recording: Recording, jobs: Sequence[Job], judge: str, *, arm: str = ""
) -> tuple[tuple[Judgement, ...], tuple[str, ...]]:
    """What was recorded of the jobs' samples, in their order; and notes on what was not used.

    A sample of which there is no row is `unasked`, as is one of which other answers were judged, or
    another arm's than the tuned `arm`. UsageError where no row is of any of them, or a rating is
    not on its rubric's scale.
    """
    mistakes: list[str] = []
    used: set[Named] = set()
    said: list[Judgement] = []
    strange = 0
    for job in jobs:
        for matter in job.matters:
            call = Call(job=job, matter=matter)
            found = _found(recording, call, arm)
            strange += found.strange
            if found.named is not None:
                used.add(found.named)
            mistakes += _off_scale(job, found.rows)
            mistakes += _again(found.rows)
            lacking = f"{recording.path} has {_OTHERS if found.strange else 'no row for it'}"
            said += _said(call, judge, [row for _, row in found.rows], lacking)
    if mistakes:
        raise UsageError(jsonl.listed(mistakes))
    if not used and said:
        raise UsageError(
            f"{recording.path} has no judgement of any sample that is judged: the ids it names are "
            f"like {next(iter(recording.rows))[2]!r}, those of {said[0].suite} like "
            f"{said[0].sample_id!r}, judged {said[0].protocol} by {said[0].rubric!r}."
        )
    return tuple(said), tuple(_notes(recording, used, strange, judge))


_OTHERS = "a row for it that is of other answers"


class _Found(NamedTuple):
    """The rows of one sample, and by which name; `strange` where all of them are of other answers,
    and some of its ratings where those of one arm are."""

    named: Named | None
    rows: Sequence[Placed]
    strange: bool


def _found(recording: Recording, call: Call, arm: str) -> _Found:
    """Of the rows that can be this sample's, those of these answers that say the most."""
    rated = call.job.protocol == "pointwise"
    strange: Named | None = None
    for named in _names(call):
        rows = [one for one in recording.rows.get(named, ()) if bool(one[1].arm) == rated]
        mine = [one for one in rows if one[1].is_of(call.matter, arm)]
        if mine:
            lost = {row.arm for _, row in rows} - {row.arm for _, row in mine}
            return _Found(named, mine, bool(lost))
        strange = strange or (named if rows else None)
    return _Found(strange, (), strange is not None)


def _again(rows: Iterable[Placed]) -> Iterator[str]:
    """What is said twice of one call, by rows that name its answers in different ways."""
    places: dict[tuple[object, ...], str] = {}
    for place, row in rows:
        first = places.setdefault(row.call, place)
        if first != place:
            yield _twice(place, row, first)


def _names(call: Call) -> Iterator[Named]:
    """How a row may name a sample; what says more goes first."""
    job, sample = call.job, call.matter.sample_id
    for suite in (job.suite, ""):
        for rubric in (job.rubric.name, ""):
            yield suite, rubric, sample


def _off_scale(job: Job, rows: Sequence[Placed]) -> Iterator[str]:
    least, most = (1, 5) if job.rubric.scale == "rating" else (0, 1)
    for place, row in rows:
        if row.arm and row.value is not None and not least <= row.value <= most:
            yield (
                f"{place}: value {row.value:g} is not on the scale of {job.rubric.name!r}, from "
                f"{least} to {most}"
            )


def _said(call: Call, judge: str, rows: Sequence[Row], why: str) -> Iterator[Judgement]:
    """What the rows say, and what they lack: `why`."""
    lacking = replace(blank(call, judge), error=why)
    if call.job.protocol == "pointwise":
        arms: tuple[Side, ...] = ("base", "tuned")
        present = {row.arm for row in rows if not row.stripped}
        yield from (replace(lacking, arm=arm) for arm in arms if arm not in present)
    else:
        orders: tuple[Order, ...] = ("base_first", "tuned_first")
        whole = [row.order for row in rows if not row.stripped]
        missing = [order for order in orders if order not in whole] if any(whole) else ()
        yield from (replace(lacking, order=order) for order in missing)
        if not whole:
            yield lacking
    for row in rows:
        value = row.value if row.preference is None else _UTILITY[row.preference]
        yield replace(
            blank(call, judge),
            order=row.order,
            arm=row.arm,
            repeat=row.repeat,
            stripped=row.stripped,
            status=row.status,
            value=value,
            level=row.level,
            rationale=row.rationale,
            error=row.error,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
        )


def _notes(recording: Recording, used: set[Named], strange: int, judge: str) -> Iterator[str]:
    if strange:
        samples = "1 sample" if strange == 1 else f"{strange:,} samples"
        yield (
            f"{judge}: of {samples}, {recording.path} has judged other answers than are compared "
            "here (of another arm, or of another training); they are missing (unasked). Have these "
            "answers judged, and name that file"
        )
    left = sum(len(rows) for named, rows in recording.rows.items() if named not in used)
    if left:
        rows = "1 row" if left == 1 else f"{left:,} rows"
        yield f"{judge}: {rows} of {recording.path} name no sample that is judged, and are not used"
