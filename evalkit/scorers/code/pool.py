"""Many programs, as many at once as the machine has cores and memory for."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psutil

from evalkit.scorers.code.sandbox import Limits, Outcome, Program, run, walls


def run_all(programs: Sequence[Program], limits: Limits) -> Generator[Outcome, None, None]:
    """How each ended, in their order; the same program is run once.

    When the iterator is closed, what is running is ended and the rest not begun.
    """
    if not programs:
        return
    stop = Event()
    namespaces = walls().namespaces
    pool = ThreadPoolExecutor(at_once(limits), thread_name_prefix="sandbox")
    try:
        begun = {
            one: pool.submit(run, one, limits, namespaces=namespaces, stop=stop)
            for one in dict.fromkeys(programs)
        }
        for one in programs:
            yield begun[one].result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def at_once(limits: Limits) -> int:
    """How many programs run at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    room = psutil.virtual_memory().available // (limits.memory * 2**20)
    return max(1, min(cores or 1, room))
