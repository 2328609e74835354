"""Suites as folders: suite.yaml and samples.jsonl, the user's own before the shipped ones."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalkit.config import RunConfig
from evalkit.drawing import place
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Suite, Task
from evalkit.harnesses.material import Material, read_folder
from evalkit.harnesses.prompts import Examples, Style, example_of
from evalkit.harnesses.recipes import read_recipe
from evalkit.harnesses.rows import Mistakes, Row, near, read_rows, read_text
from evalkit.harnesses.samples import read_samples
from evalkit.harnesses.sets import find_sets
from evalkit.harnesses.suitefile import SuiteConfig, read_suite_file
from evalkit.records import Metric, Sample, SuiteInfo
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import Reference, ScorerContext
from evalkit.scorers.registry import build_all

SUITES_VARIABLE = "EVALKIT_SUITES"
SUITE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSuite:
    """A suite that can be named; `hides` are the folders of others of that name.

    `problem` says why it cannot be opened as it is; the other fields are empty then. The samples
    of a recipe are those of its `dataset`, and not counted.
    """

    name: str
    path: Path
    title: str = ""
    language: str = ""
    task: Task | None = None
    license: str = ""
    samples: int = 0
    dataset: str = ""
    hides: tuple[Path, ...] = ()
    problem: str = ""


def suite_folders() -> list[Path]:
    """Where suites are looked for, in this order: EVALKIT_SUITES, ./suites, the shipped ones."""
    given = os.environ.get(SUITES_VARIABLE, "").split(os.pathsep)
    folders = [Path(each).expanduser() for each in given if each.strip()]
    lost = [folder for folder in folders if not folder.is_dir()]
    if lost:
        raise SuiteError(f"{SUITES_VARIABLE} names {lost[0]}, which is no folder.")
    folders.append(Path("suites"))
    spec = importlib.util.find_spec("suites")
    if spec is not None and spec.submodule_search_locations:
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    unique: dict[Path, Path] = {}
    for folder in folders:
        if folder.is_dir():
            unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def find_suites(folders: Sequence[Path] | None = None) -> list[FoundSuite]:
    """Every suite by name; one that is in two folders is the first one's."""
    found: dict[str, FoundSuite] = {}
    for folder in suite_folders() if folders is None else folders:
        for path in sorted(folder.rglob("suite.yaml")):
            name = path.parent.relative_to(folder).as_posix()
            if name in found:
                first = found[name]
                found[name] = replace(first, hides=(*first.hides, path.parent))
            elif SUITE_NAME.fullmatch(name):
                found[name] = _described(name, path.parent)
    return [found[name] for name in sorted(found)]


def _described(name: str, folder: Path) -> FoundSuite:
    try:
        config = read_suite_file(folder)
        count = _count(folder) if config.data is None else 0
    except SuiteError as error:
        return FoundSuite(name=name, path=folder, problem=str(error))
    return FoundSuite(
        name=name,
        path=folder,
        title=config.title,
        language=config.language,
        task=config.task,
        license=config.license,
        samples=count,
        dataset=config.data.dataset if config.data is not None else "",
    )


def _count(folder: Path) -> int:
    return sum(1 for line in read_text(folder / "samples.jsonl").split("\n") if line.strip())


def open_suite(name: str, config: RunConfig, folders: Sequence[Path] | None = None) -> Suite:
    """Find a suite, read it whole, render its prompts, build its scorers.

    Raises SuiteError where there is none of that name or anything in it is wrong.
    """
    searched = suite_folders() if folders is None else list(folders)
    folder, hidden = find_suite(name, searched)
    notes = [f"taken from {folder}; there is another in {other}" for other in hidden]
    return open_folder(name, folder, config, searched, notes)


def find_suite(name: str, folders: Sequence[Path]) -> tuple[Path, list[Path]]:
    """The folder of a suite, and the folders of others of that name that it hides."""
    if SUITE_NAME.fullmatch(name):
        here = [folder / name for folder in folders if (folder / name / "suite.yaml").is_file()]
        if here:
            return here[0], here[1:]
    sets = find_sets(folders)
    if name in sets:
        raise SuiteError(
            f"{name!r} is a set of suites, and here one suite is asked for: "
            f"{', '.join(sets[name].suites)}."
        )
    known = [*(found.name for found in find_suites(folders)), *sets]
    hint = near(name, known) or " Run `evalkit suites list` to see them."
    where = ", ".join(map(str, folders)) or "any folder"
    raise SuiteError(f"No suite {name!r} in {where}.{hint}")


def open_folder(
    name: str,
    folder: Path,
    config: RunConfig,
    folders: Sequence[Path] = (),
    notes: Sequence[str] = (),
) -> Suite:
    """The suite that lies in `folder`; `folders` are where it may find others' references."""
    told, mistakes = read_suite_file(folder), Mistakes()
    material = (read_folder if told.data is None else read_recipe)(folder, told, mistakes)
    return assemble(name, folder, told, material, config, folders, notes, mistakes)


def assemble(
    name: str,
    folder: Path,
    told: SuiteConfig,
    material: Material,
    config: RunConfig,
    folders: Sequence[Path] = (),
    notes: Sequence[str] = (),
    mistakes: Mistakes | None = None,
) -> Suite:
    """A suite of what was read; scorers find their files from `folder`.

    Raises SuiteError with `mistakes`, those made so far, and with whatever else is wrong.
    """
    samples = _samples(name, told, material, config, Mistakes() if mistakes is None else mistakes)
    references = _References(name, folder, tuple(folders))
    context = ScorerContext(
        suite=name,
        language=told.language,
        samples=samples,
        references=references,
        folder=folder,
    )
    scorers = build_all([(line.name, line.options) for line in told.scorers], context)
    _check_tasks(material.told_in, told, scorers)
    parts = [*material.texts, *(text for _, text in sorted(references.read.items()))]
    parts += _scorer_files(folder, told)
    return Suite(
        info=_info(name, folder, told, material, samples, scorers, _fingerprint(parts)),
        task=told.task,
        samples=samples,
        scorers=scorers,
        max_new_tokens=told.max_new_tokens,
        stop=told.stop,
        delimiter=_delimiter(told, config),
        notes=(*notes, *material.notes),
        judging=told.judge,
    )


def _check_tasks(told_in: Path, told: SuiteConfig, scorers: Sequence[Scorer]) -> None:
    """A scorer that cannot read this task's completions is a mistake, not a missing score."""
    misfits = [one for one in scorers if one.tasks and told.task not in one.tasks]
    if misfits:
        raise SuiteError(
            f"{told_in}: scorers: {misfits[0].name!r} scores "
            f"{' and '.join(misfits[0].tasks)} suites, and this one's task is {told.task!r}."
        )


def is_chat(told: SuiteConfig, config: RunConfig) -> bool:
    """Whether prompts are turns: the run's word, then the suite's, then by task."""
    if told.task == "perplexity":
        return False  # a text is predicted as it stands, whatever the run prefers
    match config.chat:
        case "always":
            return True
        case "never":
            return False
        case "suite":
            return told.task == "generate" if told.chat is None else told.chat


def _delimiter(told: SuiteConfig, config: RunConfig) -> str:
    """What stands before a choice. A template ends its prompt itself, so a chat needs nothing."""
    if not is_chat(told, config):
        return " " if told.delimiter is None else told.delimiter
    return told.delimiter if told.chat and told.delimiter is not None else ""


def _samples(
    name: str, told: SuiteConfig, material: Material, config: RunConfig, mistakes: Mistakes
) -> tuple[Sample, ...]:
    """The samples with their prompts; raises SuiteError with every mistake."""
    style = Style(
        chat=is_chat(told, config),
        system=(told.system if config.system is None else config.system) or "",
        examples_as=config.fewshot_as,
        between=" " if told.delimiter is None else told.delimiter,
        filled=told.data is not None and config.system is None,
    )
    examples = _examples(told, material, mistakes)
    samples = read_samples(name, material, told, style, examples, mistakes)
    mistakes.check()
    return samples


def _examples(told: SuiteConfig, material: Material, mistakes: Mistakes) -> Examples:
    if told.fewshot is None:
        return Examples((), 0)
    found = []
    for row in material.examples:
        try:
            shown, by = told.fewshot.answer, told.fewshot.by
            found.append(example_of(row, told.template, shown, by))
        except ValueError as error:
            mistakes.at(row, str(error))
    if len(material.examples) < told.fewshot.count:
        mistakes.append(
            f"{material.examples_path}: {len(material.examples)} worked examples, but "
            f"fewshot.count is {told.fewshot.count}"
        )
    if told.fewshot.order == "first":
        return Examples(tuple(found), told.fewshot.count, told.fewshot.by)
    return Examples.drawn(found, told.fewshot.count, told.fewshot.seed, told.fewshot.by)


@dataclass(slots=True)
class _References:
    """Loads the references.jsonl of suites by name, and remembers what was used."""

    suite: str
    folder: Path
    folders: tuple[Path, ...]
    read: dict[str, str] = field(default_factory=dict)

    def __call__(self, name: str) -> Sequence[Reference]:
        folder = self.folder if name == self.suite else find_suite(name, self.folders)[0]
        path = folder / "references.jsonl"
        if not path.is_file():
            raise SuiteError(f"Suite {name!r} has no reference texts: {path} does not exist.")
        self.read[name] = read_text(path)
        mistakes = Mistakes()
        references = list(_references(read_rows(path, mistakes), mistakes))
        mistakes.check()
        return references


def _references(rows: Sequence[Row], mistakes: Mistakes) -> Iterator[Reference]:
    for row in rows:
        kind, text = row.fields.get("kind"), row.fields.get("text")
        if kind not in {"note", "plain"}:
            mistakes.at(row, f"'kind' must be note or plain, not {kind!r}")
        elif not isinstance(text, str) or not text.strip():
            mistakes.at(row, "'text' must be a text")
        else:
            yield Reference(
                id=str(row.fields.get("id", row.content_hash())),
                kind=kind,
                topic=str(row.fields.get("topic", "")),
                text=text,
            )


def _scorer_files(folder: Path, told: SuiteConfig) -> list[str]:
    """What scorers read besides: an option that is a file's path, from the suite's folder.

    A file that may be absent is left out, or the suite would be another one where it is.
    """
    needed = [line.options for line in told.scorers if not line.options.get("optional")]
    options = [value for given in needed for value in given.values()]
    files = [folder / value for value in options if isinstance(value, str)]
    return [read_text(file) for file in files if _is_file(file)]


def _is_file(path: Path) -> bool:
    """False also for what cannot be a path at all, such as a long regular expression."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _fingerprint(parts: Sequence[str]) -> str:
    """sha256 of all files a suite is made of; each is hashed alone, so no border is lost."""
    digests = [hashlib.sha256(part.encode()).hexdigest() for part in parts]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _info(
    name: str,
    folder: Path,
    told: SuiteConfig,
    material: Material,
    samples: Sequence[Sample],
    scorers: Sequence[Scorer],
    fingerprint: str,
) -> SuiteInfo:
    metrics = tuple(metric for scorer in scorers for metric in scorer.metrics)
    return SuiteInfo(
        name=name,
        title=told.title,
        language=told.language,
        task=told.task,
        metric=_gated(material.told_in, told, metrics),
        metrics=metrics,
        fingerprint=fingerprint,
        path=str(folder),
        samples=len(samples),
        policy=told.gate.policy,
        margin=told.gate.margin,
        license=told.license,
        source=told.source,
        description=told.description,
        references={name: mean for scorer in scorers for name, mean in scorer.references.items()},
    )


def _gated(told_in: Path, told: SuiteConfig, metrics: Sequence[Metric]) -> str:
    """The metric that decides: the suite's word, else the first that can be better or worse."""
    names = [metric.name for metric in metrics]
    judged = [metric.name for metric in metrics if metric.higher_is_better is not None]
    if told.metric is not None and told.metric not in names:
        raise SuiteError(
            f"{told_in}: metric: {told.metric!r} is no metric of its scorers, which "
            f"yield {', '.join(names)}.{near(told.metric, names)}"
        )
    if not judged or (told.metric is not None and told.metric not in judged):
        raise SuiteError(
            f"{told_in}: metric: {told.metric or names[0]!r} only describes: more of "
            "it is neither better nor worse, so nothing can be decided by it. "
            + (f"Name one of {', '.join(judged)}." if judged else "Add a scorer that judges.")
        )
    return told.metric or judged[0]


def limited(suite: Suite, limit: int | None, seed: int) -> Suite:
    """The suite with a seeded random part of its samples; all of them without a limit."""
    if limit is None:
        return suite
    samples = subset(suite.samples, limit, seed)
    return replace(suite, samples=samples, info=replace(suite.info, samples=len(samples)))


def subset(samples: Sequence[Sample], limit: int, seed: int) -> tuple[Sample, ...]:
    """`limit` samples, random but the same for every arm, in their order.

    Each sample draws a number from its id and the seed, and the lowest stay: 20 are among 50.
    """

    drawn = sorted(samples, key=lambda one: place(one.id, seed))
    kept = {sample.id for sample in drawn[:limit]}
    return tuple(sample for sample in samples if sample.id in kept)
