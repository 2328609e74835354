"""judgements.jsonl by SQL: folded as the judges' own arithmetic folds, paged, and never half."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import StoreError
from evalkit.judges.preferences import preferences, ratings, utilities
from evalkit.records import Judgement
from evalkit.store.judged import JudgedFilter, JudgedRow, JudgedSamples
from evalkit.store.judgements import write_judgements

_VALUES = st.sampled_from([0.0, 0.5, 1.0, None, 0.0, 1.0, 0.3, 0.7, 0.1 + 0.2])
_CALLS = st.builds(
    Judgement,
    suite=st.sampled_from(["one", "two"]),
    sample_id=st.sampled_from(["a", "b"]),
    judge=st.sampled_from(["j", "k"]),
    rubric=st.just("funny"),
    protocol=st.just("pairwise"),
    order=st.sampled_from(["base_first", "tuned_first", "base_first", "tuned_first", ""]),
    repeat=st.integers(0, 2),
    stripped=st.sampled_from([False, False, True]),
    value=_VALUES,
)
_RATINGS = st.builds(
    Judgement,
    suite=st.just("one"),
    sample_id=st.sampled_from(["a", "b"]),
    judge=st.sampled_from(["j", "k"]),
    rubric=st.just("helpful"),
    protocol=st.just("pointwise"),
    arm=st.sampled_from(["base", "tuned"]),
    value=st.sampled_from([1.0, 2.0, 4.5, 5.0, None]),
)


def _opened(folder: Path, said: list[Judgement]) -> JudgedSamples:
    plain = [replace(one, status="judged" if one.value is not None else "unparsed") for one in said]
    return JudgedSamples(write_judgements(folder, plain))


@settings(deadline=None, max_examples=60)
@given(st.lists(_CALLS, max_size=16))
def test_both_orders_fold_as_the_judges_own_arithmetic_folds(said: list[Judgement]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        opened = _opened(Path(folder), said)
        rows = opened.page(JudgedFilter(), "suite", 0, 100)
        words = preferences(said)
        assert [(r.suite, r.sample_id, r.judge, r.outcome) for r in rows] == [
            (w.suite, w.sample_id, w.judge, w.outcome) for w in words
        ]
        for row, word in zip(rows, words, strict=True):
            assert row.value == pytest.approx(word.value, abs=1e-12)
        found = {(r["suite"], r["sample_id"]): r for r in opened.scores().to_pylist()}
        expected = utilities(words)
        assert len(found) == len(expected)
        for (suite, _, sample), one in expected.items():
            row = found[suite, sample]
            assert row["metric"] == "judge.funny"
            assert row["tuned"] == pytest.approx(one.value, abs=1e-12)
            assert row["base"] == pytest.approx(
                None if one.value is None else 1 - one.value, abs=1e-12
            )


@settings(deadline=None, max_examples=40)
@given(st.lists(_RATINGS, max_size=16))
def test_ratings_fold_as_the_judges_own_arithmetic_folds(said: list[Judgement]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = _opened(Path(folder), said).scores().to_pylist()
    told = {(row["sample_id"], arm): row[arm] for row in found for arm in ("base", "tuned")}
    for (_, _, sample, arm), one in ratings(said).items():
        assert told[sample, arm] == pytest.approx(one.value)
    assert {row["metric"] for row in found} <= {"rating.helpful"}


def _said(index: int, base_first: float, tuned_first: float) -> list[Judgement]:
    values = {"base_first": base_first, "tuned_first": tuned_first}
    return [
        Judgement(
            suite="one",
            sample_id=f"s{index}",
            judge="j",
            rubric="funny",
            protocol="pairwise",
            order="base_first" if order == "base_first" else "tuned_first",
            value=value,
            rationale=f"Reason {index}: ÄRGER's 'quote' %",
        )
        for order, value in values.items()
    ]


@pytest.fixture
def nine(tmp_path: Path) -> JudgedSamples:
    """Every combination of two verdicts: s0 is a win of the base, s8 of tuned, s2 and s6 flip."""
    pairs = product((0.0, 0.5, 1.0), repeat=2)
    said = [one for i, both in enumerate(pairs) for one in _said(i, *both)]
    return JudgedSamples(write_judgements(tmp_path, said))


def _ids(rows: list[JudgedRow]) -> list[str]:
    return [row.sample_id for row in rows]


def test_what_is_doubtful_comes_first(nine: JudgedSamples) -> None:
    rows = nine.page(JudgedFilter(), "doubt", 0, 9)
    assert _ids(rows) == ["s2", "s6", "s1", "s3", "s5", "s7", "s4", "s0", "s8"]
    assert [row.value for row in rows] == [0.5] * 7 + [0.0, 1.0]
    assert _ids(nine.page(JudgedFilter(), "doubt", 4, 3)) == ["s5", "s7", "s4"]
    assert _ids(nine.page(JudgedFilter(), "tuned", 0, 1)) == ["s8"]
    assert _ids(nine.page(JudgedFilter(), "base", 0, 1)) == ["s0"]
    assert nine.rank(JudgedFilter(), "doubt", "s4") == 6
    assert nine.rank(JudgedFilter(outcome="flip"), "doubt", "s4") is None


def test_filters_narrow_what_is_listed(nine: JudgedSamples) -> None:
    for wanted, count in (
        (JudgedFilter(outcome="flip"), 2),
        (JudgedFilter(text="reason 3: ärger's 'QUOTE' %"), 1),
        (JudgedFilter(text="S7"), 1),
        (JudgedFilter(samples=("s1", "s2", "elsewhere")), 2),
        (JudgedFilter(samples=()), 0),
        (JudgedFilter(judge="nobody"), 0),
        (JudgedFilter(suite="one", rubric="funny", judge="j"), 9),
    ):
        assert nine.count(wanted) == count
        assert len(nine.page(wanted, "doubt", 0, 20)) == count


def test_all_that_was_said_of_a_sample_is_read_back(nine: JudgedSamples) -> None:
    assert nine.read("one", "s5") == tuple(_said(5, 0.5, 1.0))
    assert nine.read("two", "s5") == ()


def test_a_file_that_was_cut_off_is_not_a_shorter_file(tmp_path: Path) -> None:
    file = write_judgements(tmp_path, _said(0, 0.0, 1.0))
    lines = file.read_text().splitlines(keepends=True)
    for text in ("".join(lines[:2]), "".join(lines[1:]), "".join(lines) + lines[1]):
        file.write_text(text)
        with pytest.raises(StoreError, match="cut off or changed"):
            JudgedSamples(file)
    for text in ("".join(lines)[:-9], "\x00\x01", '{"judgements": "two"}\n[]\n'):
        file.write_text(text)
        with pytest.raises(StoreError, match=r"judgements\.jsonl"):
            JudgedSamples(file)
    with pytest.raises(StoreError, match="cannot be read"):
        JudgedSamples(tmp_path / "nowhere.jsonl")


def test_a_line_that_is_no_judgement_is_told_where_it_is_read(tmp_path: Path) -> None:
    file = write_judgements(tmp_path, _said(0, 0.0, 1.0))
    file.write_text(file.read_text().replace('"status": "judged"', '"status": "odd"'))
    with pytest.raises(StoreError, match="sample s0: status"):
        JudgedSamples(file).read("one", "s0")


def test_numbers_that_are_no_numbers_are_missing(tmp_path: Path) -> None:
    file = write_judgements(tmp_path, _said(0, 0.0, 1.0))
    file.write_text(file.read_text().replace('"value": 1.0', '"value": null'))
    (row,) = JudgedSamples(file).page(JudgedFilter(), "doubt", 0, 9)
    assert (row.outcome, row.value, row.tuned_first) == ("missing", None, None)


@pytest.mark.slow
def test_a_quarter_of_a_million_judgements_page_at_once(tmp_path: Path) -> None:
    count = 250_000
    lines = [json.dumps({"schema_version": 1, "judgements": count})]
    for i in range(count // 2):
        said = _said(i, float(i % 3 == 0), float(i % 2))
        lines += [json.dumps(asdict(one)) for one in said]
    file = tmp_path / "judgements.jsonl"
    file.write_text("\n".join(lines) + "\n")
    opened = JudgedSamples(file)
    flips = sum((i % 3 == 0) != (i % 2 == 1) for i in range(count // 2))
    assert opened.count(JudgedFilter(outcome="flip")) == flips
    assert len(opened.page(JudgedFilter(), "doubt", 60_000, 20)) == 20
    assert opened.scores().num_rows == count // 2
