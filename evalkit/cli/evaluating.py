"""run, compare, gate, report: from models to a verdict, and from old runs to a new one."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import (
    DryRun,
    Formats,
    Fresh,
    GateFile,
    Json,
    Limit,
    Offline,
    Output,
    Quiet,
    Sets,
    Suites,
    Verbose,
    examples,
    load_configs,
    program,
    working,
)
from evalkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from evalkit.config import GateConfig, RunConfig
    from evalkit.evaluate import Plan
    from evalkit.records import Comparison, Run, Verdict

_RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a command was asked to work: the options that run and compare share."""

    output: Path = _RUNS
    fresh: bool = False
    offline: bool = False
    dry_run: bool = False
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False


RUN_EXAMPLES = examples("evalkit run base.yaml --suites knowledge/everyday-en --limit 50")
COMPARE_EXAMPLES = examples(
    "evalkit compare base.yaml tuned.yaml",
    "evalkit compare base.yaml a.yaml b.yaml --suites style/rednote-en,style/plain-en",
    "evalkit compare base.yaml tuned.yaml --dry-run",
)
GATE_EXAMPLES = examples(
    "evalkit gate runs/compare/base-vs-tuned-1a2b3c --set margin=0.05",
    "evalkit gate runs/base-1a2b3c runs/tuned-4d5e6f --gate gate.yaml",
)
REPORT_EXAMPLES = examples(
    "evalkit report runs/compare/base-vs-tuned-1a2b3c --format markdown,junit"
)


def run(
    file: Annotated[Path, typer.Argument(help="The model's YAML file.")],
    suites: Suites = None,
    limit: Limit = None,
    sets: Sets = None,
    output: Output = _RUNS,
    fresh: Fresh = False,
    offline: Offline = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate one model and keep its answers and scores."""
    manner = Manner(
        output=output,
        fresh=fresh,
        offline=offline,
        dry_run=dry_run,
        as_json=as_json,
        verbose=verbose,
        quiet=quiet,
    )
    runs = _evaluate(load_configs([file], sets, suites, limit), manner)
    if runs:
        from reports.machine import run_json
        from reports.terminal import print_run

        if as_json:
            typer.echo(run_json(runs[0]))
        else:
            print_run(runs[0])


def compare(
    files: Annotated[list[Path], typer.Argument(help="The base's YAML, then each tuned model's.")],
    suites: Suites = None,
    limit: Limit = None,
    sets: Sets = None,
    output: Output = _RUNS,
    formats: Formats = "html",
    fresh: Fresh = False,
    offline: Offline = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Compare tuned models with their base; exits with the verdict."""
    if len(files) < 2:
        raise UsageError(
            "compare needs at least two files, the base's first: evalkit compare base.yaml "
            "tuned.yaml. To evaluate one model use `evalkit run`."
        )
    manner = Manner(
        output=output,
        fresh=fresh,
        offline=offline,
        dry_run=dry_run,
        as_json=as_json,
        verbose=verbose,
        quiet=quiet,
    )
    wanted = _formats(formats)
    raise typer.Exit(compare_arms(load_configs(files, sets, suites, limit), manner, wanted))


def compare_arms(
    configs: Sequence[RunConfig], manner: Manner, formats: Sequence[str] = ("html",)
) -> ExitCode:
    """Evaluate all arms, compare each with the first, decide, write the reports, print them."""
    from evalkit.compare import compare as compare_runs
    from evalkit.gate import worst
    from evalkit.store.runs import write_comparisons
    from reports.write import write_reports

    runs = _evaluate(configs, manner)
    if not runs:
        return ExitCode.PASS
    comparisons = [compare_runs(runs[0], tuned) for tuned in runs[1:]]
    folder = manner.output / "compare" / _comparison_name(runs)
    write_comparisons(folder, comparisons)
    verdicts = _decide(comparisons, configs[0].gate)
    files = write_reports(folder, comparisons, verdicts, formats)
    _tell(comparisons, verdicts, as_json=manner.as_json)
    if not manner.as_json:
        for file in files:
            typer.echo(f"Report     {file}")
        typer.echo(f"Dashboard  {program()} dashboard {shlex.quote(str(folder))}")
    return worst(verdicts).exit_code


def gate(
    paths: Annotated[
        list[Path],
        typer.Argument(help="A comparison (file or folder), or run folders, the base's first."),
    ],
    gate_file: GateFile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Decide again, with another gate; no model is loaded."""
    from evalkit.gate import worst

    comparisons = _comparisons(paths)
    verdicts = _decide(comparisons, _gate(comparisons[0], gate_file, sets))
    _tell(comparisons, verdicts, as_json=as_json)
    raise typer.Exit(worst(verdicts).exit_code)


def report(
    path: Annotated[Path, typer.Argument(help="A comparison: its folder or its JSON file.")],
    formats: Formats = "html",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; default: the comparison's.")
    ] = None,
    gate_file: GateFile = None,
    sets: Sets = None,
) -> None:
    """Write reports of a comparison, by its own gate or another."""
    from reports.write import write_reports

    wanted = _formats(formats)
    comparisons = _comparisons([path])
    verdicts = _decide(comparisons, _gate(comparisons[0], gate_file, sets))
    folder = output or (path if path.is_dir() else path.parent)
    for file in write_reports(folder, comparisons, verdicts, wanted):
        typer.echo(str(file))


def _formats(text: str) -> list[str]:
    from reports.write import check_formats

    names = [name.strip() for name in text.split(",") if name.strip()]
    check_formats(names)
    return names


def _gate(comparison: Comparison, file: Path | None, sets: Sequence[str] | None) -> GateConfig:
    """The gate of a file, or the one declared with the base; --set changes either."""
    from evalkit.config import GateConfig
    from evalkit.configfile import apply_overrides, load_config

    if file is not None:
        return load_config(file, GateConfig, sets or ())
    declared = GateConfig.model_validate(comparison.base.config.get("gate", {}))
    return apply_overrides(declared, sets or ())


def _evaluate(configs: Sequence[RunConfig], manner: Manner) -> list[Run]:
    """Plan and run; nothing comes back from a dry run, which only shows the plan."""
    from evalkit.evaluate import evaluate, open_plan, open_suites
    from evalkit.gate import check_gate
    from evalkit.home import home
    from evalkit.store.completions import CompletionStore
    from evalkit.store.runs import check_writable

    with (
        working(verbose=manner.verbose, quiet=manner.quiet, offline=manner.offline) as progress,
        CompletionStore(home() / "completions.sqlite") as store,
    ):
        suites = open_suites(configs[0])
        check_gate([suite.info for suite in suites], configs[0].gate)
        if not manner.dry_run:
            check_writable(manner.output)
        plan = open_plan(configs, suites, offline=manner.offline, progress=progress)
        try:
            if not manner.dry_run:
                return evaluate(plan, store, manner.output, fresh=manner.fresh, progress=progress)
            known = set() if manner.fresh else store.known(plan.keys())
            seconds = plan.seconds(known)
        finally:
            for engine in plan.engines:
                engine.close()
    _show_plan(plan, known, seconds, as_json=manner.as_json)
    return []


def _show_plan(plan: Plan, known: set[str], seconds: float | None, *, as_json: bool) -> None:
    from reports.machine import plan_json
    from reports.terminal import print_plan

    if as_json:
        typer.echo(plan_json(plan.costs(known), plan.unique_tokens(), seconds))
    else:
        print_plan(plan.costs(known), plan.unique_tokens(), plan.notes, seconds)


def _comparisons(paths: Sequence[Path]) -> tuple[Comparison, ...]:
    from evalkit.compare import compare as compare_runs
    from evalkit.store.runs import read_comparisons, read_run

    if len(paths) == 1:
        return read_comparisons(paths[0])
    base, *others = [read_run(path) for path in paths]
    return tuple(compare_runs(base, tuned) for tuned in others)


def _decide(comparisons: Sequence[Comparison], gate: GateConfig) -> list[Verdict]:
    from evalkit.gate import decide

    return [decide(one, gate) for one in comparisons]


def _tell(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    from reports.machine import comparison_json
    from reports.terminal import print_verdict

    if as_json:
        typer.echo(comparison_json(comparisons, verdicts))
    else:
        print_verdict(comparisons, verdicts)


def _comparison_name(runs: Sequence[Run]) -> str:
    """A folder's name that says who is compared and is another for other runs."""
    ids = [one.manifest.run_id for one in runs]
    names = "-".join(one.manifest.name for one in runs[1:])
    mark = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:8]
    return f"{runs[0].manifest.name}-vs-{names}"[:80] + f"-{mark}"
