"""A comparison opened again: by which rubrics, and in which language, its answers are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import JudgeConfig, ModelJudge, OpenAIModel
from evalkit.errors import UsageError
from evalkit.judges.rubrics import open_rubric
from evalkit.judging.compared import Compared, open_compared, people_jobs
from evalkit.judging.trying import make_trial
from evalkit.records import Manifest
from tests.judges.examples import SUITE, make_arms, make_judging, write_judged

OWN = "Does the answer sound like a pirate?"
SUITE_FILE = """\
title: Notes
language: en
task: generate
scorers: [length]
judge:
"""


def _rubric(file: Path) -> Path:
    file.write_text(f"title: Mine\nlanguage: en\nquestion: {OWN}\n", encoding="utf-8")
    return file


def _judged(
    root: Path, rubric: str, said: Mapping[str, Any] | None = None, own: str = ""
) -> Compared:
    """A comparison that was judged by a rubric: by what the run's configuration says of its suite,
    or by what is `own` to its suite.yaml."""
    folder = root / "suite"
    folder.mkdir()
    if own:
        (folder / "suite.yaml").write_text(SUITE_FILE + own, encoding="utf-8")
    base, tuned = make_arms(3)

    def told(manifest: Manifest) -> Manifest:
        info = replace(manifest.suites[0], path=str(folder), rubrics=(rubric,))
        judge = {"judges": [], "suites": {SUITE: dict(said)} if said else {}}
        return replace(manifest, suites=(info,), config={**manifest.config, "judge": judge})

    arms = tuple(replace(one, manifest=told(one.manifest)) for one in (base, tuned))
    judging = replace(make_judging(rubric), file="")
    written = write_judged(root / "runs", (arms[0], arms[1]), (), [judging])
    return open_compared([written])


def _config(**suites: Any) -> JudgeConfig:
    model = OpenAIModel(kind="openai", model="judge", base_url="http://127.0.0.1:1/v1")
    return JudgeConfig(judges=(ModelJudge(name="strict", model=model),), **suites)


def _prompt(compared: Compared, config: JudgeConfig) -> str:
    return "\n".join(turn.content for turn in make_trial(config, compared, SUITE, "s1").prompt)


def test_an_own_rubric_of_a_shipped_name_goes_before_the_shipped_one(tmp_path: Path) -> None:
    file = _rubric(tmp_path / "helpful.yaml")
    compared = _judged(tmp_path, "helpful", {"rubrics": [str(file)]})
    (job,) = people_jobs(compared)
    assert (job.rubric.name, job.rubric.question) == ("helpful", OWN)
    (named,) = people_jobs(compared, [SUITE], ["helpful"])  # as an import and the page Vote ask
    assert named.rubric == job.rubric
    assert OWN in _prompt(compared, _config())


def test_an_own_rubric_that_is_gone_is_told_and_no_shipped_one_taken_for_it(
    tmp_path: Path,
) -> None:
    file = _rubric(tmp_path / "helpful.yaml")
    compared = _judged(tmp_path, "helpful", {"rubrics": [str(file)]})
    file.rename(tmp_path / "moved.yaml")
    with pytest.raises(UsageError, match=r"helpful\.yaml is not there any more.*--rubric"):
        people_jobs(compared)
    (job,) = people_jobs(compared, [SUITE], [str(tmp_path / "moved.yaml")])
    assert job.rubric.question == OWN


def test_a_shipped_rubric_is_meant_where_it_is_declared_by_its_name(tmp_path: Path) -> None:
    file = _rubric(tmp_path / "brief.yaml")
    compared = _judged(tmp_path, "helpful", {"rubrics": ["helpful", str(file)]})
    (job,) = people_jobs(compared)
    assert job.rubric == open_rubric("helpful", "en")


def test_the_rubric_that_a_suite_declares_itself_is_found_again(tmp_path: Path) -> None:
    _rubric(tmp_path / "brief.yaml")
    compared = _judged(tmp_path, "brief", own="  rubrics: [../brief.yaml]\n")
    (job,) = people_jobs(compared)
    assert (job.rubric.name, job.rubric.question) == ("brief", OWN)
    assert OWN in _prompt(compared, _config())


@pytest.mark.parametrize("told", ["run", "suite"])
def test_people_and_a_trial_read_the_language_that_the_judge_was_asked_in(
    told: str, tmp_path: Path
) -> None:
    """The answers are English; the run, or the suite, has them judged in Chinese."""
    said = {"rubrics": ["helpful"], "language": "zh"} if told == "run" else None
    own = "  rubrics: [helpful]\n  language: zh\n" if told == "suite" else ""
    compared = _judged(tmp_path, "helpful", said, own)
    (job,) = people_jobs(compared)
    assert job.rubric == open_rubric("helpful", "zh")
    assert {one.language for one in job.matters} == {"zh"}
    chinese = open_rubric("helpful", "zh").question
    assert chinese in _prompt(compared, _config())
    english = _config(suites={SUITE: {"language": "en"}})  # its own word goes before
    assert chinese not in _prompt(compared, english)
