"""judge try, check, labels export, labels import, export: a judge looked at, and what it leaves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from evalkit.cli.options import Manner, Sets, examples, program, spread, working
from evalkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from evalkit.config import JudgeConfig
    from evalkit.judges.export import Material, Source
    from evalkit.judging.compared import Compared

app = typer.Typer(no_args_is_help=True, help="Try and check judges, and work with their words.")
labels = typer.Typer(no_args_is_help=True, help="People's blind labels, as CSV files.")
app.add_typer(labels, name="labels")

Comparison: TypeAlias = Annotated[Path, typer.Argument(help="A comparison's folder.")]
Arm: TypeAlias = Annotated[
    str, typer.Option(help="The tuned arm, where several are compared with the base.")
]
SuiteNames: TypeAlias = Annotated[
    str, typer.Option("--suite", help="Suites, separated by commas; without, all that are judged.")
]
RubricNames: TypeAlias = Annotated[
    str,
    typer.Option("--rubric", help="Rubrics or their files, separated by commas, instead of those."),
]


@app.command(
    "try",
    epilog=examples(
        "evalkit judge try base.yaml runs/compare/base-vs-tuned-1a2b3c "
        "--suite style/rednote-en --sample rn-en-003",
        "evalkit judge try base.yaml runs/base-1a2b3c runs/tuned-4d5e6f "
        "--suite style/rednote-en --sample rn-en-003 --judge strict",
    ),
)
@spread
def try_judge(
    file: Annotated[Path, typer.Argument(help="The base's YAML file, or one of a judge alone.")],
    compared: Annotated[
        list[Path],
        typer.Argument(help="A comparison's folder, or two run folders, the base's first."),
    ],
    *,
    suite: Annotated[
        str, typer.Option(help="The suite of the sample; without, the first that was judged.")
    ] = "",
    sample: Annotated[str, typer.Option(help="The sample's id; without, the suite's first.")] = "",
    rubric: Annotated[
        str, typer.Option(help="A rubric or its file; without, the first of the suite's.")
    ] = "",
    judge: Annotated[str, typer.Option(help="The judge's name, where there are several.")] = "",
    arm: Arm = "",
    ask: Annotated[bool, typer.Option(help="Ask the judge, or show the prompt alone.")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what is stored.")] = False,
    sets: Sets = None,
    manner: Manner,
) -> None:
    """Show what a judge is asked of one sample, what it answers, and how that is read.

    The answers are stored, as those of a comparison are: neither is paid for twice.
    """
    from evalkit.judging.compared import open_compared
    from evalkit.judging.trying import make_trial, tried
    from reports.trying import print_trial

    config = _judge_config(file, sets)
    with working(manner) as progress:
        trial = make_trial(
            config, open_compared(compared, arm), suite, sample, rubric=rubric, judge=judge
        )
        told = tried(trial, offline=manner.offline, fresh=fresh, progress=progress) if ask else None
    print_trial(trial, told)


@app.command(
    epilog=examples("evalkit judge check base.yaml", "evalkit judge check judge.yaml --json")
)
@spread
def check(
    file: Annotated[Path, typer.Argument(help="The base's YAML file, or one of a judge alone.")],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable result on stdout.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what is stored.")] = False,
    sets: Sets = None,
    manner: Manner,
) -> None:
    """Ask the judges what everybody knows, and try to fool them.

    It fails (1) where a judge fails the known-answer probes or an attack turns its verdict.
    """
    from evalkit.judging.checking import check_judges
    from reports.trying import checked_json, print_checked

    config = _judge_config(file, sets)
    with working(manner) as progress:
        checked = check_judges(config, offline=manner.offline, fresh=fresh, progress=progress)
    if as_json:
        typer.echo(checked_json(checked))
    else:
        print_checked(checked)
    raise typer.Exit(ExitCode.PASS if all(one.passed for one in checked) else ExitCode.FAIL)


@labels.command(
    "export",
    epilog=examples(
        "evalkit judge labels export runs/compare/base-vs-tuned-1a2b3c -o labels.csv",
        "evalkit judge labels export runs/compare/base-vs-tuned-1a2b3c -o ana.csv --person Ana "
        "--n 100 --suite style/rednote-en --rubric rednote",
    ),
)
def export_labels(
    comparison: Comparison,
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Samples of each suite and rubric.")] = 50,
    suite: SuiteNames = "",
    rubric: RubricNames = "",
    seed: Annotated[
        int | None, typer.Option(help="Which samples are drawn; without, the run's own seed.")
    ] = None,
    person: Annotated[str, typer.Option(help="Whoever is to fill it in.")] = "",
    arm: Arm = "",
) -> None:
    """Write a sheet for people to label, blind: random samples, the sides shuffled, no names.

    Everybody who gets a sheet of the same --seed labels the same samples.
    """
    from evalkit.judges.blinding import blinded, blinding_key, drawn
    from evalkit.judges.labels import write_labels
    from evalkit.judging.compared import open_compared, people_jobs

    if output.exists():
        raise UsageError(
            f"{output} is there already, and may be filled in: name another file, or delete it."
        )
    name = _person(person)
    opened = open_compared([comparison], arm)
    seed = opened.comparison.base.seed if seed is None else seed
    asked = drawn(people_jobs(opened, _names(suite), _names(rubric)), n, seed)
    key = blinding_key(opened.comparison.base, opened.comparison.tuned, seed, name)
    write_labels(output, blinded(asked, key), name)
    parts = dict.fromkeys(f"{one.matter.suite} by {one.rubric.name}" for one in asked)
    typer.echo(f"Wrote {len(asked)} pairs to {output}: {', '.join(parts)}.")
    command = f"{program()} judge labels import {shlex.quote(str(output))}"
    typer.echo(
        "Fill in the column choice (left, right, tie or skip), from the top, then:\n"
        f"  {command} {shlex.quote(str(comparison))}"
    )


@labels.command(
    "import",
    epilog=examples(
        "evalkit judge labels import labels.csv runs/compare/base-vs-tuned-1a2b3c",
        "evalkit judge labels import ana.csv bo.csv runs/compare/base-vs-tuned-1a2b3c",
    ),
)
def import_labels(
    paths: Annotated[
        list[Path], typer.Argument(help="Filled-in sheets, then the comparison's folder.")
    ],
    person: Annotated[
        str, typer.Option(help="Whose the rows without a name are; else the file's name is.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where labels are kept; else in the comparison."),
    ] = None,
    rubric: Annotated[
        str, typer.Option("--rubric", help="The file of a rubric of your own, where one was used.")
    ] = "",
    arm: Arm = "",
) -> None:
    """Read what people filled in, tell whose answer they preferred, and keep it.

    Says at once how far people and judges agree.
    """
    from evalkit.judging.compared import open_compared
    from evalkit.judging.labelling import keep_labels
    from reports.labelling import print_labelled

    if len(paths) < 2:
        raise UsageError(
            "Name the filled-in file, then the comparison: evalkit judge labels import labels.csv "
            "runs/compare/…"
        )
    *files, folder = paths
    opened = open_compared([folder], arm)
    print_labelled(
        keep_labels(files, opened, _person(person), output or opened.labels, _names(rubric))
    )


@app.command(
    epilog=examples(
        "evalkit judge export --dpo pairs.jsonl runs/compare/base-vs-tuned-1a2b3c --consistent",
        "evalkit judge export --dpo people.jsonl runs/compare/* --source human",
    )
)
def export(
    comparisons: Annotated[list[Path], typer.Argument(help="Comparisons' folders.")],
    dpo: Annotated[Path, typer.Option(help="The JSONL file to write: prompt, chosen, rejected.")],
    source: Annotated[
        Literal["human", "ai", "both"], typer.Option(help="Whose preferences.")
    ] = "both",
    consistent: Annotated[
        bool,
        typer.Option("--consistent", help="Only where all judges name one winner in both orders."),
    ] = False,
    min_confidence: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How sure the judges together have to be; 1: all are."),
    ] = 0.0,
    exclude_flagged: Annotated[
        bool,
        typer.Option("--exclude-flagged", help="Not where an answer may have been an attack."),
    ] = False,
    suite: SuiteNames = "",
    rubric: RubricNames = "",
    arm: Arm = "",
) -> None:
    """Write preference pairs for the next training (DPO, in trl's format), with their provenance.

    A suite whose samples are trained on no longer measures anything: export from suites that are
    not your gate's.
    """
    from evalkit.judges.export import Wanted, pick, write_picks
    from reports.labelling import print_picked

    sources: tuple[Source, ...] = ("human", "ai") if source == "both" else (source,)
    wanted = Wanted(
        sources=sources,
        suites=_names(suite),
        rubrics=_names(rubric),
        consistent=consistent,
        min_confidence=min_confidence,
        exclude_flagged=exclude_flagged,
    )
    picked = pick((one for path in comparisons for one in _materials(path, arm)), wanted)
    if picked.picks:
        write_picks(dpo, picked.picks)
    print_picked(picked, dpo)
    if not picked.picks:
        raise UsageError(
            "No pair is left to write. Ask for less (--min-confidence, --consistent, --source, "
            "--suite), or judge or label more."
        )


def _materials(path: Path, arm: str) -> list[Material]:
    """What is known of a comparison: of every tuned arm, unless one is named."""
    from evalkit.judging.compared import open_compared
    from evalkit.store.runs import read_comparisons

    names = [arm] if arm else [one.tuned.name for one in read_comparisons(path)]
    return [_material(open_compared([path], name)) for name in names]


def _material(opened: Compared) -> Material:
    from evalkit.judges.export import Material
    from evalkit.judging.compared import people_among, valid_votes

    return Material(
        comparison=opened.comparison,
        pairs=opened.pairs,
        judgements=opened.judgements,
        votes=valid_votes(opened),
        people=people_among(opened.comparison),
    )


def _judge_config(file: Path, sets: list[str] | None) -> JudgeConfig:
    """The judge that a file declares: as the part `judge` of a base's, or by itself."""
    from evalkit.config import JudgeConfig
    from evalkit.configfile import load_arms, load_config
    from evalkit.configfile.tree import Unreadable, read_tree
    from evalkit.gate.declared import run_override

    try:
        alone = read_tree(file)[0].child("judges") is not None
    except Unreadable:
        alone = False  # what is wrong with it is told below
    if alone:
        return load_config(file, JudgeConfig, [text.removeprefix("judge.") for text in sets or ()])
    config = load_arms([file], [run_override(text) for text in sets or ()])[0]
    if config.judge is None:
        raise UsageError(
            f"{file} declares no judge. Write one under `judge:` (docs/judging.md), or name a file "
            "that begins with `judges:`."
        )
    return config.judge


def _person(name: str) -> str:
    """A person's name as it is kept; empty where none was given."""
    from evalkit.judges.votes import person_name

    try:
        return person_name(name) if name else ""
    except ValueError as error:
        raise UsageError(f"--person: {error}.") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
