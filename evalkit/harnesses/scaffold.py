"""Making a suite from a table, and looking one over."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.config import HFModel, LmEvalConfig, OpenCompassConfig, RunConfig
from evalkit.errors import DataError, SuiteError
from evalkit.harnesses.base import Suite, Task
from evalkit.harnesses.native import SUITE_NAME, find_suite, open_folder, suite_folders
from evalkit.harnesses.opening import LM_EVAL, OPENCOMPASS, open_named
from evalkit.harnesses.owndata import (
    MARGINS,
    Asking,
    asking_of,
    language_of_rows,
    refuse_missing_target,
    scorer_of,
    task_of,
    title_of,
)
from evalkit.harnesses.suitefile import ScorerLine
from evalkit.harnesses.tables import read_table
from evalkit.records import Prompt

_SEEN = 3  # prompts that are shown
_SKEW = 0.001  # how improbable by chance the places of the answers must be before we warn


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What looking a suite over found; `suite` is None where it cannot be opened at all.

    `prompts` are three of them as a model gets them (turns are written `[role] text`);
    `longest_prompt` counts characters, worked examples included.
    """

    name: str
    path: str
    suite: Suite | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    longest_prompt: int = 0


def new_suite(
    source: Path,
    folder: Path,
    name: str,
    *,
    task: Task | None = None,
    prompt: str | None = None,
    target: str | None = None,
    scorer: str | None = None,
) -> Path:
    """Write the suite `folder`/`name` from a CSV or JSONL file and return its folder.

    Columns, task and scorer are guessed where they are not given. Raises SuiteError where they
    cannot be, where a row is wrong or where the suite exists; nothing is left half-written.
    """
    if not SUITE_NAME.fullmatch(name):
        raise SuiteError(f"{name!r} cannot name a suite; use letters and digits, as family/name.")
    place = folder / name
    if place.exists():
        raise SuiteError(f"{place} exists already. Choose another name, or remove it first.")
    table = read_table(source)
    task = task or task_of(table, prompt, scorer)
    asking = asking_of(table, task, prompt, target, scorer)
    text = _suite_yaml(name, source, task, asking, scorer_of(task, asking.rows, scorer))
    with _written_whole(place, name, text, [row.fields for row in asking.rows]) as suite:
        refuse_missing_target(table, suite)
    return place


@contextmanager
def _written_whole(
    place: Path, name: str, text: str, rows: Sequence[Mapping[str, Any]]
) -> Iterator[Suite]:
    """Write beside the place, open what was written, and move it there if nothing is wrong."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise SuiteError(f"{place.parent}: cannot be written: {error.strerror or error}.") from None
    try:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (draft / "samples.jsonl").write_text("".join(lines), encoding="utf-8")
        (draft / "suite.yaml").write_text(text, encoding="utf-8")
        yield open_folder(name, draft, _as_it_is(name), suite_folders())
        draft.chmod(0o755)  # mkdtemp's are private
        draft.rename(place)
    except SuiteError as error:
        raise SuiteError(f"{name} was not written: {error}".replace(f"{draft}/", "")) from None
    except OSError as error:
        raise SuiteError(f"{place}: cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


_YAML = """\
title: {title}
description: What these questions find out, in a sentence or two.
version: 1
language: {language}   # en, zh …, or mixed where rows have a `language` of their own
license: ""    # of the questions, such as Apache-2.0 or CC-BY-4.0
source: {source}
task: {task}   # choice, generate or perplexity
{asking}scorers:   # names, or {{name: …, option: …}}
  - {scorer}
gate: {{policy: non_inferiority, margin: {margin}}}   # how much worse may it be
slices: []   # fields to tell apart in the report{fields}
"""
_ASKING = """\
chat: {chat}   # whether the model's chat template is used
prompt: {prompt}   # any {{field}} of the rows; \\n begins a new line
"""


def _suite_yaml(name: str, source: Path, task: Task, asking: Asking, scorer: ScorerLine) -> str:
    """A suite.yaml that explains itself."""
    shown = "" if asking.prompt is None else _ASKING.format(
        chat="true" if task == "generate" else "false", prompt=_quoted(asking.prompt)
    )  # fmt: skip
    used = {"id", asking.question, "choices", "answer", "target", "options"}
    keys = dict.fromkeys(key for row in asking.rows for key in row.fields)
    others = [key for key in keys if key not in used]
    return _YAML.format(
        title=_quoted(title_of(name)),
        language=language_of_rows(asking.rows, asking.question),
        source=_quoted(f"Made from {source.name}."),
        task=task,
        asking=shown + ("max_new_tokens: 256\n" if task == "generate" else ""),
        scorer=_quoted({"name": scorer.name, **scorer.options} if scorer.options else scorer.name),
        margin=MARGINS.get(scorer.name, 0.02),
        # A column's name is the user's text: it must not end the comment it stands in.
        fields=": " + " ".join(", ".join(others).split()) if others else "",
    )


def _quoted(value: object) -> str:
    # JSON is YAML, its quoting that of YAML's double quotes.
    return json.dumps(value, ensure_ascii=False)


def check_suite(name: str, include: Path | None = None) -> Report:
    """Look a suite over, by its name or its folder; raises SuiteError only if there is none.

    `include` is a folder of task files for the names of lm-eval, or of configs for OpenCompass's.
    """
    if name.startswith((LM_EVAL, OPENCOMPASS)):
        return _of_other(name, include)
    folders = suite_folders()
    given = Path(name)
    if (given / "suite.yaml").is_file():
        folder = given
        name = _name_of(given.resolve(), folders)
    else:
        folder = find_suite(name, folders)[0]
    try:
        suite = open_folder(name, folder, _as_it_is(name), folders)
    except (SuiteError, DataError) as error:
        return Report(name=name, path=str(folder), suite=None, problems=(str(error),))
    texts = [rendered(sample.prompt) for sample in suite.samples]
    return Report(
        name=name,
        path=str(folder),
        suite=suite,
        warnings=tuple(_warnings(suite)),
        prompts=tuple(texts[:_SEEN]),
        longest_prompt=max(map(len, texts)),
    )


def _of_other(name: str, include: Path | None) -> Report:
    """A suite of another harness, which that harness has looked over itself."""
    own = {
        "lm_eval": LmEvalConfig(include_path=include),
        "opencompass": OpenCompassConfig(config_dir=include),
    }
    config = _as_it_is(name).model_copy(update=own)
    suites = open_named(name, config)
    if len(suites) > 1:
        names = ", ".join(suite.info.name for suite in suites)
        raise SuiteError(f"{name} stands for {len(suites)} suites. Show one of them: {names}")
    (suite,) = suites
    texts = [rendered(sample.prompt) for sample in suite.samples]
    return Report(
        name=name,
        path=suite.info.path,
        suite=suite,
        prompts=tuple(texts[:_SEEN]),
        longest_prompt=max(map(len, texts)),
        warnings=suite.notes,
    )


def _name_of(folder: Path, folders: Sequence[Path]) -> str:
    """The name a run would use for a folder; its last part where it is in no suite folder."""
    for each in folders:
        if folder.is_relative_to(each.resolve()) and folder != each.resolve():
            return folder.relative_to(each.resolve()).as_posix()
    return folder.name


def _as_it_is(name: str) -> RunConfig:
    """A run that wishes nothing of its own, to see a suite as its author wrote it."""
    return RunConfig(name="check", model=HFModel(kind="hf", path="none"), suites=(name,))


def rendered(prompt: Prompt) -> str:
    """A prompt to be read by a person; a chat template is not applied."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"[{turn.role}] {turn.content}" for turn in prompt)


def _warnings(suite: Suite) -> Iterator[str]:
    """What is allowed but seldom meant."""
    if not suite.info.license:
        yield "no licence: say in `license` under which terms the questions may be used"
    if len(suite.samples) < 50:
        yield f"only {len(suite.samples)} samples: intervals will be too wide to decide much"
    prompts = Counter(rendered(sample.prompt) for sample in suite.samples)
    repeated = [(text, count) for text, count in prompts.items() if count > 1]
    if repeated:
        text, count = repeated[0]
        yield f"{len(repeated)} prompts occur more than once, such as (x{count}) {text[-60:]!r}"
    telling = [sample.id for sample in suite.samples if _tells(rendered(sample.prompt),
                                                               sample.targets)]  # fmt: skip
    if telling:
        yield f"the target stands in the prompt of {len(telling)} samples, such as {telling[0]!r}"
    yield from _skewed(suite)


def _tells(prompt: str, targets: Sequence[str]) -> bool:
    # A target of a letter or two stands in most texts by chance.
    return any(len(target) > 2 and target.casefold() in prompt.casefold() for target in targets)


def _skewed(suite: Suite) -> Iterator[str]:
    """Right answers that stand too often in one place: a model may learn the place."""
    from scipy.stats import binomtest

    places = Counter(sample.answer for sample in suite.samples if sample.answer is not None)
    if not places:
        return
    place, count = places.most_common(1)[0]
    samples = [sample for sample in suite.samples if len(sample.choices) > place]
    chance = statistics.fmean(1 / len(sample.choices) for sample in samples)
    surprise = binomtest(count, len(samples), chance, alternative="greater").pvalue
    if surprise * max(len(each.choices) for each in samples) < _SKEW:  # it might be any place
        share = math.floor(100 * count / len(samples))
        yield f"{share} % of the right answers are choice {place} (from 0): shuffle the choices"
