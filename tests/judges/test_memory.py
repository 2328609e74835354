"""Thousands of pairs at many calls at a time: what is held does not grow with their number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judges.asked import store_path
from tests.judges.serving import JudgeServer

WORK = """
import json, resource, sys
from pathlib import Path
from evalkit.judges.asking import judge
from evalkit.progress import Silent
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, job, matter
from tests.judges.serving import JudgeServer

server, path = sys.argv[1:]
peaks, done = [], 0

class Watch(Silent):
    def advance(self, part, steps=1, note=""):
        global done
        done += steps
        if done % 500 == 0:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

long = "word " * 400
shared = [matter(f"s{n:04}", f"{n} quality 3 {long}", f"{n} quality {2 + n % 3} {long}")
          for n in range(2000)]
how = config(JudgeServer(server).judge(concurrency=64, timeout=60.0))
with CompletionStore(Path(path)) as store:
    said = judge([job(shared)], how, store, offline=True, progress=Watch()).judgements
print(json.dumps({"peaks": peaks, "judged": sum(one.status == "judged" for one in said)}))
"""


@pytest.mark.slow
def test_two_thousand_pairs_at_64_at_a_time_stay_in_bounded_memory(
    server: JudgeServer, tmp_path: Path
) -> None:
    server.script(rationale="Much is said. " * 20)
    done = subprocess.run(
        [sys.executable, "-c", WORK, server.address, str(store_path(tmp_path))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    told = json.loads(done.stdout)
    assert told["judged"] == 4000
    assert 32 <= server.calls()["most_inside"] <= 64
    assert sum(server.calls()["asked"].values()) == 4000
    peaks = told["peaks"]  # MB after each 500 calls
    assert len(peaks) == 8
    # A chunk of questions (8 kB each) and what was said (300 bytes each) are held, not all of it.
    assert peaks[-1] - peaks[2] < 24
    assert peaks[-1] < 400
