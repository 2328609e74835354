"""lm_eval: lm-eval's own command line, which also knows the model evalkit."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import typer

from evalkit.cli.options import examples
from evalkit.errors import EvalkitError, MissingExtraError, RunError, UsageError

# lm-eval's options are its own, --help included: all pass as they stand.
PASSED_ON = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}
_ABOUT = """\
evalkit lm_eval ARGUMENTS is `lm-eval ARGUMENTS`, which here knows one model more, `evalkit`: the
engine of evalkit, which asks nothing twice (EVALKIT_HOME). All other options are lm-eval's own.

  --model evalkit --model_args config=base.yaml                   the model of an evalkit file
  --model evalkit --model_args config=tuned.yaml,base=base.yaml   a tuned arm, with its base's keys
  --model evalkit --model_args pretrained=FOLDER,peft=FOLDER,dtype=float32

"""
LM_EVAL_EXAMPLES = examples(
    "evalkit lm_eval run --model evalkit --model_args config=base.yaml --tasks hellaswag",
    "evalkit lm_eval ls tasks",
)


def lm_eval(ctx: typer.Context) -> None:
    """lm-eval's command line, with this engine as a model."""
    arguments = list(ctx.args)
    if find_spec("lm_eval") is None:
        raise MissingExtraError("lm-eval's command line", "lm-eval")
    if not arguments or arguments[0] in ("-h", "--help"):
        typer.echo(_ABOUT + LM_EVAL_EXAMPLES.replace("\b\n", "").replace("\n\n", "\n") + "\n")
    from evalkit.harnesses.lm_eval_model import register

    register()
    with _named(arguments), _explained():
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()


@contextmanager
def _named(arguments: Sequence[str]) -> Iterator[None]:
    """lm-eval reads, and changes, the arguments of the process."""
    before = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _explained() -> Iterator[None]:
    """lm-eval raises for a user's mistake what a mistake of its own raises, too.

    Before it evaluates, the usual kinds are told in a paragraph; LMEVAL_LOG_LEVEL=DEBUG shows where
    they came from. Once tasks and models are at work, whatever fails keeps its traceback.
    """
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:
        if isinstance(error, (ValueError, FileNotFoundError)) and not _at_work(error):
            logging.getLogger("lm_eval").debug("lm-eval stopped", exc_info=True)
            raise UsageError(f"lm-eval: {error} (LMEVAL_LOG_LEVEL=DEBUG shows where.)") from error
        traceback.print_exc()
        raise RunError(
            f"lm-eval, or a task of it, broke off: {type(error).__name__}: {error}"
        ) from error


def _at_work(error: Exception) -> bool:
    """Whether an error comes from within the evaluation, or from writing what came of it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = [(str(one.f_globals.get("__name__")), one.f_code.co_name) for one in frames]
    # evaluate() asks, scores and sums up by others' code; what it raises itself is of options.
    within = ("lm_eval.evaluator", "evaluate") in places[:-1]
    return within or any(
        module.startswith("lm_eval.loggers") and name != "__init__" for module, name in places
    )
