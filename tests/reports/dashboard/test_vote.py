"""The blind vote, run in this process: nobody is told an arm, no vote is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from streamlit.testing.v1 import AppTest

import reports.dashboard
from evalkit.judges.votes import Vote, add_votes, read_votes
from tests.reports.dashboard.runfolders import SUITES, make_runs

APP = Path(reports.dashboard.__file__).with_name("app.py")
NOTES, CHAT = SUITES[1].name, SUITES[2].name
Start: TypeAlias = Callable[..., AppTest]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The comparison's folder."""
    return make_runs(tmp_path / "runs", suites=SUITES[:3])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Start:
    """Open the page in a session of its own."""

    def started(**query: str) -> AppTest:
        monkeypatch.setattr("sys.argv", ["app.py", "--runs", str(folder.parents[1])])
        # Streamlit leaves its script there, and every process that is spawned later would run it.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(str(APP), default_timeout=30)
        for key, value in {"suite": NOTES, "rubric": "helpful", "count": "4", **query}.items():
            app.query_params[key] = value
        app.run()
        app.switch_page("views/vote.py").run()
        assert not app.exception
        assert not app.warning
        return app

    return started


def _text(app: AppTest) -> str:
    """All that the page says, without its style sheet."""
    return "\n".join(one.value for one in app.html if not one.value.startswith("<style"))


def _progress(app: AppTest) -> str:
    return next(str(one.proto.text) for one in app.get("progress"))


def _side_of_the_tuned(app: AppTest) -> str:
    """Where the lively note stands, as a reader sees it."""
    boxes = next(one.value for one in app.html if "ek-pair" in one.value)
    left, right = boxes.split("<article")[1:]
    assert ("姐妹们" in left) != ("姐妹们" in right)
    return "left" if "姐妹们" in left else "right"


def _vote(app: AppTest, choice: str) -> None:
    app.button(key=f"vote-{choice}").click().run()
    assert not app.exception


def test_nothing_is_shown_before_there_is_a_name_to_vote_under(start: Start, folder: Path) -> None:
    app = start()
    assert "Write your name" in _text(app)
    assert "ek-answer" not in _text(app)
    assert "1 to 80 printable" in _text(start(person="x" * 90))
    assert not (folder / "labels.csv").exists()


def test_no_arm_is_told_before_the_last_vote(start: Start) -> None:
    app = start(person="Ana")
    for _ in range(4):
        shown = _text(app)
        assert "ek-plain" in shown
        for word in ("smollm2", "rednote", "base", "tuned"):
            assert word not in shown
        _vote(app, _side_of_the_tuned(app))
    assert "All done" in _text(app)
    assert "smollm2-rednote" in _text(app)


def test_each_vote_is_in_the_file_before_the_next_pair_is_shown(start: Start, folder: Path) -> None:
    app = start(person="Ana")
    assert _progress(app) == "0 of 4 done"
    _vote(app, _side_of_the_tuned(app))
    (first,) = read_votes(folder / "labels.csv")
    assert (first.person, first.preferred, first.suite) == ("Ana", "tuned", NOTES)
    assert _progress(app) == "1 of 4 done"
    _vote(app, "right" if _side_of_the_tuned(app) == "left" else "left")
    _vote(app, "tie")
    _vote(app, "skip")
    votes = read_votes(folder / "labels.csv")
    assert [one.preferred for one in votes] == ["tuned", "base", "tie", "skip"]
    assert len({one.sample_id for one in votes}) == 4
    shown = _text(app)
    assert "All done" in shown
    assert str(folder / "labels.csv") in shown


def test_a_person_goes_on_where_they_stopped_and_others_have_their_own(
    start: Start, folder: Path
) -> None:
    app = start(person="Ana")
    _vote(app, "tie")
    _vote(app, "tie")
    again = start(person="Ana")
    assert _progress(again) == "2 of 4 done"
    _vote(again, "tie")
    assert len({one.sample_id for one in read_votes(folder / "labels.csv")}) == 3
    assert _progress(start(person="Bo")) == "0 of 4 done"
    assert _progress(start(person="Ana", count="6")) == "3 of 6 done"


def test_a_vote_can_be_taken_back(start: Start, folder: Path) -> None:
    app = start(person="Ana")
    assert app.button(key="vote-back").disabled
    side = _side_of_the_tuned(app)
    _vote(app, side)
    app.button(key="vote-back").click().run()
    assert _side_of_the_tuned(app) == side
    _vote(app, "tie")
    (one,) = read_votes(folder / "labels.csv")
    assert one.preferred == "tie"
    assert _progress(app) == "1 of 4 done"


def test_votes_of_others_are_kept(start: Start, folder: Path) -> None:
    other = Vote("p", NOTES, "note-001", "helpful", "Bo", "base")
    add_votes(folder / "labels.csv", [other])
    _vote(start(person="Ana"), "tie")
    assert read_votes(folder / "labels.csv")[0] == other
    assert len(read_votes(folder / "labels.csv")) == 2


def test_a_vote_that_cannot_be_kept_is_told_and_asked_again(start: Start, folder: Path) -> None:
    app = start(person="Ana")
    (folder / "labels.csv").mkdir()
    _vote(app, "tie")
    assert "labels.csv" in _text(app)
    assert "ek-failed" in _text(app)
    assert _progress(app) == "0 of 4 done"
    (folder / "labels.csv").rmdir()
    _vote(app, "tie")
    assert _progress(app) == "1 of 4 done"
    assert "ek-failed" not in _text(app)


def test_a_damaged_file_of_labels_is_told(start: Start, folder: Path) -> None:
    (folder / "labels.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert "no file of labels" in _text(start(person="Ana"))


def test_answers_that_are_hostile_are_shown_as_text(start: Start) -> None:
    app = start(person="Ana", suite=CHAT, count="8")
    seen = _text(app)
    while "ek-pair" in _text(app):
        _vote(app, "skip")
        seen += _text(app)
    assert seen.count("ek-pair") == 7  # an arm has failed at the eighth
    assert "<script>" not in seen
    assert "&lt;script&gt;" in seen
    assert "(an empty answer)" in seen


def test_a_comparison_without_written_answers_says_so(
    start: Start, folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "runs")
    make_runs(tmp_path / "runs", suites=SUITES[:1])
    assert "can be voted on" in _text(start(person="Ana"))


def test_a_vote_on_other_answers_does_not_count_as_done(start: Start, folder: Path) -> None:
    """The same sample, voted on before the model was trained anew."""
    _vote(start(person="Ana"), "tie")
    (one,) = read_votes(folder / "labels.csv")
    (folder / "labels.csv").unlink()
    add_votes(folder / "labels.csv", [replace(one, id="p0000")])
    assert _progress(start(person="Ana")) == "0 of 4 done"
