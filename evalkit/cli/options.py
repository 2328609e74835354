"""Options that several commands share, and what they open."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Container, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

if TYPE_CHECKING:
    from evalkit.config import RunConfig
    from evalkit.progress import Progress

Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the file (a.b=1).",
    ),
]
Suites: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Suites or sets to run, separated by commas, instead of the file's."),
]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="A CSV, JSONL or Parquet file to ask, instead of the file's suites."),
]
PromptColumn: TypeAlias = Annotated[
    str | None, typer.Option("--prompt", help="With --data: the column that holds the question.")
]
TargetColumn: TypeAlias = Annotated[
    str | None, typer.Option("--target", help="With --data: the column that holds the answer.")
]
DataScorer: TypeAlias = Annotated[
    str | None, typer.Option("--scorer", help="With --data: how answers are scored.")
]
DataName: TypeAlias = Annotated[
    str | None, typer.Option("--name", help="With --data: what it is called; else the file's name.")
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="A seeded random subset of N samples per suite, the same per arm; of lm-eval's tasks "
        "and OpenCompass's data sets, the first N.",
    ),
]
IncludePath: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of task files of your own, for suites lm_eval:NAME.")
]
NumFewshot: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Worked examples before each question of lm-eval's tasks.")
]
AllowCode: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-code-execution",
        help="Run what the models write: native suites in a sandbox, lm-eval's tasks outside any.",
    ),
]
Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Folder for results.")]
Formats: TypeAlias = Annotated[
    str,
    typer.Option("--format", help="html, markdown, json, csv, junit; several are parted by comma."),
]
GateFile: TypeAlias = Annotated[
    Path | None, typer.Option("--gate", help="A YAML file with the keys of a gate.")
]
Fresh: TypeAlias = Annotated[
    bool,
    typer.Option("--fresh/--resume", help="Compute all anew, or go on from what is stored."),
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
DataRoot: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="A folder of models and data sets as ORG/NAME, used before any hub; EVALKIT_DATA "
        "without."
    ),
]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the plan (samples, tokens, time) and run nothing; a model that is not on this "
        "machine is fetched for it.",
    ),
]
Profile: TypeAlias = Annotated[
    bool,
    typer.Option("--profile", help="Also show where the time went, and how close to the limit."),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Machine-readable result on stdout; progress on stderr.")
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also what the libraries say.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="The result alone.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked: the options that narrow or change what the files say."""

    suites: Suites = None
    data: Data = None
    prompt: PromptColumn = None
    target: TargetColumn = None
    scorer: DataScorer = None
    name: DataName = None
    limit: Limit = None
    include_path: IncludePath = None
    num_fewshot: NumFewshot = None
    allow_code_execution: AllowCode = False
    sets: Sets = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What is wanted of an evaluation, in what form, and where it goes."""

    output: Output = Path("runs")
    fresh: Fresh = False
    dry_run: DryRun = False
    profile: Profile = False
    as_json: Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where a command may take models and data from."""

    offline: Offline = False
    data_root: DataRoot = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner(Reach):
    """How a command goes about its work, whatever that is."""

    verbose: Verbose = False
    quiet: Quiet = False


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer reads it: a group of options becomes one parameter for each of them.

    typer has no groups; so they are written once, and every command that takes one says so, behind
    a `*`. Whoever calls the command from Python gives the options, too.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command).parameters.values():
        kind = hints[own.name]
        if isinstance(kind, type) and is_dataclass(kind):
            groups[own.name] = kind
            parameters += _parameters(kind)
        else:
            parameters.append(own.replace(annotation=kind))
    signature = inspect.Signature(parameters)

    @wraps(command)
    def called(*positional: Any, **named: Any) -> None:
        bound = signature.bind(*positional, **named)
        bound.apply_defaults()
        given = dict(bound.arguments)
        for name, kind in groups.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
        command(**given)

    called.__annotations__ = {one.name: one.annotation for one in parameters}
    vars(called)["__signature__"] = signature
    return called


def _parameters(group: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        yield inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )


def examples(*commands: str) -> str:
    """The end of a command's help, one example a line; \\b keeps them from being re-wrapped."""
    lines = "".join(f"\n  {command}" for command in commands)
    return f"{'Example' if len(commands) == 1 else 'Examples'}:\n\n\b{lines}"


def program() -> str:
    """How this program is called from here: by name if that finds it, else by its path."""
    if shutil.which("evalkit") == str(Path(sys.argv[0]).absolute()):
        return "evalkit"
    beside = Path(sys.argv[0])
    return shlex.quote(os.path.relpath(beside)) if beside.name == "evalkit" else "evalkit"


@contextmanager
def working(manner: Manner) -> Iterator[Progress]:
    """Progress on stderr while work goes on; the libraries below are hushed unless asked for."""
    from reports.terminal import RichProgress

    if not manner.verbose:
        hush_libraries()
    ours = logging.getLogger("evalkit")
    before = ours.level
    ours.setLevel(logging.DEBUG if manner.verbose else before)  # whoever hushes a library asks it
    try:
        with reaching(manner), RichProgress(quiet=manner.quiet) as progress:
            yield progress
    finally:
        ours.setLevel(before)


@contextmanager
def reaching(reach: Reach) -> Iterator[None]:
    """With the data root and the network that the command line allows."""
    from evalkit.data.places import at_data_root, data_root

    with _offline_libraries(reach.offline), at_data_root(reach.data_root):
        if reach.data_root is not None:
            data_root()  # a wrong folder is told now, not when something is missed in it
        yield


@contextmanager
def _offline_libraries(offline: bool) -> Iterator[None]:
    """Tell the libraries below, which look into the environment, to keep off the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if offline else ()
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def hush_libraries() -> None:
    """Silence libraries' progress bars and warnings: ours say what a user needs to know."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    warnings.simplefilter("ignore")
    for name in ("transformers", "peft", "bitsandbytes", "trl", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_configs(files: Sequence[Path], asked: Questions) -> list[RunConfig]:
    """The arms of a command, base first, with the command line's own wishes applied."""
    from evalkit.configfile import apply_overrides, load_arms
    from evalkit.gate.declared import check_effect, run_override
    from evalkit.harnesses.native import suite_folders
    from evalkit.harnesses.sets import expanded

    overrides = [run_override(text) for text in asked.sets or ()]
    if asked.limit is not None:
        overrides.append(f"limit={asked.limit}")
    if asked.include_path is not None:
        overrides.append(f"lm_eval.include_path={str(asked.include_path.absolute())!r}")
    if asked.num_fewshot is not None:
        overrides.append(f"lm_eval.num_fewshot={asked.num_fewshot}")
    names = [name.strip() for name in (asked.suites or "").split(",") if name.strip()]
    own = own_data(asked, names)
    configs = load_arms(files, [*overrides, *own])
    check_effect(configs[0].gate, configs[0].suites, asked.sets or ())
    if own:
        asked_for = expanded(configs[0].suites, suite_folders(), configs[0].data)
        return [_only(one, asked_for) for one in configs]
    if asked.suites is None:
        return configs
    narrowed = [apply_overrides(one, [f"suites={names!r}"]) for one in configs]
    folders = suite_folders()
    data = configs[0].data
    asked_before = set(expanded(configs[0].suites, folders, data))
    left_out = asked_before - set(expanded(names, folders, data))
    return [_without(one, left_out) for one in narrowed]


def own_data(asked: Questions, names: Sequence[str]) -> list[str]:
    """What --data and the options beside it put over a file; `names` are those of --suites.

    Raises UsageError for one of those options without --data, and where there is no such file.
    """
    from evalkit.config import data_name
    from evalkit.configfile.tree import near_files
    from evalkit.errors import UsageError

    beside = {"prompt": asked.prompt, "target": asked.target, "scorer": asked.scorer}
    told = {key: value for key, value in beside.items() if value is not None}
    if asked.data is None:
        lone = next(iter([*told, *(["name"] if asked.name else [])]), None)
        if lone:
            raise UsageError(f"--{lone} is of a table of your own: name its file with --data.")
        return []
    if not asked.data.is_file():
        raise UsageError(f"--data {asked.data}: no such file.{near_files(asked.data)}")
    name = asked.name or _plain_stem(asked.data)
    try:
        data_name(name)
    except ValueError as error:
        raise UsageError(f"--name: {error}.") from None
    told["file"] = str(asked.data.resolve())
    return [f"data.{name}={json.dumps(told)}", f"suites={json.dumps([*names, name])}"]


def _plain_stem(file: Path) -> str:
    """A file's name without its endings, as a table may be called."""
    stem = Path(file.name.removesuffix(".gz")).stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "data"


def _only(config: RunConfig, names: Container[str]) -> RunConfig:
    """Without what is declared of suites that are not asked: the table stands in their place."""
    return _keeping(config, lambda name: name in names)


def _without(config: RunConfig, left_out: Set[str]) -> RunConfig:
    """Without what is declared of suites that --suites left out; a misspelt one stays, to be
    told."""
    return _keeping(config, lambda name: name not in left_out)


def _keeping(config: RunConfig, asked: Callable[[str], bool]) -> RunConfig:
    gates = {name: one for name, one in config.gate.suites.items() if asked(name)}
    changes: dict[str, Any] = {"gate": config.gate.model_copy(update={"suites": gates})}
    better = config.opencompass.better
    better = {name: one for name, one in better.items() if asked(f"opencompass:{name}")}
    changes["opencompass"] = config.opencompass.model_copy(update={"better": better})
    if config.judge is not None and config.judge.suites:
        judged = {name: one for name, one in config.judge.suites.items() if asked(name)}
        # With none left, "every suite that declares a rubric" is not what was declared.
        changes["judge"] = config.judge.model_copy(update={"suites": judged}) if judged else None
    return config.model_copy(update=changes)
