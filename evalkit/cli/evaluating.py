"""run, compare, gate, report: from models to a verdict, and from old runs to a new one."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import (
    Formats,
    GateFile,
    Json,
    Manner,
    Questions,
    Results,
    Sets,
    examples,
    load_configs,
    program,
    spread,
)
from evalkit.cli.stages import Wishes, evaluate_arms
from evalkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from evalkit.config import GateConfig, JudgeConfig, RunConfig
    from evalkit.records import Comparison, Manifest, Run, Verdict

RUN_EXAMPLES = examples("evalkit run base.yaml --suites knowledge/everyday-en --limit 50")
COMPARE_EXAMPLES = examples(
    "evalkit compare base.yaml tuned.yaml",
    "evalkit compare base.yaml a.yaml b.yaml --suites style/rednote-en,style/plain-en",
    "evalkit compare base.yaml tuned.yaml --data prompts.csv --prompt question --target answer",
    "evalkit compare base.yaml tuned.yaml --dry-run",
    "evalkit compare base.yaml tuned.yaml --sequential",
    "evalkit compare base.yaml --checkpoints runs/train/rednote",
)
GATE_EXAMPLES = examples(
    "evalkit gate runs/compare/base-vs-tuned-1a2b3c --set on_inconclusive=fail",
    "evalkit gate runs/base-1a2b3c runs/tuned-4d5e6f --gate gate.yaml",
    "evalkit gate calibrate --quick",
)
REPORT_EXAMPLES = examples(
    "evalkit report runs/compare/base-vs-tuned-1a2b3c --format markdown,junit",
    "evalkit report runs/base-1a2b3c runs/tuned-4d5e6f",
)


@spread
def run(
    file: Annotated[Path, typer.Argument(help="The model's YAML file.")],
    *,
    asked: Questions,
    results: Results,
    manner: Manner,
) -> None:
    """Evaluate one model and keep its answers and scores."""
    configs = load_configs([file], asked)
    wishes = Wishes(allow_code=asked.allow_code_execution)
    runs = evaluate_arms(configs, results, manner, wishes).runs
    if runs:
        from reports.machine import run_json
        from reports.terminal import print_run

        if results.as_json:
            typer.echo(run_json(runs[0], profiled=results.profile))
        else:
            print_run(runs[0])
            _tell_profile(runs, results)


@spread
def compare(
    files: Annotated[list[Path], typer.Argument(help="The base's YAML, then each tuned model's.")],
    *,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="A training run's folder: each of its checkpoints is compared too, and the best "
            "of them decides."
        ),
    ] = None,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential",
            help="Ask the samples in growing blocks, and leave a suite once its verdict is "
            "settled.",
        ),
    ] = False,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="With --dry-run: earlier results that show the noise, as of `evalkit power`."
        ),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge/--no-judge",
            help="Have the answers judged as the base's file declares, or leave the judge out.",
        ),
    ] = True,
    asked: Questions,
    formats: Formats = "html",
    results: Results,
    manner: Manner,
) -> None:
    """Compare tuned models with their base, and decide."""
    if len(files) < 2 and checkpoints is None:
        raise UsageError(
            "compare needs at least two files, the base's first: evalkit compare base.yaml "
            "tuned.yaml, or --checkpoints with a training run's folder. To evaluate one model use "
            "`evalkit run`."
        )
    if pilot is not None and not results.dry_run:
        raise UsageError("--pilot is for --dry-run, which tells what can be decided. Leave it out.")
    wanted = _formats(formats)
    configs = load_configs(files, asked)
    if checkpoints is not None:
        from evalkit.cli.checkpoints import checkpoint_arms

        configs += checkpoint_arms(configs[0], files[0], checkpoints, asked, manner)
        _check_names(configs)
    wishes = Wishes(
        sequential=sequential,
        pilot=pilot,
        allow_code=asked.allow_code_execution,
        judged=judge,
    )
    raise typer.Exit(compare_arms(configs, results, manner, wanted, wishes))


def _check_names(configs: Sequence[RunConfig]) -> None:
    """Arms are told apart by their names; those of checkpoints stand in no file."""
    names = [one.name for one in configs]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError(f"{', '.join(twice)} is the name of a checkpoint: give the file another.")


def compare_arms(
    configs: Sequence[RunConfig],
    results: Results,
    manner: Manner,
    formats: Sequence[str] = ("html",),
    wishes: Wishes | None = None,
) -> ExitCode:
    """Evaluate all arms, compare each with the first, decide, write the reports, print them."""
    from evalkit.store.judgements import write_judgements
    from evalkit.store.runs import write_comparisons
    from reports.write import write_reports

    wishes = wishes or Wishes()
    runs, compared = evaluate_arms(configs, results, manner, wishes)
    if not runs:
        return ExitCode.PASS
    comparisons = [one.comparison for one in compared]
    judge = configs[0].judge if wishes.judged else None
    folder = results.output / "compare" / _comparison_name([one.manifest for one in runs], judge)
    for one in compared:  # before the comparison, which names their files
        if one.file:
            write_judgements(folder, one.judgements, one.file)
    write_comparisons(folder, comparisons)
    verdicts = _decide(comparisons, configs[0].gate)
    files = write_reports(folder, comparisons, verdicts, formats)
    code = _tell(comparisons, verdicts, as_json=results.as_json, profiled=results.profile)
    if not results.as_json:
        typer.echo(f"Runs       {', '.join(one.path for one in runs)}")
        for file in files:
            typer.echo(f"Report     {file}")
        typer.echo(f"Dashboard  {program()} dashboard {shlex.quote(str(folder))}")
        _tell_profile(runs, results)
    return code


def gate(
    paths: Annotated[
        list[Path],
        typer.Argument(help="A comparison (file or folder), or run folders, the base's first."),
    ],
    gate_file: GateFile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Decide again, with another gate; no model is loaded.

    `evalkit gate calibrate` is another command: it measures how often a gate is wrong.
    """
    comparisons = _comparisons(paths)
    verdicts = _decide(comparisons, _gate(comparisons[0], gate_file, sets))
    raise typer.Exit(_tell(comparisons, verdicts, as_json=as_json))


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(help="A comparison (file or folder), or run folders, the base's first."),
    ],
    formats: Formats = "html",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; default: the comparison's, of runs one beside them."
        ),
    ] = None,
    report_url: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where report.html will be read: what the markdown links into."
        ),
    ] = "",
    gate_file: GateFile = None,
    sets: Sets = None,
) -> None:
    """Write reports of a comparison, or of runs that it compares."""
    from evalkit.store.runs import write_comparisons
    from reports.write import write_reports

    wanted = _formats(formats)
    if not re.match(r"https?://|[^:]*([/?#]|$)", report_url):
        raise UsageError(
            f"--report-url {report_url}: write an address that begins with http:// or https://, or "
            "a path beside the Markdown."
        )
    comparisons = _comparisons(paths)
    verdicts = _decide(comparisons, _gate(comparisons[0], gate_file, sets))
    folder = output or (paths[0] if paths[0].is_dir() else paths[0].parent)
    if len(paths) > 1:
        arms = [comparisons[0].base, *(one.tuned for one in comparisons)]
        folder = output or paths[0].parent / "compare" / _comparison_name(arms)
        write_comparisons(folder, comparisons)
    for file in write_reports(folder, comparisons, verdicts, wanted, report_url):
        typer.echo(str(file))


def _formats(text: str) -> list[str]:
    from reports.write import check_formats

    names = [name.strip() for name in text.split(",") if name.strip()]
    check_formats(names)
    return names


def _gate(comparison: Comparison, file: Path | None, sets: Sequence[str] | None) -> GateConfig:
    """The gate of a file, instead of the one declared with the base; --set changes either."""
    from evalkit.config import GateConfig
    from evalkit.configfile import apply_overrides, load_config
    from evalkit.gate.declared import check_effect, declared_gate, gate_override

    overrides = [gate_override(text) for text in sets or ()]
    if file is not None:
        gate = load_config(file, GateConfig, overrides)
    else:
        gate = apply_overrides(declared_gate(comparison.base), overrides)
    check_effect(gate, [info.name for info in comparison.base.suites], sets or ())
    return gate


def _comparisons(paths: Sequence[Path]) -> tuple[Comparison, ...]:
    from evalkit.compare import compare as compare_runs
    from evalkit.store.runs import read_comparisons, read_run

    if len(paths) == 1:
        return read_comparisons(paths[0])
    base, *others = [read_run(path) for path in paths]
    return tuple(compare_runs(base, tuned) for tuned in others)


def _decide(comparisons: Sequence[Comparison], gate: GateConfig) -> list[Verdict]:
    from evalkit.gate.decide import decide

    return [decide(one, gate) for one in comparisons]


def _tell(
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    *,
    as_json: bool,
    profiled: bool = False,
) -> ExitCode:
    """Say the verdict, and give what the command ends with."""
    from reports.machine import comparison_json
    from reports.steps import deciding
    from reports.terminal import print_verdict

    if as_json:
        typer.echo(comparison_json(comparisons, verdicts, profiled=profiled))
    else:
        print_verdict(comparisons, verdicts)
    return deciding(comparisons, verdicts)[1].exit_code


def _tell_profile(runs: Sequence[Run], results: Results) -> None:
    if results.profile:
        from reports.terminal import print_profile

        print_profile([one.manifest for one in runs])


def _comparison_name(arms: Sequence[Manifest], judge: JudgeConfig | None = None) -> str:
    """A folder's name that says who is compared, another for other runs and another judge."""
    names = "-".join(one.name for one in arms[1:])
    parts = [*(one.run_id for one in arms), *([judge.model_dump_json()] if judge else [])]
    mark = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    return f"{arms[0].name}-vs-{names}"[:80] + f"-{mark}"
