"""A comparison on disk with the answers that it compares, for people and judges to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evalkit.compare import compare, join
from evalkit.configfile.tree import near
from evalkit.errors import StoreError, UsageError
from evalkit.harnesses.suitefile import read_suite_file
from evalkit.judges.blinding import pair_ids
from evalkit.judges.jobs import Job
from evalkit.judges.matters import Matter, matter_of
from evalkit.judges.rubrics import FILE, Rubric, RubricLanguage, open_rubric, shipped
from evalkit.judges.votes import Vote, read_votes
from evalkit.records import Comparison, Judgement, Pair, Side, SuiteInfo
from evalkit.store.judgements import read_judgements
from evalkit.store.runs import find_run, read_comparisons, read_manifest, read_run

LABELS = "labels.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A base and one tuned arm, with every sample that both answered.

    `folder` is the comparison's; None where two runs were named and none was written. `alone`: it
    is the folder's only tuned arm.
    """

    comparison: Comparison
    pairs: tuple[Pair, ...]
    folder: Path | None = None
    alone: bool = True

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """What was judged of it; empty where nothing was."""
        files = dict.fromkeys(one.file for one in self.comparison.judgings if one.file)
        if self.folder is None:
            return ()
        folder = self.folder
        return tuple(said for file in files for said in read_judgements(folder / Path(file).name))

    @property
    def labels(self) -> Path:
        """Where people's labels of it are kept, there or not."""
        name = LABELS if self.alone else f"labels-{self.comparison.tuned.name}.csv"
        return (self.folder or Path()) / name


def open_compared(paths: Sequence[Path], arm: str = "") -> Compared:
    """Open a comparison's folder, or two run folders, the base's first.

    `arm` names the tuned arm where there are several. UsageError where that is not clear;
    StoreError where a run is no longer there.
    """
    if len(paths) == 2:
        base, tuned = (read_run(path) for path in paths)
        pairs, _ = join(base, tuned, [info.name for info in base.manifest.suites])
        return Compared(comparison=compare(base, tuned), pairs=tuple(pairs))
    if len(paths) != 1:
        raise UsageError("Name one comparison's folder, or two run folders, the base's first.")
    comparisons = read_comparisons(paths[0])
    chosen = _arm(comparisons, arm)
    folder = paths[0] if paths[0].is_dir() else paths[0].parent
    around = (folder, *folder.resolve().parents[:2])
    base, tuned = read_run(_run(chosen, "base", around)), read_run(_run(chosen, "tuned", around))
    shared = {info.name for info in chosen.tuned.suites}
    pairs, _ = join(base, tuned, [i.name for i in chosen.base.suites if i.name in shared])
    return Compared(
        comparison=chosen, pairs=tuple(pairs), folder=folder, alone=len(comparisons) == 1
    )


def people_jobs(
    compared: Compared, suites: Sequence[str] = (), rubrics: Sequence[str] = ()
) -> tuple[Job, ...]:
    """The pairs that people can compare, by suite and rubric: where judges have judged, the same
    ones.

    `suites` and `rubrics` narrow or name them. UsageError where none is named anywhere.
    """
    comparison = compared.comparison
    infos = {info.name: info for info in comparison.base.suites}
    _check_suites(suites, infos)
    judged = {(one.suite, one.rubric, one.sample_id) for one in compared.judgements}
    jobs = []
    for name in suites or _judged_suites(comparison):
        known = declared(comparison, infos[name])
        matters = _matters(compared.pairs, name, known.language)
        for rubric in _rubrics(comparison, infos[name], rubrics, known):
            seen = tuple(one for one in matters if (name, rubric.name, one.sample_id) in judged)
            kept = seen or matters
            jobs.append(Job(suite=name, rubric=rubric, protocol="pairwise", matters=kept))
    if not jobs:
        raise UsageError(
            "Nothing of this comparison was judged: name what is to be compared, with --suite and "
            "--rubric."
        )
    return tuple(jobs)


def valid_votes(compared: Compared) -> tuple[Vote, ...]:
    """People's words that are kept with the comparison and are of these very answers."""
    if not compared.labels.is_file():
        return ()
    matters = {
        (one.base.sample.suite, one.base.sample.id): matter_of(one, "en") for one in compared.pairs
    }
    found = []
    for vote in read_votes(compared.labels):
        matter = matters.get((vote.suite, vote.sample_id))
        if matter is not None and vote.id in pair_ids(matter, vote.rubric):
            found.append(vote)
    return tuple(found)


def only_pair(compared: Compared, suite: str, sample_id: str) -> Pair:
    """One sample that both arms answered; UsageError, with the nearest, where there is none.

    Without a suite it is of the first that was judged, or of the first; without an id its first.
    """
    infos = {info.name: info for info in compared.comparison.base.suites}
    suite = suite or next(iter([*_judged_suites(compared.comparison), *infos]))
    _check_suites((suite,), infos)
    mine = {one.base.sample.id: one for one in compared.pairs if one.base.sample.suite == suite}
    sample_id = sample_id or next(iter(mine), "")
    if sample_id not in mine:
        hint = near(sample_id, mine) or f" The first is {next(iter(mine), 'none')!r}."
        raise UsageError(f"No sample {sample_id!r} of {suite} in this comparison.{hint}")
    return mine[sample_id]


def people_among(comparison: Comparison) -> frozenset[str]:
    """The names of the judges that are people."""
    judges = (comparison.base.config.get("judge") or {}).get("judges") or ()
    return frozenset(str(one.get("name", "people")) for one in judges if one.get("kind") == "human")


class Declared(NamedTuple):
    """How a comparison's suite is judged, or would be: the names or files of its rubrics, and the
    language in which the judge is asked."""

    rubrics: tuple[str, ...]
    language: RubricLanguage


def declared(comparison: Comparison, info: SuiteInfo) -> Declared:
    """What the base's configuration says of a suite's judging, else its suite.yaml, where that is
    still there."""
    suites = (comparison.base.config.get("judge") or {}).get("suites") or {}
    said = suites.get(info.name) or {}
    folder = Path(info.path)
    here = bool(info.path) and (folder / "suite.yaml").is_file()
    own = read_suite_file(folder).judge if here else None
    rubrics = said.get("rubrics") or (own.rubrics if own else ())
    language = said.get("language") or (own and own.language)
    return Declared(tuple(rubrics), language or ("zh" if info.language == "zh" else "en"))


def rubric_of(name: str, language: str, rubrics: Sequence[str]) -> Rubric:
    """A rubric by its file, or by the name that judgements have it under.

    One's own files among `rubrics`, those that are declared, go before the shipped rubrics: a file
    may be called as one of these. UsageError where the file is gone, or the name is none.
    """
    if name.endswith(FILE):
        return open_rubric(name, language)
    files = [one for one in rubrics if one.endswith(FILE)]
    for file in files:
        rubric = open_rubric(file, language) if Path(file).is_file() else None
        if rubric is not None and rubric.name == name:
            return rubric
    gone = [one for one in files if not Path(one).is_file()]
    if gone and name not in rubrics:
        raise UsageError(
            f"The rubric {name!r} cannot be read: {', '.join(gone)} is not there any more. Put it "
            "back, or name the file where it is now with --rubric."
        )
    return open_rubric(name, language)  # a shipped one, or it says what there is


def _arm(comparisons: Sequence[Comparison], name: str) -> Comparison:
    names = [one.tuned.name for one in comparisons]
    if not name and len(comparisons) == 1:
        return comparisons[0]
    if name not in names:
        said = f"No tuned arm {name!r} here." if name else "Several tuned arms are compared here."
        raise UsageError(f"{said} Name one with --arm: {', '.join(names)}.")
    return comparisons[names.index(name)]


def _run(comparison: Comparison, side: Side, around: Sequence[Path]) -> Path:
    manifest = comparison.base if side == "base" else comparison.tuned
    recorded = comparison.base_path if side == "base" else comparison.tuned_path
    folder = find_run(recorded, manifest.run_id, around)
    if folder is None or read_manifest(folder).run_id != manifest.run_id:
        raise StoreError(
            f"The answers of {manifest.name} are not here: no run {manifest.run_id} at "
            f"{recorded or 'its recorded place'} or beside the comparison. Copy its folder there, "
            "or run `evalkit compare` again."
        )
    return folder


def _check_suites(names: Iterable[str], infos: Mapping[str, SuiteInfo]) -> None:
    for name in names:
        if name not in infos:
            hint = near(name, infos) or f" There are: {', '.join(infos)}."
            raise UsageError(f"No suite {name!r} in this comparison.{hint}")


def _judged_suites(comparison: Comparison) -> list[str]:
    judged = [one.suite for one in comparison.judgings]
    declared = [info.name for info in comparison.base.suites if info.rubrics]
    return list(dict.fromkeys(judged or declared))


def _rubrics(
    comparison: Comparison, info: SuiteInfo, names: Sequence[str], known: Declared
) -> list[Rubric]:
    judged = [one.rubric for one in comparison.judgings if one.suite == info.name]
    wanted = names or judged or info.rubrics or known.rubrics
    if not wanted:
        raise UsageError(
            f"{info.name} was not judged: name a rubric by which to compare its answers, with "
            f"--rubric. There are: {', '.join(shipped())}."
        )
    return [rubric_of(name, known.language, known.rubrics) for name in dict.fromkeys(wanted)]


def _matters(pairs: Sequence[Pair], suite: str, language: str) -> tuple[Matter, ...]:
    mine = [one for one in pairs if one.base.sample.suite == suite]
    found = [matter_of(pair, language) for pair in mine]
    known = tuple(one for one in found if one is not None)
    if not known:
        raise UsageError(
            f"{suite} has no sample that both arms answered with a text: there is nothing to "
            "compare. Name another suite."
        )
    return known
