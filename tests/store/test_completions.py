"""The completion store: written once, shared by processes, and clear when the disk is not."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import zlib
from pathlib import Path

import pytest

from evalkit.errors import StoreError
from evalkit.records import Completion
from evalkit.store.completions import CompletionStore


def _completion(key: str, text: str = "小红书 ✨") -> Completion:
    return Completion(
        key=key,
        text=text,
        token_ids=(1, 2),
        logprobs=(-0.1, -1 / 3),
        stop_reason="stop",
        tokens_in=4,
    )


def test_what_was_put_is_got_back_to_the_last_bit(tmp_path: Path) -> None:
    with CompletionStore(tmp_path / "c.sqlite") as store:
        store.put([_completion("a"), _completion("b", "")])
    with CompletionStore(tmp_path / "c.sqlite") as store:
        assert store.get(["a", "b", "missing"]) == {
            "a": _completion("a"),
            "b": _completion("b", ""),
        }
        assert store.known(["a", "missing"]) == {"a"}


def test_answers_that_are_gone_since_are_an_error_that_says_so(tmp_path: Path) -> None:
    """As when somebody clears the store while a run is at work."""
    with CompletionStore(tmp_path / "c.sqlite") as store:
        store.put([_completion("a"), _completion("b")])
        assert store.get_all(iter(["a", "b", "a"])) == store.get(["a", "b"])
        store.clear()
        store.put([_completion("b")])
        with pytest.raises(StoreError, match=r"lost 1 answers that were stored.*again"):
            store.get_all(["a", "b", "a"])


def test_more_keys_than_sqlite_has_variables(tmp_path: Path) -> None:
    with CompletionStore(tmp_path / "c.sqlite") as store:
        store.put([_completion(str(number)) for number in range(2500)])
        assert len(store.get(map(str, range(2500)))) == 2500
        assert store.size().completions == 2500
        assert store.clear() == 2500
        assert store.size().completions == 0


def _fill(path: Path, start: int) -> None:
    with CompletionStore(path) as store:
        for number in range(start, start + 100):
            store.put([_completion(str(number))])


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(path, start)) for start in (0, 50, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with CompletionStore(path) as store:
        assert store.size().completions == 200


def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"damaged.*Move it away"):
        CompletionStore(path)


@pytest.mark.parametrize(
    "body",
    [
        b"\0\xff",
        zlib.compress(b"{"),
        zlib.compress(b"\xff"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"text": "no tokens"}'),
        zlib.compress(b'{"token_ids": null, "logprobs": []}'),
        zlib.compress(b'{"token_ids": [], "logprobs": [], "mood": "glad"}'),
    ],
)
def test_a_damaged_row_is_an_error_not_a_crash(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "c.sqlite"
    with CompletionStore(path) as store:
        store.put([_completion("a")])
        store._db.execute("UPDATE completion SET body = ?", (body,))
        with pytest.raises(StoreError, match=r"the row a holds no completion .*Move it away"):
            store.get(["a"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="EVALKIT_HOME"):
        CompletionStore(tmp_path / "deeper" / "c.sqlite")


def test_a_file_in_the_folders_place_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreError, match="could not be opened"):
        CompletionStore(tmp_path / "home" / "c.sqlite")


def test_a_full_disk_keeps_what_was_stored(tmp_path: Path) -> None:
    """SQLite's own limit on pages stands in for the disk: the same error, the same path."""
    with CompletionStore(tmp_path / "c.sqlite") as store:
        store.put([_completion("kept")])
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={pages + 2}")
        big = os.urandom(200_000).hex()
        with pytest.raises(StoreError, match="Free some space and run the same command again"):
            store.put([_completion("lost", big)])
        assert store.known(["kept", "lost"]) == {"kept"}


def test_a_store_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    told = {
        "text": "Paris", "token_ids": [1], "logprobs": [-0.5], "is_greedy": None,
        "stop_reason": "stop", "tokens_in": 4, "tokens_out": 1, "seconds": 0.25, "error": "",
    }  # fmt: skip
    with CompletionStore(tmp_path / "c.sqlite") as store:
        row = ("old", zlib.compress(json.dumps(told).encode()))
        store._db.execute("INSERT INTO completion (key, body) VALUES (?, ?)", row)
        (found,) = store.get(["old"]).values()
    assert (found.text, found.token_ids, found.seconds) == ("Paris", (1,), 0.25)


def test_small_and_large_answers_come_back_whole(tmp_path: Path) -> None:
    answers = {
        "bare": Completion(key="bare"),
        "small": _completion("small", "a"),
        "large": _completion("large", "语言" * 5_000),
        "failed": Completion(key="failed", stop_reason="error", error="no", is_greedy=False),
    }
    with CompletionStore(tmp_path / "c.sqlite") as store:
        store.put(list(answers.values()))
        assert store.get(answers) == answers
        assert store.size().bytes < 60_000


def test_a_hundred_thousand_answers_take_seconds(tmp_path: Path) -> None:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(100_000)]
    started = time.perf_counter()
    with CompletionStore(tmp_path / "c.sqlite") as store:
        for start in range(0, len(keys), 20_000):
            store.put([_completion(key, "") for key in keys[start : start + 20_000]])
        assert store.known([*keys, "missing"]) == set(keys)
        assert len(store.get(keys)) == 100_000
    # Some eight seconds on two slow cores: the bound is for a loaded machine, and for squares.
    assert time.perf_counter() - started < 60
