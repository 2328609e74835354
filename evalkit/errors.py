"""Every error a user can meet.

EvalkitError            printed without a traceback by `cli`, ends with its exit code
├── UsageError          2  what was asked for makes no sense (a flag, a name, a combination)
│   ├── ConfigError     2  a file the user wrote is wrong; holds every mistake in it
│   ├── SuiteError      2  a suite is missing or malformed
│   └── MissingExtraError  2  an optional dependency is not installed; says which extra
└── RunError            4  the work could not be completed
    ├── ModelError      4  a model cannot be found, loaded or run
    │   └── AdapterError   4  the adapter does not belong to this base, or changes nothing
    ├── DataError       4  a data set cannot be found, fetched or read
    ├── CanaryError     4  a comparison would be meaningless (see the check it names)
    ├── StoreError      4  a full disk, a damaged file, a folder that cannot be written
    └── TrainingError   4  training cannot start or went wrong
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the pipeline that called it."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INCOMPLETE = 4
    INTERRUPTED = 130


class EvalkitError(Exception):
    """A mistake or misfortune the user can act on: says what, where and what to do next."""

    exit_code = ExitCode.INCOMPLETE


class UsageError(EvalkitError):
    """What was asked for makes no sense."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A file the user wrote is wrong; the message lists every mistake in it."""


class SuiteError(UsageError):
    """A suite is missing or malformed."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed. Install them with: {pip(extra)}"
        )


def pip(extra: str) -> str:
    """The command that installs an extra, for whoever has the package or the repository."""
    return f"pip install 'evalkit-compare[{extra}]', or pip install '.[{extra}]' in a checkout"


class RunError(EvalkitError):
    """The work could not be completed."""


class ModelError(RunError):
    """A model cannot be found, loaded or run."""


class AdapterError(ModelError):
    """The adapter does not belong to this base, or changes nothing."""


class DataError(RunError):
    """A data set cannot be found, fetched or read."""


class CanaryError(RunError):
    """A comparison that would be meaningless."""


class StoreError(RunError):
    """A full disk, a damaged file, a folder that cannot be written."""


class TrainingError(RunError):
    """Training cannot start or went wrong."""
