"""The command line: one function per command; real imports are inside the bodies.

`evalkit --help` must not load torch, transformers or pandas: see tests/cli/test_start.py.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from functools import cache, partial
from typing import NoReturn

import typer

from evalkit import __version__
from evalkit.cli import (
    calibrating,
    data,
    evaluating,
    fetching,
    harness,
    importing,
    judge,
    lm_eval,
    power,
    suites,
    training,
    upkeep,
)
from evalkit.errors import EvalkitError, ExitCode

app = typer.Typer(
    name="evalkit",
    cls=calibrating.TwoWords,
    help="Is the fine-tuned model really better than its base? Compare, read, decide.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawn boxes would take longer to load than all the rest of --help
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes:\n\n\b\n"
    "  0 pass · 1 fail · 2 usage · 3 inconclusive · 4 incomplete · 130 stopped",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evalkit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of evalkit itself; the work is in the commands."""


app.command(epilog=training.TRAIN_EXAMPLES)(training.train)
app.command(epilog=evaluating.RUN_EXAMPLES)(evaluating.run)
app.command(epilog=evaluating.COMPARE_EXAMPLES)(evaluating.compare)
app.command(epilog=power.POWER_EXAMPLES)(power.power)
app.command(epilog=evaluating.GATE_EXAMPLES)(evaluating.gate)
app.command(calibrating.CALIBRATE, epilog=calibrating.CALIBRATE_EXAMPLES)(calibrating.calibrate)
app.command(epilog=evaluating.REPORT_EXAMPLES)(evaluating.report)
app.command(epilog=upkeep.DASHBOARD_EXAMPLES)(upkeep.dashboard)
app.add_typer(importing.app, name="import")
app.add_typer(suites.app, name="suites")
app.add_typer(data.app, name="data")
app.add_typer(judge.app, name="judge")
app.add_typer(harness.app, name="harness")
app.add_typer(upkeep.cache, name="cache")
app.command(epilog=fetching.FETCH_EXAMPLES)(fetching.fetch)
app.command(epilog=upkeep.DOCTOR_EXAMPLES)(upkeep.doctor)
app.command("lm_eval", context_settings=lm_eval.PASSED_ON)(lm_eval.lm_eval)
app.command(epilog=training.DEMO_EXAMPLES)(training.demo)


def main() -> None:
    """The one door out: a user's mistake is told in a paragraph, ours keeps its traceback.

    Only a verdict ends with 1: a pipeline must be able to tell a model that failed from a crash.
    """
    _mean_a_stop()
    # The libraries' classes are no rubbish: the collector would walk them again and again while
    # they are imported, and once more, for a second, before the process may end.
    gc.set_threshold(50_000, 20, 100)
    atexit.register(_keep_what_is_left)
    try:
        app()
    except EvalkitError as error:
        typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        _leave(end)
    except KeyboardInterrupt:  # a second one, while the first was being dealt with
        sys.exit(ExitCode.INTERRUPTED)
    except BaseException:  # a panic below Python is no Exception
        traceback.print_exc()
        typer.echo(
            "This is a mistake in evalkit itself: please report it with the lines above.", err=True
        )
        sys.exit(ExitCode.INCOMPLETE)


def _keep_what_is_left() -> None:
    """Spare the last collection; DuckDB's bindings alone would report what is kept as leaks."""
    if "duckdb" not in sys.modules:
        gc.freeze()


def _mean_a_stop() -> None:
    """Stop like Ctrl-C, which saves, at a SIGTERM too.

    Where a shell started evalkit in the background, Ctrl-C is ignored and a SIGTERM is still
    meant. Python's own handler must then be in place all the same, and only held back: an event
    loop takes over from that one alone, and one that is torn out of the middle of its work, and
    not told to end, cannot end well.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    _spare_workers()


@cache
def _spare_workers() -> None:
    """A process forked from this one ends at a SIGTERM at once: a library that sends it to a pool
    of its own (as lm-eval does) waits for that.

    It is held back over the fork: one that came before the child has let go of our handler would
    be noted for Python to deal with, and Python forgets such notes in a new child.
    """
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, [signal.SIGTERM]),
        after_in_parent=_heed_the_end,
        after_in_child=_end_at_once,
    )


def _heed_the_end() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _end_at_once() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _heed_the_end()


def _interrupt(*_: object) -> None:
    """In this order a Ctrl-C that was held back and this stop arrive as one."""
    signal.raise_signal(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _leave(end: SystemExit) -> NoReturn:
    """Typer turns Ctrl-C, a question left open and a closed pipe into bare exits.

    The last two would end with 1 and read as "fail".
    """
    if end.code == ExitCode.INTERRUPTED:
        typer.echo(
            "Interrupted. Finished batches of answers and checkpoints are stored; the same "
            "command, without --fresh, goes on from there.",
            err=True,
        )
    if isinstance(end.__context__, typer.Abort):
        sys.exit(ExitCode.INTERRUPTED)
    if isinstance(end.__context__, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.INCOMPLETE)
    raise end
