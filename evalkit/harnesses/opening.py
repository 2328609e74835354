"""One name of a run's `suites`, opened: whichever harness it belongs to, and however many it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from evalkit.config import RunConfig
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import limited, open_suite
from evalkit.harnesses.owndata import open_data

LM_EVAL = "lm_eval:"
OPENCOMPASS = "opencompass:"


def open_named(name: str, config: RunConfig, *, allow_code_execution: bool = False) -> list[Suite]:
    """The suites that a name stands for, cut to the run's limit; raises SuiteError.

    A native suite's name is one, and that of a table of one's own; a tag of lm-eval is as many as
    there are tasks, and OpenCompass's data sets may be one suite or several. Their tasks ask for
    leave to execute code as they are opened.
    """
    if name.startswith(LM_EVAL):
        from evalkit.data.loading import local_datasets
        from evalkit.harnesses.lm_eval.suites import open_lm_eval

        with local_datasets():
            return open_lm_eval(
                name.removeprefix(LM_EVAL), config, allow_code_execution=allow_code_execution
            )
    if name.startswith(OPENCOMPASS):
        from evalkit.harnesses.opencompass.suites import open_opencompass

        return open_opencompass(
            name.removeprefix(OPENCOMPASS), config, allow_code_execution=allow_code_execution
        )
    own = config.data.get(name)
    suite = open_data(name, own, config) if own else open_suite(name, config)
    return [limited(_counted(suite), config.limit, config.seed)]


def _counted(suite: Suite) -> Suite:
    """The suite, remembering how many samples all of it and each slice have."""
    slices = Counter(name for sample in suite.samples for name in sample.slice_names)
    info = replace(suite.info, available=len(suite.samples), slices=dict(sorted(slices.items())))
    return replace(suite, info=info)
