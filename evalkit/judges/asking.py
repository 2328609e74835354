"""Ask the judges of a comparison: what is stored costs nothing, what is answered is stored."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.config import JudgeConfig
from evalkit.judges.jobs import Job, Judged, JudgeEstimate, Probed, Spent
from evalkit.progress import Progress
from evalkit.store.completions import CompletionStore

__all__ = ["Job", "JudgeEstimate", "Judged", "Probed", "Spent", "estimate", "judge"]


def judge(
    jobs: Sequence[Job],
    config: JudgeConfig,
    store: CompletionStore,
    *,
    offline: bool,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Judged:
    """What every judge says of every sample of the jobs, in both orders or of each arm.

    Each answer is stored as it comes, so that whoever runs it again pays for what is missing only.
    Raises ModelError where a judge answers nothing or fails the known-answer probes, and UsageError
    for a recorded or human judge's file that cannot be used.
    """
    raise NotImplementedError


def estimate(
    jobs: Sequence[Job],
    config: JudgeConfig,
    store: CompletionStore,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> tuple[JudgeEstimate, ...]:
    """What each judge would be asked, and what that would cost; nothing is asked."""
    raise NotImplementedError
