"""Facts kept, and words taken over from the training data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import SuiteError
from evalkit.scorers.content import OverlapIndex
from evalkit.scorers.registry import build
from tests.scorers.examples import (
    make_context,
    make_sample,
    make_scorer,
    scores,
    shipped_references,
    shipped_samples,
    values,
)


def test_the_share_of_facts_kept_is_counted() -> None:
    sample = make_sample(required=[["30 cm", "30 centimet"], ["every morning"], ["basil"]])
    found = scores(make_scorer("content_kept"), sample, "Basil in pots of 30 centimetres!")
    assert found["content_kept"].value == pytest.approx(2 / 3)
    assert found["content_kept"].reason == "missing: every morning"
    assert values(make_scorer("content_kept"), sample, "") == {"content_kept": 0.0}


def test_chinese_facts_are_found_whatever_the_spacing_and_width() -> None:
    sample = make_sample(required=[["25元"], ["8点", "八点"]])
    found = values(make_scorer("content_kept", language="zh"), sample, "拿铁２５ 元，早上八点开门")
    assert found == {"content_kept": 1.0}
    wrong = values(make_scorer("content_kept", language="zh"), sample, "拿铁125元，18点")
    assert wrong == {"content_kept": 0.0}


@pytest.mark.parametrize("fields", [{}, {"required": []}])
def test_nothing_required_is_not_scored(fields: dict[str, Any]) -> None:
    found = values(make_scorer("content_kept"), make_sample(**fields), "text")
    assert found == {"content_kept": None}


@pytest.mark.parametrize("required", ["30 cm", ["30 cm"], [[]], [[""]], [[3]]])
def test_facts_of_another_shape_are_refused(required: object) -> None:
    with pytest.raises(SuiteError, match="'s1': `required` must be a list of lists"):
        make_scorer("content_kept", make_sample(required=required))


@pytest.mark.parametrize("suite", ["style/rednote-en", "style/rednote-zh"])
def test_every_fact_a_shipped_prompt_requires_stands_in_the_prompt(suite: str) -> None:
    samples = shipped_samples(suite)
    scorer = make_scorer("content_kept", *samples, language=suite[-2:])
    required = [sample for sample in samples if sample.fields["required"]]
    assert len(required) >= 40
    for sample in required:
        assert isinstance(sample.prompt, str)
        assert values(scorer, sample, sample.prompt) == {"content_kept": 1.0}, sample.id


def memorisation(folder: Path, *rows: dict[str, Any], **options: object) -> dict[str, Any]:
    """What is memorised of a fixed answer, given training rows."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    context = make_context(language="mixed", folder=folder)
    scorer = build("memorisation", {"training": "train.jsonl", **options}, context)
    return values(scorer, make_sample(), "My tiny pot, 我的小花盆 is GREEN")


def test_the_longest_overlap_with_any_training_text_is_found(tmp_path: Path) -> None:
    found = memorisation(
        tmp_path,
        {"prompt": "我的小花盆 is green", "completion": "my tiny, tiny pot"},
        {"text": "这是我的小花猫"},
        {"messages": [{"role": "assistant", "content": "the pot: 我的小 花盆"}]},
    )
    # pot 我 的 小 花 盆: 6 of the 10 tokens; prompts are not learned and so do not count
    assert found == {"longest_overlap": 6.0, "memorised": pytest.approx(0.6)}


def test_overlaps_do_not_run_from_one_training_text_into_the_next(tmp_path: Path) -> None:
    found = memorisation(tmp_path, {"text": "my tiny"}, {"text": "pot 我"})
    assert found["longest_overlap"] == 2.0


def test_a_suites_references_can_be_the_training_data() -> None:
    scorer = build("memorisation", {"training": "style/rednote-en"}, make_context())
    count = len(shipped_references("style/rednote-en"))
    assert scorer.notes == (f"memorisation: against the {count} texts of style/rednote-en",)


def test_missing_training_data_leaves_samples_unscored_where_it_is_optional() -> None:
    scorer = make_scorer("memorisation", training="gone.jsonl", optional=True)
    found = scores(scorer, make_sample(), "text")
    assert all(s.value is None and "gone.jsonl" in s.reason for s in found.values())
    assert "not measured" in scorer.notes[0]


def test_training_data_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"line 2.*finds no text"):
        memorisation(tmp_path, {"text": "a"}, {"question": "a"})
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(SuiteError, match="line 1: not JSON"):
        build("memorisation", {"training": "bad.jsonl"}, make_context(folder=tmp_path))
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n["a"]', encoding="utf-8")
    with pytest.raises(SuiteError, match=r"line 2: .*expected an object, got list"):
        build("memorisation", {"training": "bad.jsonl"}, make_context(folder=tmp_path))
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteError, match="UTF-8"):
        build("memorisation", {"training": "bad.jsonl"}, make_context(folder=tmp_path))


def test_a_line_separator_inside_a_training_text_does_not_end_its_row(tmp_path: Path) -> None:
    assert memorisation(tmp_path, {"text": "my tiny\u2028pot"})["longest_overlap"] == 3.0


@given(st.lists(st.text("abc", max_size=12), max_size=4), st.text("abc", max_size=12))
def test_the_index_finds_what_trying_everything_finds(texts: list[str], query: str) -> None:
    pieces = {query[i:j] for i in range(len(query)) for j in range(i + 1, len(query) + 1)}
    longest = max((len(p) for p in pieces if any(p in text for text in texts)), default=0)
    assert OverlapIndex(texts).longest(query) == longest
