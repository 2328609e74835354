"""Paging two runs with SQL: every answer equals that of a plain loop over the records."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from evalkit.compare import join
from evalkit.errors import StoreError
from evalkit.records import Metric, Pair, Run, SuiteInfo
from evalkit.store.query import Filter, Mean, Order, PairedRuns, mean_scores, score_sums
from evalkit.store.runs import read_run, write_run
from tests.reports.dashboard.runfolders import SUITES, manifest, results


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    root = tmp_path_factory.mktemp("query")
    written = [write_run(root / arm, manifest(arm, {}), results(arm)) for arm in ("base", "tuned")]
    return written[0], written[1]


@pytest.fixture(scope="module")
def pairs(runs: tuple[Run, Run]) -> PairedRuns:
    return PairedRuns(Path(runs[0].path), Path(runs[1].path), SUITES)


def _plain(
    runs: tuple[Run, Run], wanted: Callable[[Pair, float | None, float], bool]
) -> list[tuple[str, str, float | None]]:
    """(suite, id, benefit) of the pairs wanted, in suite order, by a loop."""
    found = []
    infos = {info.name: info for info in SUITES}
    for pair in join(*runs, infos)[0]:
        info = infos[pair.base.sample.suite]
        metric = next(one for one in info.metrics if one.name == info.metric)
        sign = -1.0 if metric.higher_is_better is False else 1.0
        values = [
            next((s.value for s in one.scores if s.scorer == metric.name), None)
            for one in (pair.base, pair.tuned)
        ]
        difference = None
        if values[0] is not None and values[1] is not None:
            difference = values[1] - values[0]
        if wanted(pair, difference, sign):
            benefit = None if difference is None else sign * difference
            found.append((pair.base.sample.suite, pair.base.sample.id, benefit))
    return found


_CASES: list[tuple[Filter, Callable[[Pair, float | None, float], bool]]] = [
    (Filter(), lambda p, d, s: True),
    (Filter(change="gained"), lambda p, d, s: d is not None and s * d > 0),
    (Filter(change="lost"), lambda p, d, s: d is not None and s * d < 0),
    (Filter(change="changed"), lambda p, d, s: bool(d)),
    (Filter(change="same"), lambda p, d, s: d == 0),
    (Filter(change="missing"), lambda p, d, s: d is None),
    (Filter(low=0.5, high=0.75), lambda p, d, s: d is not None and 0.5 <= d <= 0.75),
    (Filter(suite="style/rednote-zh"), lambda p, d, s: p.base.sample.suite == "style/rednote-zh"),
    (
        Filter(slice="topic=旅行"),
        lambda p, d, s: p.base.sample.slices.get("topic") == "旅行",
    ),
    (Filter(text="姐妹们"), lambda p, d, s: "姐妹们" in p.tuned.completions[0].text),
    (Filter(text="UNDER the GROUND"), lambda p, d, s: "under the ground" in p.base.sample.choices),
    (Filter(text="ke-00"), lambda p, d, s: p.base.sample.id.startswith("ke-00")),
    (Filter(text="'; DROP TABLE pairs; --"), lambda p, d, s: False),
    (Filter(suite="' OR '1'='1"), lambda p, d, s: False),
]
_KEYS: dict[Order, Callable[[float | None], float]] = {
    "suite": lambda b: 0.0,
    "loss": lambda b: math.inf if b is None else b,
    "gain": lambda b: math.inf if b is None else -b,
    "change": lambda b: math.inf if b is None else -abs(b),
}


@pytest.mark.parametrize("case", range(len(_CASES)))
@pytest.mark.parametrize("order", list(_KEYS))
def test_filters_and_orders_equal_a_plain_loop(
    runs: tuple[Run, Run], pairs: PairedRuns, case: int, order: Order
) -> None:
    wanted, rule = _CASES[case]
    expected = sorted(_plain(runs, rule), key=lambda row: _KEYS[order](row[2]))
    found = pairs.page(wanted, order, 0, 1000)
    assert [(row.suite, row.sample_id, row.benefit) for row in found] == expected
    assert pairs.count(wanted) == len(expected)


def test_pages_join_to_the_whole_and_every_rank_is_its_place(pairs: PairedRuns) -> None:
    wanted = Filter(change="changed")
    total = pairs.count(wanted)
    rows = [row for at in range(0, total, 7) for row in pairs.page(wanted, "loss", at, 7)]
    assert rows == pairs.page(wanted, "loss", 0, total)
    for at, row in enumerate(rows):
        assert pairs.rank(wanted, "loss", row.suite, row.sample_id) == at


def test_a_sample_outside_the_filter_has_no_rank(pairs: PairedRuns) -> None:
    assert pairs.rank(Filter(change="missing"), "loss", "style/rednote-zh", "note-001") is None
    assert pairs.rank(Filter(), "loss", "style/rednote-zh", "note-999") is None


def test_another_metric_is_read_with_its_own_direction(pairs: PairedRuns) -> None:
    suite = "style/rednote-zh"
    rows = pairs.page(Filter(suite=suite, metric="excess_length"), "loss", 0, 100)
    assert len(rows) == 24
    assert {(row.difference, row.benefit) for row in rows} == {(-0.5, 0.5)}
    gated = Filter(suite=suite, metric="style_probability")
    assert pairs.page(gated, "loss", 0, 5) == pairs.page(Filter(suite=suite), "loss", 0, 5)
    assert pairs.count(Filter(suite=suite)) == 24, "no metric is counted twice"


def test_the_gated_metric_may_be_asked_for_first(runs: tuple[Run, Run]) -> None:
    fresh = PairedRuns(Path(runs[0].path), Path(runs[1].path), SUITES)
    assert fresh.count(Filter(suite="style/rednote-zh", metric="style_probability")) == 24
    assert fresh.count(Filter()) == 98


def test_the_slices_are_those_of_the_suite(pairs: PairedRuns) -> None:
    assert pairs.slices("style/rednote-zh") == ["topic=旅行", "topic=美食"]
    assert len(pairs.slices()) == 5


def test_a_pair_is_read_back_as_it_was_written(runs: tuple[Run, Run], pairs: PairedRuns) -> None:
    stored = [read_run(Path(run.path)) for run in runs]
    for pair in join(stored[0], stored[1], [info.name for info in SUITES])[0][::7]:
        assert pairs.read(pair.base.sample.suite, pair.base.sample.id) == pair
    assert pairs.read("style/rednote-zh", "note-999") is None


def test_the_question_is_what_follows_the_worked_examples(tmp_path: Path) -> None:
    folders = [tmp_path / arm for arm in ("base", "tuned")]
    for folder in folders:
        first = results(folder.name)[0]
        asked = "Question: one\nAnswer: two\n\nA text.\n\nQuestion: three"
        lead = asked.index("A text")
        sample = replace(first.sample, prompt=asked, lead=lead)
        write_run(folder, manifest(folder.name, {}), [replace(first, sample=sample)])
    (row,) = PairedRuns(folders[0], folders[1], SUITES).page(Filter(), "suite", 0, 9)
    assert row.question == "A text.\n\nQuestion: three"

    for folder in folders:  # as an earlier version wrote it
        file = folder / "samples.parquet"
        pq.write_table(pq.read_table(file).drop_columns("lead"), file)
    old = PairedRuns(folders[0], folders[1], SUITES)
    (row,) = old.page(Filter(), "suite", 0, 9)
    assert row.question == "Question: three", "the last block, where nothing better is known"
    read = old.read(row.suite, row.sample_id)
    assert read is not None
    assert read.base.sample.lead is None
    assert read_run(folders[0]).results[0].sample.lead is None


def test_only_samples_of_both_arms_are_pairs(tmp_path: Path) -> None:
    write_run(tmp_path / "base", manifest("base", {}), results("base")[:30])
    write_run(tmp_path / "tuned", manifest("tuned", {}), results("tuned")[10:60])
    assert PairedRuns(tmp_path / "base", tmp_path / "tuned", SUITES).count(Filter()) == 20


def test_a_score_that_is_no_number_is_missing(tmp_path: Path) -> None:
    broken = results("tuned")[:3]
    nan = tuple(replace(score, value=math.nan) for score in broken[0].scores)
    broken[0] = replace(broken[0], scores=nan)
    write_run(tmp_path / "base", manifest("base", {}), results("base")[:3])
    write_run(tmp_path / "tuned", manifest("tuned", {}), broken)
    pairs = PairedRuns(tmp_path / "base", tmp_path / "tuned", SUITES)
    assert pairs.count(Filter(change="missing")) == 1
    assert mean_scores(tmp_path / "tuned")["knowledge/everyday-en", "accuracy"] == Mean(1.0, 2, 1)


def test_statistics_are_added_up_over_the_samples_that_have_a_score(tmp_path: Path) -> None:
    rows = [((0.1, 3.0), 1.0), ((0.2, 5.0), 1.0), ((9.0, 9.0), None), ((9.0, 9.0), math.nan)]
    kept = [
        replace(result, scores=(replace(result.scores[0], stats=stats, value=value),))
        for result, (stats, value) in zip(results("tuned")[:4], rows, strict=True)
    ]
    write_run(tmp_path / "tuned", manifest("tuned", {}), [*kept, *results("tuned")[60:70]])
    (key,) = sums = score_sums(tmp_path / "tuned")  # the other suite's scores have no statistics
    assert key == ("knowledge/everyday-en", "accuracy")
    assert sums[key] == pytest.approx((0.3, 8.0))


def test_many_searches_are_remembered_and_forgotten(pairs: PairedRuns) -> None:
    for number in range(20):
        assert pairs.count(Filter(text=f"number {number} live")) == 1
    assert pairs.count(Filter(text="number 0 live")) == 1


def test_several_threads_may_read_at_once(pairs: PairedRuns) -> None:
    found: list[int] = []

    def read(number: int) -> None:
        rng = random.Random(number)
        texts = [f"number {rng.randrange(40, 46)} live" for _ in range(5)]
        found.extend(pairs.count(Filter(text=text)) for text in texts)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 20


@pytest.mark.parametrize("name", ["samples.parquet", "results.parquet", "completions.parquet"])
def test_a_damaged_file_is_a_store_error(tmp_path: Path, name: str) -> None:
    for arm in ("base", "tuned"):
        write_run(tmp_path / arm, manifest(arm, {}), results(arm)[:3])
    (tmp_path / "tuned" / name).write_bytes(b"not parquet")
    with pytest.raises(StoreError, match="delete that folder"):
        PairedRuns(tmp_path / "base", tmp_path / "tuned", SUITES).count(Filter(text="x"))


def test_the_means_of_a_run_without_scores_are_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"results\.parquet cannot be read"):
        mean_scores(tmp_path)


@pytest.mark.slow
def test_a_million_samples_page_in_under_a_second(tmp_path: Path) -> None:
    for arm, seed in (("base", 1), ("tuned", 2)):
        _generate(tmp_path / arm, seed)
    suites = [
        SuiteInfo(
            name=f"suite/s{number}",
            title="",
            language="en",
            task="generate",
            metric="accuracy",
            metrics=(Metric(name="accuracy", kind="binary"),),
            fingerprint="",
            path="",
            samples=250_000,
        )
        for number in range(4)
    ]
    pairs = PairedRuns(tmp_path / "base", tmp_path / "tuned", suites)
    assert pairs.count(Filter()) == 1_000_000  # joins the scores, once
    wanted = Filter(suite="suite/s1", change="changed", slice="topic=t3")
    for order in _KEYS:
        middle = pairs.count(wanted) // 2
        with _under_a_second():
            rows = pairs.page(wanted, order, middle, 20)
        assert len(rows) == 20
        with _under_a_second():
            rank = pairs.rank(wanted, order, rows[7].suite, rows[7].sample_id)
        assert rank == middle + 7
        with _under_a_second():
            pair = pairs.read(rows[7].suite, rows[7].sample_id)
        assert pair is not None
    assert pairs.count(Filter(text="answer 123456 ")) == 1  # finds the text, once
    with _under_a_second():
        found = pairs.page(Filter(text="answer 123456 "), "loss", 0, 20)
    assert [row.sample_id for row in found] == ["q123456"]


@contextmanager
def _under_a_second() -> Iterator[None]:
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 1


def _generate(folder: Path, seed: int) -> None:
    """A million samples as the store writes them; from records it would take minutes."""
    folder.mkdir()
    rows = """
        SELECT 'suite/s' || (i % 4) AS suite, 'q' || i AS sample_id, i,
            hash(i * 10 + $seed)::VARCHAR AS noise FROM range(1000000) AS rows(i)
    """
    selections = {
        "samples": """suite, sample_id, '"Question number ' || i || ' 中文"' AS prompt,
            ['a'] AS targets, []::VARCHAR[] AS choices, NULL::BIGINT AS answer, '' AS "cluster",
            '{"topic": "t' || (i % 7) || '"}' AS slices, '{}' AS fields""",
        "results": """suite, sample_id, 'accuracy' AS metric,
            (hash(i * 10 + $seed) % 3 > 0)::INT::DOUBLE AS value, '' AS reason,
            []::DOUBLE[] AS stats""",
        "completions": """suite, sample_id, 0::BIGINT AS "index", '' AS key,
            'The answer ' || i || ' 因为 ' || noise AS "text", '' AS prompt_text,
            '' AS prompt_hash, 'stop' AS stop_reason, true AS is_greedy, 9::BIGINT AS tokens_in,
            9::BIGINT AS tokens_out, 0::BIGINT AS truncated, [1]::BIGINT[] AS token_ids,
            [-0.1]::DOUBLE[] AS logprobs, '' AS error""",
    }
    with duckdb.connect() as database:
        for name, columns in selections.items():
            found = database.sql(f"SELECT {columns} FROM ({rows})", params={"seed": seed})
            table = found.to_arrow_table()
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
