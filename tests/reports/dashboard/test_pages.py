"""Each page, run in this process on real run folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from streamlit.testing.v1 import AppTest

import reports.dashboard
from tests.reports.dashboard.runfolders import (
    SUITES,
    make_perplexity,
    make_repeats,
    make_runs,
    make_thinkers,
    make_training,
)

APP = Path(reports.dashboard.__file__).with_name("app.py")
VERDICT, SIDE_BY_SIDE = "views/verdict.py", "views/side_by_side.py"
TRAINING, RUNS = "views/training.py", "views/runs.py"
Start: TypeAlias = Callable[..., AppTest]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages") / "runs"
    make_runs(root, ("tuned", "mild"))
    make_training(root)
    return root


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Open a page of the dashboard over a folder, as `launch` would."""

    def started(root: Path, page: str, comparison: Path | None = None, **query: str) -> AppTest:
        asked = ["--comparison", str(comparison)] if comparison else []
        monkeypatch.setattr("sys.argv", ["app.py", "--runs", str(root), *asked])
        # Streamlit leaves its script there, and every process that is spawned later would run it.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(str(APP), default_timeout=30)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        if page != VERDICT:
            app.switch_page(page).run()
        assert not app.exception
        assert not app.warning, "Streamlit tells of a deprecation here"
        return app

    return started


def _text(app: AppTest) -> str:
    return "\n".join(element.value for element in app.html)


def _counter(app: AppTest) -> str:
    return next(e.value for e in app.html if " of " in e.value and "–" not in e.value)


def test_the_verdict_page_says_what_to_do_and_why(start: Start, runs: Path) -> None:
    shown = _text(start(runs, VERDICT))
    assert "Do not ship" in shown
    assert "Do not ship smollm2-rednote: knowledge/everyday-en failed." in shown
    assert "−0.150" in shown
    assert "tuned changes answers" in shown
    assert "exit code 1" in shown


def test_the_verdict_page_shows_every_tuned_arm(start: Start, runs: Path) -> None:
    app = start(runs, VERDICT)
    assert [tab.label.replace("\u2060", "") for tab in app.tabs] == [
        "✗ smollm2\\-rednote",
        "? smollm2\\-mild",
    ]


def test_the_verdict_page_lists_slices_and_missing_scores(start: Start, runs: Path) -> None:
    shown = _text(start(runs, VERDICT))
    assert "topic=animals" in shown
    assert "Of 5 weighed together (Benjamini–Hochberg, 5 %)" in shown
    assert "of 60: 1 newly right, 10 newly wrong, 0 wrong in another way" in shown
    assert "1 without a score in smollm2-rednote" in shown


def test_the_verdict_page_shows_gated_slices_and_leads_to_their_answers(
    start: Start, tmp_path: Path
) -> None:
    file = make_runs(tmp_path, suites=SUITES[:1]) / "comparison.json"
    kept = json.loads(file.read_text())
    gate = {"suites": {SUITES[0].name: {"must_not_regress": ["topic=animals"]}}}
    kept["comparisons"][0]["base"]["config"]["gate"] = gate
    file.write_text(json.dumps(kept))
    app = start(tmp_path, VERDICT)
    assert "[topic=animals]</b>" in _text(app)
    links = [str(one.proto) for one in app.get("page_link")]
    assert sum("topic%3Danimals" in one for one in links) == 1, links


def test_the_verdict_page_draws_checkpoints_over_their_training(
    start: Start, tmp_path: Path
) -> None:
    file = make_runs(tmp_path, ("tuned", "mild")) / "comparison.json"
    kept = json.loads(file.read_text())
    for step, one in zip((20, 40), kept["comparisons"], strict=True):
        adapter = f"/x/notes/checkpoints/checkpoint-{step}"
        one["tuned"]["name"] = f"notes-step-{step}"
        one["tuned"]["config"]["model"] = {"kind": "hf", "path": "a/b", "adapter": adapter}
    file.write_text(json.dumps(kept))
    app = start(tmp_path, VERDICT)
    assert "notes over its training" in [one.value for one in app.subheader]
    assert "★ notes-step-40 is the best of 2 checkpoints." in _text(app)


def test_arms_that_are_no_checkpoints_have_no_training_to_draw(start: Start, runs: Path) -> None:
    app = start(runs, VERDICT)
    assert not [one.value for one in app.subheader if "over its training" in one.value]


def test_the_gate_of_the_base_run_decides(start: Start, tmp_path: Path) -> None:
    folder = make_runs(tmp_path, suites=SUITES[:1])
    file = folder / "comparison.json"
    kept = json.loads(file.read_text())
    kept["comparisons"][0]["base"]["config"]["gate"] = {"margin": 0.5}
    file.write_text(json.dumps(kept))
    assert "Ship it" in _text(start(tmp_path, VERDICT))


@pytest.mark.parametrize(
    ("page", "command"),
    [
        (VERDICT, "evalkit compare"),
        (SIDE_BY_SIDE, "evalkit compare"),
        (TRAINING, "evalkit train"),
        (RUNS, "evalkit run"),
    ],
)
def test_an_empty_folder_names_the_command_that_fills_it(
    start: Start, tmp_path: Path, page: str, command: str
) -> None:
    assert command in _text(start(tmp_path / "missing", page))


def test_the_side_by_side_page_opens_the_largest_loss(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    assert "1 of 98" in _counter(app)
    assert "✓ right" in _text(app)


def test_filters_narrow_the_list_and_begin_it_anew(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    app.button(key="next").click().run()
    app.selectbox(key="suite").select("knowledge/everyday-en").run()
    assert "1 of 60" in _counter(app)
    app.segmented_control(key="change").set_value("Lost").run()
    assert "1 of 10" in _counter(app)
    app.selectbox(key="slice").select("topic=animals").run()
    assert "1 of 10" in _counter(app)
    app.text_input(key="text").set_value("number 15 LIVE").run()
    assert "1 of 1" in _counter(app)
    assert "Where does number 15 live?" in _text(app)


def test_a_range_of_differences_narrows_the_list(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    app.selectbox(key="suite").select("style/rednote-zh").run()
    app.number_input(key="low").set_value(0.59).run()
    app.number_input(key="high").set_value(0.71).run()
    assert "1 of 6" in _counter(app)


def test_another_metric_of_the_suite_can_be_sorted_by(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    app.selectbox(key="suite").select("style/rednote-zh").run()
    app.selectbox(key="metric").select("excess_length").run()
    app.segmented_control(key="change").set_value("Gained").run()
    assert "1 of 24" in _counter(app), "shorter is better here"


def test_no_match_is_said_plainly(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    app.text_input(key="text").set_value("nowhere to be found").run()
    assert "None of the 98 pairs fits these filters." in _text(app)


def test_next_and_previous_stop_at_the_ends(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE)
    assert app.button(key="previous").disabled
    app.selectbox(key="suite").select("perplexity/plain").run()
    for _ in range(5):
        app.button(key="next").click().run()
    assert "6 of 6" in _counter(app)
    assert app.button(key="next").disabled
    assert "Nats per token" in _text(app)


def test_the_address_opens_its_sample(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE, of="style/rednote-zh", sample="note-007", arm="smollm2-mild")
    assert "第7篇" in _text(app)
    assert app.selectbox(key="arm").value == "smollm2-mild"


def test_an_address_of_a_sample_that_is_gone_opens_the_first(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE, of="style/rednote-zh", sample="note-999")
    assert "1 of 98" in _counter(app)


def test_an_address_of_what_is_not_here_says_that_another_is_shown(
    start: Start, runs: Path
) -> None:
    asked = {"arm": "smollm2-gone", "suite": "style/gone", "slice": "topic=gone"}
    app = start(runs, SIDE_BY_SIDE, **asked)
    shown = _text(app)
    assert "There is no arm smollm2-gone in this comparison; this is smollm2-rednote." in shown
    assert "There is no suite style/gone in this comparison; all are shown." in shown
    assert "There is no slice topic=gone in this comparison; all are shown." in shown
    here = {"arm": "smollm2-mild", "suite": "style/rednote-zh", "slice": "topic=旅行"}
    assert "There is no" not in _text(start(runs, SIDE_BY_SIDE, **here))
    foreign = start(runs, SIDE_BY_SIDE, suite="style/rednote-zh", slice="topic=animals")
    assert "There is no slice topic=animals" in _text(foreign), "it is another suite's"


def test_the_prompt_is_shown_as_the_model_saw_it(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE, of="style/rednote-zh", sample="note-007")
    assert app.code[0].value.startswith("<|im_start|>user\n写一篇关于北京秋天的笔记")


def test_every_text_of_a_hostile_sample_is_escaped(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE, of="chat/answers", sample="<b>id</b>:smile:$x$")
    shown = _text(app)
    for raw in ("<script", "<img", "<b>id", "<h1", "\u202e", "\x00"):
        assert raw not in shown
    assert "&lt;script&gt;" in shown


def test_an_answer_that_failed_shows_its_error(start: Start, runs: Path) -> None:
    app = start(runs, SIDE_BY_SIDE, of="chat/answers", sample="chat-7")
    assert "the server &lt;hung&gt; up" in _text(app)


def test_worked_examples_are_folded_away_and_the_list_tells_questions_apart(
    start: Start, runs: Path
) -> None:
    app = start(runs, SIDE_BY_SIDE, suite="knowledge/everyday-en", sort="Suite order")
    shown = next(e.value for e in app.html if "ek-question" in e.value)
    fold = re.search(r'<details class="ek-before">.*?</details>', shown, re.S)
    assert fold
    assert "Question: one\nAnswer: two</div>" in fold[0]
    asked = re.search(r'ek-question"[^>]*>([^<]*)<', shown)
    assert asked
    assert asked[1] == "Question: Where does number 0 live?\nAnswer:"
    lines = [one.label for one in app.button if str(one.key).startswith("line-")]
    assert all(re.search(r"(same|\]) Where does number", line) for line in lines), lines


def test_all_answers_to_a_question_can_be_read_with_their_own_scores(
    start: Start, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    make_repeats(root)
    app = start(root, SIDE_BY_SIDE, of="chat/repeats", sample="r-1")
    (which,) = [one for one in app.number_input if one.label.startswith("Answer")]
    # Of (1, 0, 0) and (1, 0, 1) the last is the first that differs.
    assert (which.label, which.value, which.min, which.max) == ("Answer, of 3", 3, 1, 3)
    strip = next(e.value for e in app.html if "ek-strip" in e.value)
    cells = re.findall(r'<td class="([^"]*)">([^<]*)<', strip)
    assert [score for _, score in cells] == ["1", "0", "0", "1", "0", "1"]
    assert [kind for kind, _ in cells] == ["", "", "ek-differs ek-here"] * 2
    for number, score in ((1, "1.000"), (2, "0.000"), (3, "1.000")):
        app.number_input(key="answer chat/repeats r-1").set_value(number).run()
        assert not app.exception
        shown = next(e.value for e in app.html if "ek-pair" in e.value)
        assert f"tuned answer {number} to question 1" in re.sub("<[^>]*>", "", shown)
        assert re.findall(r'ek-score">([^<]*)<', shown)[1] == score
    assert "0.667" in _text(app), "the mean stands in the table"
    app.button(key="next").click().run()
    (which,) = [one for one in app.number_input if one.label.startswith("Answer")]
    assert which.value == 3


def test_a_changed_format_is_told_from_lost_knowledge(start: Start, tmp_path: Path) -> None:
    make_thinkers(tmp_path / "runs")
    text = _text(start(tmp_path / "runs", VERDICT))
    assert "not extracted (accuracy): smollm2 0 %, smollm2-rednote 50 % of 20 samples" in text
    assert "smollm2-rednote may have changed its format and not its knowledge" in text


def test_thinking_is_folded_away_above_the_answer(start: Start, tmp_path: Path) -> None:
    make_thinkers(tmp_path / "runs")
    app = start(tmp_path / "runs", SIDE_BY_SIDE, of="reasoning/sums", sample="t-0")
    shown = next(e.value for e in app.html if "ek-pair" in e.value)
    assert re.findall("<details[^>]*>", shown) == ['<details class="ek-thinking">']
    assert "Three &lt;b&gt;and&lt;/b&gt; four, for the 0th time." in shown


def test_the_verdict_page_tells_how_many_answers_there_were(start: Start, tmp_path: Path) -> None:
    make_repeats(tmp_path / "runs")
    assert "3 answers to each question; more of them would" in _text(
        start(tmp_path / "runs", VERDICT)
    )


def test_a_run_folder_that_was_moved_with_its_comparison_is_found(
    start: Start, tmp_path: Path
) -> None:
    make_runs(tmp_path / "before", suites=SUITES[:1])
    shutil.move(tmp_path / "before", tmp_path / "after")
    assert "1 of 60" in _counter(start(tmp_path / "after", SIDE_BY_SIDE))


def test_a_missing_run_folder_is_named(start: Start, tmp_path: Path) -> None:
    make_runs(tmp_path, suites=SUITES[:1])
    shutil.rmtree(tmp_path / "smollm2-0123456789")
    shown = _text(start(tmp_path, SIDE_BY_SIDE))
    assert "no run folder smollm2-0123456789" in shown
    assert "Do not ship" in _text(start(tmp_path, VERDICT)), "the verdict needs no answers"


@pytest.mark.parametrize("name", ["results.parquet", "samples.parquet", "completions.parquet"])
def test_a_damaged_run_is_a_note_and_not_a_crash(start: Start, tmp_path: Path, name: str) -> None:
    make_runs(tmp_path, suites=SUITES[:1])
    (tmp_path / "smollm2-rednote-0123456789" / name).write_bytes(b"PAR1 broken")
    assert "cannot be read" in _text(start(tmp_path, SIDE_BY_SIDE))


def test_a_damaged_comparison_is_a_note_and_not_a_crash(start: Start, tmp_path: Path) -> None:
    folder = make_runs(tmp_path, suites=SUITES[:1])
    (folder / "comparison.json").write_text('{"comparisons": [{"base": ')
    assert "is not a comparison written by evalkit" in _text(start(tmp_path, VERDICT))


def test_a_damaged_manifest_leaves_the_other_runs_in_the_history(
    start: Start, tmp_path: Path
) -> None:
    make_runs(tmp_path, suites=SUITES[:1])
    (tmp_path / "smollm2-0123456789" / "manifest.json").write_text("{")
    app = start(tmp_path, RUNS)
    assert "cannot be read as a Manifest" in _text(app)
    assert list(app.dataframe[0].value["name"]) == ["smollm2-rednote"]


def test_the_history_is_newest_first(start: Start, runs: Path) -> None:
    table = start(runs, RUNS).dataframe[0].value
    assert list(table["name"])[-1] == "smollm2"
    assert list(table["tokens"])[-1] == 3336 + 9999
    assert list(table["time"])[-1] == "4 min 05 s"


def test_the_history_shows_a_corpus_score_and_not_a_mean_of_samples(
    start: Start, tmp_path: Path
) -> None:
    make_perplexity(tmp_path / "runs")
    shown = _text(start(tmp_path / "runs", RUNS))
    assert "perplexity/weighed" in shown
    assert "7.389" in shown, "exp(12 nats / 6 tokens), where the samples' mean is 13.1"


def test_the_comparison_asked_for_is_shown_first(start: Start, tmp_path: Path) -> None:
    asked = make_runs(tmp_path / "asked", suites=SUITES[:1])
    make_runs(tmp_path / "other", suites=SUITES[1:2])
    app = start(tmp_path, VERDICT, comparison=asked)
    assert app.selectbox(key="comparison").options[0] == "asked/compare/smollm2-vs-rednote"
    assert "Do not ship" in _text(app)


def test_the_training_page_shows_losses_data_and_recipe(start: Start, runs: Path) -> None:
    app = start(runs, TRAINING)
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Steps"] == "75"
    assert metrics["Held-out loss"] == f"{2.1 * 0.98**75:.3f}"
    assert metrics["Time"] == "4 min 00 s"
    shown = _text(app)
    assert "notes &lt;script&gt;.jsonl" in shown
    assert "qlora" in shown
    assert '<td class="">data 1: path</td><td class="">notes.jsonl</td>' in shown
    assert "not finished" not in shown
    assert "damaged" not in shown, "the half line of a running training is no damage"


def test_the_data_card_is_laid_out_for_reading(start: Start, runs: Path) -> None:
    app = start(runs, TRAINING)
    shown = _text(app)
    heads = re.findall(r"<th class[^>]*>(.*?)</th>", shown)
    assert heads[:4] == ["File", "Rows", "Duplicates", "Train"]
    assert heads[4:8] == ["Held out", "Weight", "Licence", "SHA-256"]
    assert heads[8:] == ["Tokens per row", "Shortest", "Median", "95 %", "Longest"]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in shown.split("<tr>")]
    assert ["rows cut at 256 tokens", "4"] in rows
    assert ["answer", "2", "80", "190", "211"] in rows
    assert [one.label for one in app.expander][-1] == "Recipe"


def test_a_card_with_nothing_in_it_is_no_crash(start: Start, tmp_path: Path) -> None:
    folder = make_training(tmp_path)
    (folder / "data_card.json").write_text('{"files": [7], "lengths": "long"}')
    assert "rows cut at" in _text(start(tmp_path, TRAINING))


def test_a_training_that_was_stopped_does_not_hide_a_finished_one(
    start: Start, tmp_path: Path
) -> None:
    make_training(tmp_path, "done")
    stopped = make_training(tmp_path, "stopped")
    (stopped / "manifest.json").unlink()
    os.utime(stopped / "metrics.jsonl", (2e9, 2e9))
    app = start(tmp_path, TRAINING)
    assert app.selectbox(key="training").options == ["train/done", "train/stopped"]
    assert "not finished" not in _text(app)


def test_a_training_run_without_card_or_recipe_still_shows_its_loss(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "train" / "young"
    folder.mkdir(parents=True)
    rows = '{"step": 1, "loss": 2.5}\nnonsense\n{"step": 2, "loss": NaN}\n'
    (folder / "metrics.jsonl").write_text(rows)
    app = start(tmp_path, TRAINING)
    assert "1 of its lines cannot be read" in _text(app)
    assert "No data card" in _text(app)
    assert "No recipe" in _text(app)
    assert "not finished" in _text(app)
    assert app.metric[1].value == "2.500"


def test_the_verdict_page_shows_what_was_retained_of_a_set(start: Start, tmp_path: Path) -> None:
    make_runs(tmp_path / "alone", suites=SUITES[:1])
    assert "Wrong in both" not in _text(start(tmp_path / "alone", VERDICT))
    make_runs(tmp_path / "set", suites=[replace(SUITES[0], aspect="general <b>knowledge</b>")])
    shown = _text(start(tmp_path / "set", VERDICT))
    assert "Wrong in both" in shown
    assert "general &lt;b&gt;knowledge&lt;/b&gt;" in shown
