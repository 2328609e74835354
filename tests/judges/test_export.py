"""Preference pairs for trl: what is chosen, what is left out and why, and that trl trains on it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.errors import StoreError, UsageError
from evalkit.judges.export import Material, Pick, Source, Wanted, pick, write_picks
from evalkit.judges.votes import Vote
from evalkit.records import Judgement
from tests.judges.examples import (
    SUITE,
    make_arms,
    make_judgements,
    make_judging,
    make_pairs,
)

ARMS = make_arms(6)
PAIRS = make_pairs(*ARMS)
COMPARISON = compare(*ARMS)
SAID = {
    "s0": (1.0, 1.0),  # both orders for the tuned answer
    "s1": (0.0, 0.0),  # both for the base's
    "s2": (1.0, 0.0),  # a flip
    "s3": (1.0, 0.5),  # wavered
    "s4": (0.5, 0.5),  # a tie
    "s5": (1.0, None),  # missing
}


def _material(
    judgements: Sequence[Judgement] = (), votes: Sequence[Vote] = (), **more: Any
) -> Material:
    told = {"comparison": COMPARISON, "pairs": PAIRS, **more}
    return Material(judgements=tuple(judgements), votes=tuple(votes), **told)


def _vote(sample_id: str, person: str, preferred: str, rubric: str = "helpful") -> Vote:
    return Vote("p", SUITE, sample_id, rubric, person, preferred)  # type: ignore[arg-type]


def _told(picks: Sequence[Pick]) -> list[tuple[Any, ...]]:
    return [(p.source, p.sample_id, p.chosen_arm, p.confidence, p.consistent) for p in picks]


def test_what_both_orders_prefer_is_chosen_and_the_rest_is_counted() -> None:
    picks, left_out = pick([_material(make_judgements(SAID))], Wanted())
    assert _told(picks) == [("ai", "s0", "tuned", 1.0, True), ("ai", "s1", "base", 1.0, True)]
    assert left_out == {"tied": 3, "without a judgement": 1}
    first, second = picks
    assert first.prompt == [
        {"role": "system", "content": "You write notes."},
        {"role": "user", "content": "Write note 0."},
    ]
    assert first.chosen == [{"role": "assistant", "content": "✨ Lively answer 0!"}]
    assert first.rejected == [{"role": "assistant", "content": "Plain answer 0."}]
    assert second.chosen == [{"role": "assistant", "content": "Plain answer 1."}]
    assert (second.chosen_model, second.rejected_model) == ("base", "tuned")
    assert (first.base_run, first.tuned_run) == ("base-0123456789", "tuned-0123456789")
    assert (first.suite, first.rubric, first.license) == (SUITE, "helpful", "CC0-1.0")
    assert (first.judges, first.voices) == (["strict"], 1)


def test_a_jury_is_as_confident_as_its_mean_and_consistent_where_all_agree() -> None:
    """Two of three for the tuned answer: u = 2/3, and 2·|u − ½| = 1/3."""
    three = [
        *make_judgements({"s0": (1.0, 1.0), "s1": (1.0, 1.0)}, "a"),
        *make_judgements({"s0": (1.0, 1.0), "s1": (1.0, 1.0)}, "b"),
        *make_judgements({"s0": (0.0, 0.0), "s1": (1.0, 1.0)}, "c"),
    ]
    picks = pick([_material(three)], Wanted()).picks
    assert _told(picks) == [
        ("ai", "s0", "tuned", pytest.approx(1 / 3, abs=1e-6), False),
        ("ai", "s1", "tuned", 1.0, True),
    ]
    sure = pick([_material(three)], Wanted(min_confidence=0.5))
    assert [one.sample_id for one in sure.picks] == ["s1"]
    assert sure.left_out == {"of a confidence below 0.5": 1}
    consistent = pick([_material(three)], Wanted(consistent=True))
    assert [one.sample_id for one in consistent.picks] == ["s1"]
    assert consistent.left_out == {"inconsistent": 1}


def test_probabilities_are_confidences_and_orders_that_contradict_are_inconsistent() -> None:
    said = make_judgements({"s0": (0.9, 0.7), "s1": (0.9, 0.3)})
    assert _told(pick([_material(said)], Wanted()).picks) == [
        ("ai", "s0", "tuned", pytest.approx(0.6), True),
        ("ai", "s1", "tuned", pytest.approx(0.2), False),
    ]


HUMAN: tuple[Source, ...] = ("human",)
AI: tuple[Source, ...] = ("ai",)


def test_people_and_judges_are_kept_apart() -> None:
    votes = [
        _vote("s0", "Ana", "base"),
        _vote("s1", "Ana", "tuned"),
        _vote("s1", "Bo", "tuned"),
        _vote("s2", "Ana", "tuned"),
        _vote("s2", "Bo", "tie"),
        _vote("s3", "Ana", "skip"),
    ]
    material = _material(make_judgements({"s0": (1.0, 1.0)}), votes)
    both = pick([material], Wanted())
    assert _told(both.picks) == [
        ("human", "s0", "base", 1.0, True),
        ("human", "s1", "tuned", 1.0, True),
        ("human", "s2", "tuned", 0.5, False),
        ("ai", "s0", "tuned", 1.0, True),
    ]
    assert [one.voices for one in both.picks] == [1, 2, 2, 1]
    assert "Ana" not in json.dumps([one.judges for one in both.picks])
    people = pick([material], Wanted(sources=HUMAN))
    assert {one.source for one in people.picks} == {"human"}
    assert {one.source for one in pick([material], Wanted(sources=AI)).picks} == {"ai"}


def test_a_judge_that_is_people_counts_as_people_and_once() -> None:
    """The same label, in labels.csv and as a human judge's judgement, is one voice."""
    said = [
        Judgement(
            suite=SUITE,
            sample_id=sample,
            judge="crowd",
            rubric="helpful",
            protocol="pairwise",
            value=1.0,
        )
        for sample in ("s0", "s1")
    ]
    material = _material(said, [_vote("s0", "Ana", "tuned")], people=frozenset({"crowd"}))
    picks = pick([material], Wanted()).picks
    assert _told(picks) == [("human", f"s{n}", "tuned", 1.0, True) for n in (0, 1)]
    assert [one.voices for one in picks] == [1, 1]


def test_repeated_pairs_are_written_once_the_surer_one() -> None:
    sure = make_judgements({"s0": (1.0, 1.0)}, rubric="funny")
    less = make_judgements({"s0": (0.9, 0.9)})
    picks, left_out = pick([_material([*less, *sure])], Wanted())
    assert [(one.rubric, one.confidence) for one in picks] == [("funny", 1.0)]
    assert left_out == {"repeated": 1}
    again = pick([_material(sure), _material(sure)], Wanted())
    assert len(again.picks) == 1


def test_pairs_that_contradict_each_other_are_both_left_out() -> None:
    said = [
        *make_judgements({"s0": (1.0, 1.0), "s1": (1.0, 1.0)}),
        *make_judgements({"s0": (0.0, 0.0)}, rubric="funny"),
    ]
    picks, left_out = pick([_material(said)], Wanted())
    assert [one.sample_id for one in picks] == ["s1"]
    assert left_out == {"contradicted by another pair": 2}
    assert len(pick([_material(said)], Wanted(rubrics=("funny",))).picks) == 1


def test_flagged_answers_are_marked_and_left_out_on_demand() -> None:
    flagged = {"tuned": {"s0": ("speaks to the judge",)}}
    comparison = replace(COMPARISON, judgings=(make_judging(flagged=flagged),))
    material = _material(
        make_judgements({"s0": (1.0, 1.0), "s1": (1.0, 1.0)}), comparison=comparison
    )
    assert [one.flagged for one in pick([material], Wanted()).picks] == [True, False]
    kept = pick([material], Wanted(exclude_flagged=True))
    assert [one.sample_id for one in kept.picks] == ["s1"]
    assert kept.left_out == {"flagged": 1}


def test_what_cannot_be_a_pair_is_said() -> None:
    """The same answer twice, an empty one, several turns, no text at all, a rating."""
    arms = make_arms(5, same=[0])
    pairs = list(make_pairs(*arms))
    base = pairs[1].base
    empty = replace(base, completions=(replace(base.completions[0], text="  "),))
    pairs[1] = replace(pairs[1], base=empty)
    turns = replace(pairs[2].base.sample, fields={"then": ["And then?"]})
    pairs[2] = replace(
        pairs[2],
        base=replace(pairs[2].base, sample=turns, completions=pairs[2].base.completions * 2),
        tuned=replace(pairs[2].tuned, sample=turns, completions=pairs[2].tuned.completions * 2),
    )
    broken = replace(pairs[3].tuned.completions[0], stop_reason="error", error="hung up", text="")
    pairs[3] = replace(pairs[3], tuned=replace(pairs[3].tuned, completions=(broken,)))
    said = make_judgements({f"s{n}": (1.0, 1.0) for n in range(5)})
    rated = Judgement(
        suite=SUITE,
        sample_id="s4",
        judge="j",
        rubric="funny",
        protocol="pointwise",
        arm="base",
        value=4.0,
    )
    material = _material([*said, rated], pairs=tuple(pairs))
    picks, left_out = pick([material], Wanted())
    assert [one.sample_id for one in picks] == ["s4"]
    assert left_out == {
        "with twice the same answer": 1,
        "with an empty answer": 1,
        "with several turns, which have no common prompt": 1,
        "without two answers": 1,
        "rated one by one, not compared": 1,
    }


def test_plain_text_stays_text_and_is_not_mixed_with_chats() -> None:
    plain = make_arms(2, plain=True, suite="text/plain")
    said = make_judgements({"s0": (1.0, 1.0)}, suite="text/plain")
    told: dict[str, Any] = {"comparison": compare(*plain), "pairs": make_pairs(*plain)}
    (one,) = pick([_material(said, **told)], Wanted()).picks
    assert (one.prompt, one.chosen, one.rejected) == (
        "Write note 0.",
        "✨ Lively answer 0!",
        "Plain answer 0.",
    )
    chat = _material(make_judgements({"s0": (1.0, 1.0)}))
    with pytest.raises(UsageError, match="one file cannot hold both"):
        pick([chat, _material(said, **told)], Wanted())
    assert len(pick([chat, _material(said, **told)], Wanted(suites=(SUITE,))).picks) == 1


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_picks(tmp_path / "file" / "out.jsonl", ())


def _exported(file: Path, count: int) -> Path:
    arms = make_arms(count)
    said = make_judgements({f"s{n}": (1.0, 1.0) for n in range(count)})
    votes = [_vote("s0", "Ana", "base")]
    material = _material(said, votes, comparison=compare(*arms), pairs=make_pairs(*arms))
    write_picks(file, pick([material], Wanted()).picks)
    return file


def test_datasets_reads_it_and_trl_takes_it_for_preferences(tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import is_conversational
    from trl.data_utils import extract_prompt

    file = _exported(tmp_path / "out.jsonl", 4)
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path))
    assert {"prompt", "chosen", "rejected", "source", "confidence"} <= set(rows.column_names)
    assert len(rows) == 5
    assert all(is_conversational(row) for row in rows)
    people = rows.filter(lambda row: row["source"] == "human")
    assert [row["chosen"][0]["content"] for row in people] == ["Plain answer 0."]
    # trl finds the prompt of a pair without one by what both have in common: it is ours.
    whole = {
        "chosen": rows[1]["prompt"] + rows[1]["chosen"],
        "rejected": rows[1]["prompt"] + rows[1]["rejected"],
    }
    assert extract_prompt(whole)["prompt"] == rows[1]["prompt"]


@pytest.mark.slow
def test_trls_dpo_trainer_trains_on_it(tmp_path: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from tests.models.hf.tiny_models import make_model

    file = _exported(tmp_path / "out.jsonl", 4)
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path))
    make_model(tmp_path / "model", "llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(tmp_path / "model"),
            args=DPOConfig(
                output_dir=str(tmp_path / "out"),
                max_steps=1,
                per_device_train_batch_size=2,
                report_to=[],
                use_cpu=True,
                bf16=False,
                logging_steps=1,
            ),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(tmp_path / "model"),
        )
        trainer.train()
    # Before any learning both models are one: the first loss of DPO is log 2.
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
