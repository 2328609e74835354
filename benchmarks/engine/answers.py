"""What each tool answered, sample by sample, and how far the two agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.engine.works import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one sample: the log-likelihood of each choice (or of the text), or the text written.

    `tokens` are the ones scored or written; 0 where the tool does not tell.
    """

    loglikelihoods: tuple[float, ...] = ()
    text: str = ""
    tokens: int = 0


Answers = Mapping[str, Answer]


def of_evalkit(folder: Path) -> Answers:
    """The answers in a run folder, by the row's id."""
    from evalkit.store.runs import read_run

    return {
        str(result.sample.fields["id"]): Answer(
            loglikelihoods=tuple(one.loglikelihood for one in result.completions),
            text=result.completions[0].text,
            tokens=sum(len(one.logprobs) for one in result.completions),
        )
        for result in read_run(folder).results
    }


def of_harness(folder: Path, work: Work) -> Answers:
    """The answers in what lm-eval wrote with --log_samples, by the row's id."""
    files = sorted(folder.rglob("samples_*.jsonl"))
    assert len(files) == 1, f"{folder} should hold one file of samples, not {len(files)}"
    lines = files[0].read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line.strip()]
    return {str(row["doc"]["id"]): _answer(row["resps"], work) for row in rows}


def _answer(said: list[list[Any]], work: Work) -> Answer:
    # One list for each request, with one entry for each repeat.
    match work.task:
        case "choice":
            return Answer(loglikelihoods=tuple(float(one[0][0]) for one in said))
        case "perplexity":
            value = said[0][0]
            return Answer(loglikelihoods=(float(value[0] if isinstance(value, list) else value),))
        case "generate":
            return Answer(text=str(said[0][0]))


def picked(answers: Answers, work: Work) -> str:
    """The choice each sample's log-likelihoods decide for, a digit a sample, in their order."""
    return "".join(str(_best(answers[row["id"]].loglikelihoods)) for row in work.rows)


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def accuracy(picks: str, work: Work) -> float:
    """The share of samples on which the right choice was picked."""
    pairs = zip(picks, work.rows, strict=True)
    return fmean(int(pick) == row["answer"] for pick, row in pairs)


def agreement(ours: Answers, theirs: Answers, work: Work) -> dict[str, Any]:
    """How far the two are apart on one arm; they must have answered the same samples."""
    ids = [row["id"] for row in work.rows]
    assert set(ours) == set(theirs) == set(ids), "the two tools answered different samples"
    pairs = [(ours[each], theirs[each]) for each in ids]
    match work.task:
        case "choice":
            mine, other = picked(ours, work), picked(theirs, work)
            return {
                "largest_difference": max(_apart(one, two) for one, two in pairs),
                "accuracy": {"evalkit": accuracy(mine, work), "lm_eval": accuracy(other, work)},
                "picked": {"evalkit": mine, "lm_eval": other},
            }
        case "perplexity":
            return {
                "largest_difference": max(_apart(one, two) for one, two in pairs),
                "largest_difference_per_token": max(_apart(a, b) / a.tokens for a, b in pairs),
                "nats_per_text": fmean(-one.loglikelihoods[0] for one in ours.values()),
            }
        case "generate":
            return {
                "equal_texts": fmean(one.text == two.text for one, two in pairs),
                "tokens_per_text": fmean(one.tokens for one in ours.values()),
            }


def _apart(one: Answer, two: Answer) -> float:
    pairs = zip(one.loglikelihoods, two.loglikelihoods, strict=True)
    return max(abs(mine - other) for mine, other in pairs)
