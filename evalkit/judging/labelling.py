"""What people filled in, kept with a comparison, and held against its judges at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import UsageError
from evalkit.judges.calibration import Agreement, agreement
from evalkit.judges.jobs import Job
from evalkit.judges.labels import Read, labels_of, named, of_another, read_words
from evalkit.judges.preferences import preferences, ratings
from evalkit.judges.rubrics import open_rubric
from evalkit.judges.votes import Added, Key, Vote, add_votes
from evalkit.judging.compared import Compared, people_among, people_jobs
from evalkit.records import Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """All labels of one suite by one rubric: how many samples have some, from how many people, and
    how many prefer which; `skipped` are no labels."""

    suite: str
    rubric: str
    samples: int
    people: int
    tuned: int
    base: int
    tied: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """How one judge (or, with several, their mean: "all judges") and the people agree."""

    suite: str
    rubric: str
    judge: str
    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What an import did: what it read of each file, what became new in `file`, and what is there
    now."""

    file: Path
    read: Mapping[Path, Read]
    added: Added
    counted: tuple[Counted, ...]
    agreed: tuple[Agreed, ...]


def keep_labels(
    files: Sequence[Path],
    compared: Compared,
    person: str = "",
    output: Path | None = None,
    rubrics: Sequence[str] = (),
) -> Labelled:
    """Read sheets that people filled in, add them to the comparison's labels (or to `output`), and
    hold all of them against what the judges said.

    `rubrics` are files of rubrics that the comparison does not know. UsageError names every row
    that is wrong, a file of another comparison, and one person's two words on one pair.
    """
    if person and len(files) > 1:
        raise UsageError(
            "--person names whoever filled in one file, and these are several: import them one "
            "after the other, or write the names into their column person."
        )
    output = output or compared.labels
    jobs: dict[tuple[str, str], Job] = {}
    read = {}
    for file in files:
        of_file = _jobs(file, compared, rubrics)
        jobs |= {(job.suite, job.rubric.name): job for job in of_file}
        read[file] = read_words(file, of_file, person)
    said = _together(read)
    if not said:
        raise UsageError(
            f"Nothing is filled in: no row of {', '.join(map(str, files))} has left, right, tie or "
            "skip in its column choice."
        )
    added = add_votes(output, said)
    votes = read_words(output, tuple(jobs.values())).votes  # without those of other answers
    return Labelled(
        file=output,
        read=read,
        added=added,
        counted=tuple(counted(votes, suite, rubric) for suite, rubric in jobs),
        agreed=tuple(one for job in jobs.values() for one in agreed(compared, job, votes)),
    )


def counted(votes: Iterable[Vote], suite: str, rubric: str) -> Counted:
    """How many votes of a suite and rubric there are, and what they say."""
    mine = [one for one in votes if (one.suite, one.rubric) == (suite, rubric)]
    told = [one for one in mine if one.preferred != "skip"]
    words = [one.preferred for one in told]
    return Counted(
        suite=suite,
        rubric=rubric,
        samples=len({one.sample_id for one in told}),
        people=len({one.person for one in told}),
        tuned=words.count("tuned"),
        base=words.count("base"),
        tied=words.count("tie"),
        skipped=len(mine) - len(told),
    )


def agreed(compared: Compared, job: Job, votes: Iterable[Vote]) -> list[Agreed]:
    """How each judge that is no person, and all of them together, agree with people's votes."""
    people = people_among(compared.comparison)
    said = [
        one
        for one in compared.judgements
        if (one.suite, one.rubric) == (job.suite, job.rubric.name) and one.judge not in people
    ]
    labels = labels_of(votes)
    width = 1.0 if job.rubric.scale == "checklist" else 4.0
    judges = list(dict.fromkeys(one.judge for one in said))
    groups = {judge: [one for one in said if one.judge == judge] for judge in judges}
    if len(judges) > 1:
        groups["all judges"] = said
    found = []
    for judge, mine in groups.items():
        words: Sequence[Preference] | None = preferences(mine)
        told = agreement(words or ratings(mine), labels, width=width)
        found.append(Agreed(suite=job.suite, rubric=job.rubric.name, judge=judge, agreement=told))
    return found


def _jobs(file: Path, compared: Compared, rubrics: Sequence[str]) -> tuple[Job, ...]:
    """The pairs of all suites and rubrics that a file names."""
    suites, names = named(file)
    known = {info.name for info in compared.comparison.base.suites}
    stranger = next((one for one in suites if one not in known), None)
    if stranger is not None:
        raise of_another(file, f"it has pairs of {stranger}, which is not compared here")
    own = {open_rubric(path, "en").name: path for path in rubrics}
    return people_jobs(compared, suites, [own.get(name, name) for name in names])


def _together(read: Mapping[Path, Read]) -> list[Vote]:
    """The votes of all files; UsageError where one person says two things of one pair."""
    kept: dict[Key, tuple[Path, Vote]] = {}
    for file, found in read.items():
        for vote in found.votes:
            before, known = kept.setdefault(vote.key, (file, vote))
            if known.preferred != vote.preferred:
                raise UsageError(
                    f"{vote.person} said one thing of {vote.suite}, sample {vote.sample_id}, in "
                    f"{before} and another in {file}. Give the two people two names, or leave one "
                    "of the rows."
                )
    return [vote for _, vote in kept.values()]
