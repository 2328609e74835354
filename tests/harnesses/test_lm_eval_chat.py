"""lm-eval's tasks as chats: the prompts are those of lm-eval with the same template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import SuiteError
from evalkit.evaluate import open_suites
from evalkit.records import Message, Run
from tests.harnesses.lm_eval_tasks import (
    CHOICE,
    Theirs,
    lm_eval,
    mean,
    number,
    opening,
    questions,
    run_arms,
    scores,
    write_task,
)
from tests.models.hf.tiny_models import Tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations

SYSTEM = "Be brief."
WRITING: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "letter",
    "generation_kwargs": {"max_gen_toks": 5, "do_sample": False, "until": ["\n"]},
    "filter_list": [
        {
            "name": "letter",
            "filter": [
                {"function": "regex", "regex_pattern": "([a-zA-Z])", "fallback": "?"},
                {"function": "take_first"},
            ],
        }
    ],
    "metric_list": [mean("exact_match")],
}
NAMES = ["choosing", "begun", "begun_choosing", "writing"]


def write_chats(folder: Path) -> None:
    write_task(folder, "choosing", questions(10), description="Pick one.", **CHOICE)
    letters = [{**row, "letter": "Ieo"[n % 3]} for n, row in enumerate(questions(10))]
    write_task(folder, "begun", letters, gen_prefix="A:", **WRITING)
    write_task(folder, "begun_choosing", questions(10), gen_prefix="It is", **CHOICE)
    write_task(folder, "writing", letters, **WRITING)


@pytest.mark.parametrize(("arm", "fewshot_as"), [("base", "turns"), ("tuned", "text")])
def test_chats_are_those_of_lm_eval(
    long_tiny: Tiny, tmp_path: Path, arm: str, fewshot_as: str
) -> None:
    write_chats(tmp_path)
    runs = run_arms(
        long_tiny,
        tmp_path,
        NAMES,
        lm_eval={"num_fewshot": 2},
        chat="always",
        system=SYSTEM,
        fewshot_as=fewshot_as,
    )
    theirs = lm_eval(
        long_tiny,
        arm,
        tmp_path,
        NAMES,
        num_fewshot=2,
        apply_chat_template=True,
        system_instruction=SYSTEM,
        fewshot_as_multiturn=fewshot_as == "turns",
    )
    for task in NAMES:
        _same_prompts(runs[arm], theirs, task)
        _same_answers(runs[arm], theirs, task)
        for key, value in theirs.table[task].items():
            if key.split(",")[0] in {"acc", "acc_norm", "exact_match"}:
                metric = key.removesuffix(",none")
                assert number(runs[arm], task, metric) == pytest.approx(value, rel=1e-12)
                own = [one.value for one in scores(runs[arm], task, metric)]
                assert own == [one[key.split(",")[0]] for one in theirs.samples[task]]


def _same_prompts(run: Run, theirs: Theirs, task: str) -> None:
    ours = [
        [(one.prompt_text, one.truncated) for one in result.completions]
        for result in run.results
        if result.sample.suite == f"lm_eval:{task}"
    ]
    expected = [[(given[0].rstrip() if task != "begun" and task != "writing" else given[0], 0)
                 for given in one["arguments"]] for one in theirs.samples[task]]  # fmt: skip
    assert ours == expected


def _same_answers(run: Run, theirs: Theirs, task: str) -> None:
    mine = [one for one in run.results if one.sample.suite == f"lm_eval:{task}"]
    for result, expected in zip(mine, theirs.samples[task], strict=True):
        given = [response[0] for response in expected["resps"]]
        if task.endswith("choosing"):
            own = [one.loglikelihood for one in result.completions]
            assert own == pytest.approx([value for value, _ in given], abs=1e-4)
        else:
            assert [one.text for one in result.completions] == given
            assert any(given)


def test_the_turns_are_kept_for_each_arms_own_template(tmp_path: Path) -> None:
    write_chats(tmp_path)
    config = opening(tmp_path, "begun", chat="always", system=SYSTEM)
    (suite,) = open_suites(config)
    assert suite.samples[3].prompt == (
        Message(role="system", content=SYSTEM),
        Message(role="user", content="Q3 park?"),
        Message(role="assistant", content="A:"),
    )


def test_a_task_that_writes_around_its_prompts_cannot_be_a_chat() -> None:
    from evalkit.harnesses.lm_eval.requests import Wording, _handed_over

    turns: Sequence[Mapping[str, str]] = [{"role": "user", "content": "Hi"}]
    context = "Context: " + _handed_over(turns)
    wording = Wording("own", opening(Path(), "own", chat="always"))
    with pytest.raises(SuiteError, match="leave out chat: always"):
        wording._prompt(context)
