"""`compare` with a judge from the command line: recorded arms, and recorded or scripted judges."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.store.judgements import read_judgements
from evalkit.store.runs import read_run
from tests.cli.conftest import Bench, Said, started
from tests.judges.serving import JudgeServer, serving

SUITE = "my/notes"
SAMPLES = 60
GATE = (
    f"gate: {{suites: {{{SUITE}: {{metric: judge.helpful, policy: superiority, margin: 0.1}}}}}}\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with serving() as running:
        yield running


@pytest.fixture
def notes(desk: Bench) -> Bench:
    """A suite whose answers a judge may judge, and two arms whose answers tell their quality."""
    desk.write(
        f"suites/{SUITE}/suite.yaml",
        "title: Notes\nlanguage: en\nlicense: Apache-2.0\nsource: a test\ntask: generate\n"
        "prompt: '{prompt}'\nscorers: [exact_match]\nslices: [topic]\n"
        "judge: {rubrics: [helpful]}\n",
    )
    rows = [
        {
            "id": f"q{n}",
            "prompt": f"Tell me about thing {n}.",
            "target": "yes",
            "topic": "ab"[n % 2],
        }
        for n in range(SAMPLES)
    ]
    desk.write(f"suites/{SUITE}/samples.jsonl", lines(rows))
    write_arm(desk, "base", lambda n: f"Thing {n} is there, of quality 4.")
    write_arm(desk, "tuned", lambda n: f"Thing {n} is here, of quality {6 if n % 6 else 2}.")
    return desk


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_arm(desk: Bench, name: str, text: Callable[[int], str]) -> None:
    desk.write(f"{name}.jsonl", lines([{"id": f"q{n}", "text": text(n)} for n in range(SAMPLES)]))
    desk.write(f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n")


def write_base(desk: Bench, judge: str, gate: str = GATE) -> None:
    """The base's file, with a judge (a YAML mapping in one line)."""
    desk.write(
        "base.yaml",
        "name: base\nmodel: {kind: recorded, path: base.jsonl}\n"
        f"suites: [{SUITE}]\n{gate}" + (f"judge: {judge}\n" if judge else ""),
    )


RECORDED = "{kind: recorded, name: saved, path: said.jsonl}"


def record(desk: Bench, words: Sequence[str | None]) -> None:
    """What the recorded judge says of each sample, the same in both orders; None: it refuses."""
    orders = ("base_first", "tuned_first")
    desk.write(
        "said.jsonl",
        lines(
            [
                {"id": f"q{n}", "order": order}
                | ({"preference": word} if word else {"status": "refused"})
                for n, word in enumerate(words)
                for order in orders
            ]
        ),
    )


MOSTLY_TUNED = ["tuned"] * 45 + ["tie"] * 5 + ["base"] * 10


def compared(desk: Bench, *more: str) -> tuple[Said, dict[str, Any]]:
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--json", *more)
    return said, json.loads(said.out) if said.out else {}


def delta_of(document: Mapping[str, Any], metric: str = "judge.helpful") -> dict[str, Any]:
    (found,) = [
        one for one in document["arms"][0]["deltas"] if one["metric"] == metric and not one["slice"]
    ]
    return dict(found)


def folder_of(desk: Bench) -> Path:
    (folder,) = (desk.folder / "runs" / "compare").iterdir()
    return folder


def test_a_recorded_judge_decides_and_everything_is_kept(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, document = compared(notes)
    assert said.code == 0, said.err + said.out
    delta = delta_of(document)
    rate = (45 + 5 / 2) / 60
    assert delta["tuned"] == pytest.approx(rate)
    assert delta["difference"] == pytest.approx(2 * rate - 1)
    assert (delta["n"], delta["missing"]) == (60, 0)
    folder = folder_of(notes)
    judgements = read_judgements(folder)
    assert len(judgements) == 2 * SAMPLES
    (comparison,) = json.loads((folder / "comparison.json").read_text())["comparisons"]
    (judging,) = comparison["judgings"]
    assert (judging["metric"], judging["file"]) == ("judge.helpful", "judgements.jsonl")
    assert judging["judges"][0]["win_rate"]["value"] == pytest.approx(rate)
    assert (folder / "judgements.jsonl").stat().st_mtime_ns <= (
        folder / "comparison.json"
    ).stat().st_mtime_ns


def test_the_slices_of_a_suite_gated_by_a_judge_are_judged(notes: Bench) -> None:
    record(notes, ["tuned" if n % 2 else "base" for n in range(SAMPLES)])
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    _, document = compared(notes)
    slices = {
        one["slice"]: one["difference"]
        for one in document["arms"][0]["deltas"]
        if one["metric"] == "judge.helpful" and one["slice"]
    }
    assert slices == {"topic=a": -1.0, "topic=b": 1.0}


def test_a_base_that_is_preferred_fails_the_gate(notes: Bench) -> None:
    turned = {"tuned": "base", "base": "tuned", "tie": "tie"}
    record(notes, [turned[word] for word in MOSTLY_TUNED])
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, document = compared(notes)
    assert (said.code, document["verdict"]) == (1, "fail")


def test_a_folder_is_gated_and_reported_again_without_the_judge(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    compared(notes)
    (notes.folder / "said.jsonl").unlink()
    folder = str(folder_of(notes))
    assert notes.run("gate", folder).code == 0
    harder = notes.run("gate", folder, "--set", f"suites.{SUITE}.margin=0.95")
    assert harder.code == 1
    assert notes.run("report", folder, "--format", "markdown").code == 0


def test_runs_alone_say_that_judged_numbers_are_in_the_comparison(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    compared(notes)
    runs = [str(next((notes.folder / "runs").glob(f"{arm}-*"))) for arm in ("base", "tuned")]
    said = notes.run("gate", *runs)
    assert said.code == 2
    assert "comparison's folder" in said.err
    own = notes.run("gate", *runs, "--set", f"suites.{SUITE}.metric=exact_match")
    assert own.code in (0, 1, 3), own.err


def test_a_judge_makes_no_other_runs(notes: Bench) -> None:
    """A base's run serves many comparisons, whoever judges."""
    record(notes, MOSTLY_TUNED)
    write_base(notes, "", gate="")
    assert notes.run("compare", "base.yaml", "tuned.yaml", "-q").code in (0, 1, 3)
    before = {one.name for one in (notes.folder / "runs").glob("*-*")}
    write_base(notes, f"{{judges: [{RECORDED}]}}", gate="")
    assert notes.run("compare", "base.yaml", "tuned.yaml", "-q").code in (0, 1, 3)
    assert {one.name for one in (notes.folder / "runs").glob("*-*")} == before
    assert len(list((notes.folder / "runs" / "compare").iterdir())) == 2
    for folder in (notes.folder / "runs").glob("*-*"):
        (info,) = read_run(folder).manifest.suites
        assert (info.rubrics, [one.name for one in info.metrics]) == ((), ["exact_match"])


def test_without_a_judge_it_is_said_once_that_there_could_be_one(notes: Bench) -> None:
    write_base(notes, "", gate="")
    said = notes.run("compare", "base.yaml", "tuned.yaml")
    assert said.err.count("is not judged") == 1
    write_base(notes, f"{{judges: [{RECORDED}]}}", gate="")
    record(notes, MOSTLY_TUNED)
    assert "is not judged" not in notes.run("compare", "base.yaml", "tuned.yaml", "--no-judge").err


def test_no_judge_is_refused_where_the_gate_goes_by_one(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, _ = compared(notes, "--no-judge")
    assert said.code == 2
    assert "judge.helpful" in said.err
    assert "--no-judge" in said.err


def test_run_lets_a_judged_gate_stand(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    assert notes.run("run", "base.yaml").code == 0


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        (f"{{judges: [{RECORDED}], suites: {{my/note: {{}}}}}}", "Did you mean 'my/notes'"),
        (
            f"{{judges: [{RECORDED}], suites: {{{SUITE}: {{rubrics: [helpfull]}}}}}}",
            "Did you mean 'helpful'",
        ),
        ("{judges: [{kind: recorded, name: saved, path: sad.jsonl}]}", "judge.judges[0].path"),
    ],
)
def test_mistakes_are_told_before_anything_is_evaluated(
    notes: Bench, judge: str, told: str
) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, judge)
    said, _ = compared(notes)
    assert said.code == 2
    assert told in said.err
    assert not (notes.folder / "runs").exists()


def test_a_broken_recording_is_told_before_anything_is_evaluated(notes: Bench) -> None:
    notes.write("said.jsonl", '{"id": "q0", "preference": "left"}\n')
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, _ = compared(notes)
    assert said.code == 2
    assert "said.jsonl:1" in said.err
    assert not (notes.folder / "runs").exists()


def test_what_was_recorded_of_one_arm_is_not_taken_for_another(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    assert compared(notes)[0].code == 0
    (folder_of(notes) / "judgements.jsonl").rename(notes.folder / "said.jsonl")
    write_arm(notes, "bad", lambda n: f"Thing {n}? No.")
    said = notes.run("compare", "base.yaml", "tuned.yaml", "bad.yaml", "--json")
    assert said.code == 1, said.err
    assert "bad: saved: of 60 samples" in said.err
    arms = json.loads(said.out)["arms"]
    (good, bad) = (
        next(one for one in arm["deltas"] if one["metric"] == "judge.helpful") for arm in arms
    )
    assert (good["n"], bad["n"], bad["missing"]) == (60, 0, 60)
    assert [arm["suites"][0]["verdict"] for arm in arms] == ["pass", "fail"]


def test_rows_that_tell_no_arm_are_refused_before_several_are_evaluated(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    write_arm(notes, "bad", lambda n: f"Thing {n}? No.")
    said = notes.run("compare", "base.yaml", "tuned.yaml", "bad.yaml")
    assert said.code == 2
    assert "said.jsonl:1: several tuned arms" in said.err
    assert not (notes.folder / "runs").exists()


def test_more_refusals_than_allowed_fail_the_gate(notes: Bench) -> None:
    record(notes, [*[None] * 4, *MOSTLY_TUNED[4:]])  # 6.7 % of 60
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, document = compared(notes)
    assert said.code == 1
    (suite,) = document["arms"][0]["suites"]
    assert "judge.max_missing" in suite["reason"]
    write_base(notes, f"{{judges: [{RECORDED}], max_missing: 0.07}}")
    said, document = compared(notes)
    assert said.code == 0, said.err
    assert delta_of(document)["missing"] == 4


def test_a_limit_judges_a_part_and_the_rest_is_not_missing(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}], suites: {{{SUITE}: {{limit: 40}}}}}}")
    said, document = compared(notes)
    assert said.code in (0, 3), said.err
    delta = delta_of(document)
    assert (delta["n"], delta["missing"]) == (40, 0)


def test_suites_left_out_on_the_command_line_are_not_judged(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    text = (notes.folder / f"suites/{SUITE}/suite.yaml").read_text()
    notes.write("suites/my/plain/suite.yaml", text.replace("judge: {rubrics: [helpful]}\n", ""))
    rows = (notes.folder / f"suites/{SUITE}/samples.jsonl").read_text()
    notes.write("suites/my/plain/samples.jsonl", rows)
    notes.write(
        "base.yaml",
        "name: base\nmodel: {kind: recorded, path: base.jsonl}\n"
        f"suites: [{SUITE}, my/plain]\n{GATE}"
        f"judge: {{judges: [{RECORDED}], suites: {{{SUITE}: {{}}}}}}\n",
    )
    said, document = compared(notes, "--suites", "my/plain")
    assert said.code in (0, 1, 3), said.err
    assert {one["metric"] for one in document["arms"][0]["deltas"]} == {"exact_match"}


def test_a_suite_gated_by_a_judge_is_asked_as_a_whole_by_sequential(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    said, document = compared(notes, "--sequential")
    assert said.code == 0, said.err
    assert "a judge decides, who is asked once all answers are there" in said.err
    assert delta_of(document)["n"] == SAMPLES
    assert delta_of(document)["interval"] == "t"


def scripted(server: JudgeServer, **options: Any) -> str:
    """A judge on the scripted server, as YAML."""
    model = {"kind": "openai", "model": "judge", "base_url": server.url, "max_retries": 1,
             "timeout": 20, **options}  # fmt: skip
    return json.dumps({"kind": "model", "name": "scripted", "model": model})


@pytest.fixture
def asked(
    notes: Bench, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Bench]:
    """The bench with a judge that is asked over HTTP."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-written")

    def ready(script: Mapping[str, Any] | None = None, more: str = "", **options: Any) -> Bench:
        server.script(**(script or {}))
        write_base(notes, f"{{judges: [{scripted(server, **options)}]{more}}}")
        return notes

    return ready


def test_a_judge_is_asked_in_both_orders_and_each_call_is_paid_once(
    asked: Callable[..., Bench], server: JudgeServer
) -> None:
    bench = asked()
    said, document = compared(bench)
    assert said.code == 0, said.err
    assert delta_of(document)["tuned"] == pytest.approx(50 / 60)
    calls = server.calls()["answered"]
    assert set(calls.values()) == {1}
    assert len(calls) >= 2 * SAMPLES
    again, same = compared(bench)
    assert again.code == 0
    assert server.calls()["answered"] == calls
    assert delta_of(same) == delta_of(document)
    kept = [one for one in bench.folder.rglob("*") if one.is_file()]
    assert not [one for one in kept if b"sk-never-written" in one.read_bytes()]


def test_a_judge_that_goes_by_the_place_fails_the_gate(asked: Callable[..., Bench]) -> None:
    bench = asked({"first": 0.9}, ", probes: warn")
    said, document = compared(bench)
    assert said.code == 1
    checks = [one for one in document["arms"][0]["checks"] if one["status"] == "failed"]
    assert any(one["message"].startswith("judge results not trustworthy: ") for one in checks)


def test_a_judge_that_fails_the_probes_is_refused(asked: Callable[..., Bench]) -> None:
    said, _ = compared(asked({"first": 1.0}))
    assert said.code == 4, said.err
    assert "probe" in said.err


def test_a_budget_ends_cleanly_and_what_was_not_asked_is_missing(
    asked: Callable[..., Bench],
) -> None:
    bench = asked(more=", budget: {calls: 60}, probes: skip")
    said, document = compared(bench)
    assert said.code == 1
    assert "budget" in said.err
    delta = delta_of(document)
    assert (delta["n"], delta["missing"]) == (30, 30)
    (comparison,) = json.loads((folder_of(bench) / "comparison.json").read_text())["comparisons"]
    (health,) = comparison["judgings"][0]["judges"]
    assert health["missing"] == {"unasked": 30}


def test_several_arms_are_each_judged_against_the_base(
    asked: Callable[..., Bench], notes: Bench
) -> None:
    bench = asked()
    write_arm(notes, "worse", lambda n: f"Thing {n} was there, of quality 1.")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "worse.yaml", "--json")
    assert said.code == 1, said.err
    arms = json.loads(said.out)["arms"]
    rates = [
        next(d["tuned"] for d in arm["deltas"] if d["metric"] == "judge.helpful") for arm in arms
    ]
    assert rates == [pytest.approx(50 / 60), 0.0]
    names = {one.name for one in folder_of(bench).glob("judgements*")}
    assert names == {"judgements-tuned.jsonl", "judgements-worse.jsonl"}


@pytest.mark.parametrize("budget", ["tokens: 30000", "money: 0.03"])
def test_several_arms_share_one_budget_where_no_usage_is_told(
    asked: Callable[..., Bench], server: JudgeServer, budget: str
) -> None:
    bench = asked({"usage": False}, f", budget: {{{budget}}}, probes: skip",
                  price_in=1.0, price_out=1.0)  # fmt: skip
    write_arm(bench, "worse", lambda n: f"Thing {n} was there, of quality 1.")
    said = bench.run("compare", "base.yaml", "tuned.yaml", "worse.yaml", "--json")
    assert said.code == 1, said.err
    kept = {
        arm: [one.status for one in read_judgements(folder_of(bench) / f"judgements-{arm}.jsonl")]
        for arm in ("tuned", "worse")
    }
    judged = kept["tuned"].count("judged")
    assert 0 < judged < 2 * SAMPLES
    assert set(kept["worse"]) == {"unasked"}
    # Of each call at least what it may write is counted, and there are no more than that pays.
    assert sum(server.calls()["answered"].values()) == judged <= 30_000 // 768


def test_a_dry_run_tells_calls_tokens_and_money(
    asked: Callable[..., Bench], server: JudgeServer
) -> None:
    bench = asked(price_in=1.0, price_out=2.0)
    said, document = compared(bench, "--dry-run")
    assert said.code == 0, said.err
    (judge,) = document["judges"]
    assert (judge["arm"], judge["judge"], judge["stored"]) == ("tuned", "scripted", 0)
    assert judge["calls"] >= 2 * SAMPLES
    expected = (judge["tokens_in"] + 2 * judge["tokens_out"]) / 1e6
    assert judge["cost"] == pytest.approx(expected)
    assert not server.calls()["asked"]
    shown = bench.run("compare", "base.yaml", "tuned.yaml", "--dry-run")
    assert "Judge" in shown.out
    assert f"{judge['calls']:,} calls" in shown.out
    compared(bench)
    _, document = compared(bench, "--dry-run")
    (after,) = document["judges"]
    assert after["stored"] == after["calls"]
    assert after["cost"] == 0.0
    write_arm(bench, "worse", lambda n: f"Thing {n} was there, of quality 1.")
    several = ("compare", "base.yaml", "tuned.yaml", "worse.yaml", "--json", "--dry-run")
    first, second = json.loads(bench.run(*several, "--fresh").out)["judges"]
    assert (first["calls"], first["stored"]) == (judge["calls"], 0)
    assert first["cost"] > 0
    assert (second["calls"], second["stored"]) == (2 * SAMPLES, 0)  # the probes were the first's


def test_a_key_that_is_not_there_is_told_before_anything_is_evaluated(
    asked: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = asked(api_key_env="NO_SUCH_KEY", base_url="https://api.example.com/v1")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    said, _ = compared(bench)
    assert said.code in (2, 4)
    assert "NO_SUCH_KEY" in said.err
    assert not list((bench.folder / "runs").glob("base-*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_killed_judging_goes_on_where_it_stopped(
    asked: Callable[..., Bench], server: JudgeServer, number: signal.Signals
) -> None:
    """The server answers 60 calls and holds the others: at that point the process is stopped."""
    bench = asked({"closed": 60}, ", probes: skip", concurrency=4)
    process = started(
        bench, "compare", "base.yaml", "tuned.yaml", "--quiet", "-o", "runs",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while sum(server.calls()["answered"].values()) < 60:
        assert time.monotonic() < deadline, "the judge was not asked"
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(0.5)  # what was answered is on its way to the store
    process.send_signal(number)
    code = process.wait(timeout=60)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not list((bench.folder / "runs").glob("compare/*/comparison.json"))
    server.let_go()
    said, document = compared(bench)
    assert said.code == 0, said.err
    assert (delta_of(document)["n"], delta_of(document)["missing"]) == (SAMPLES, 0)
    counts = server.calls()["answered"]
    assert len(counts) == 2 * SAMPLES
    assert sum(counts.values()) <= 2 * SAMPLES + 4  # those under way were lost with their caller


def label(desk: Bench, prefers: Callable[[int], bool]) -> None:
    """40 blind labels in labels.csv; a person prefers the tuned answer where told so."""
    sheet = desk.folder / "sheet.csv"
    folder = str(folder_of(desk))
    said = desk.run("judge", "labels", "export", folder, "-o", str(sheet), "--n", "40")
    assert said.code == 0, said.err
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        side = {"left": "right", "right": "left"}
        tuned = next(one for one in side if "is here" in row[one])
        row["choice"] = tuned if prefers(number) else side[tuned]
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = desk.run("judge", "labels", "import", str(sheet), folder, "-o", "labels.csv",
                    "--person", "Ana")  # fmt: skip
    assert said.code == 0, said.err


def test_people_can_overrule_a_judge_where_the_corrected_number_is_demanded(
    notes: Bench,
) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    assert compared(notes)[0].code == 0
    label(notes, lambda number: number % 5 == 0)  # 8 of 40, where the judge says 83 of 100
    write_base(notes, f"{{judges: [{RECORDED}], labels: labels.csv}}")
    said, document = compared(notes)
    assert said.code == 0, said.err
    right = delta_of(document, "judge.helpful.corrected")
    assert (right["n"], right["interval"]) == (40, "corrected")
    assert right["tuned"] < 0.4 < delta_of(document)["tuned"]
    write_base(notes, f"{{judges: [{RECORDED}], labels: labels.csv, demand: corrected}}")
    said, document = compared(notes)
    assert said.code == 1, said.err
    (suite,) = document["arms"][0]["suites"]
    assert suite["delta"]["metric"] == "judge.helpful.corrected"
    assert suite["verdict"] == "fail"


def test_labels_of_other_answers_are_not_used_and_leave_it_open(notes: Bench) -> None:
    record(notes, MOSTLY_TUNED)
    write_base(notes, f"{{judges: [{RECORDED}]}}")
    compared(notes)
    label(notes, lambda number: True)
    write_arm(notes, "tuned", lambda n: f"Thing {n}, trained anew, is here, of quality 9.")
    write_base(notes, f"{{judges: [{RECORDED}], labels: labels.csv, demand: corrected}}")
    said, document = compared(notes)
    assert said.code == 3, said.err
    (suite,) = document["arms"][0]["suites"]
    assert "human labels: too few to correct by" in suite["reason"]


def test_ratings_are_each_arms_own(asked: Callable[..., Bench]) -> None:
    """The server rates by the quality a text claims (4; 6 is cut to 5, and 2), and gives a quarter
    of the probability to the next lower rating."""
    bench = asked(more=", protocol: pointwise")
    base = (bench.folder / "base.yaml").read_text()
    bench.write("base.yaml", base.replace("judge.helpful", "rating.helpful"))
    said, document = compared(bench)
    assert said.code == 0, said.err
    delta = delta_of(document, "rating.helpful")
    assert delta["base"] == pytest.approx(3.75)
    assert delta["tuned"] == pytest.approx((50 * 4.75 + 10 * 1.75) / 60)


def test_a_jury_counts_with_its_mean(notes: Bench) -> None:
    """One judge prefers the tuned arm everywhere, the other on every second sample."""
    record(notes, ["tuned"] * SAMPLES)
    (notes.folder / "said.jsonl").rename(notes.folder / "first.jsonl")
    record(notes, ["tuned" if n % 2 else "base" for n in range(SAMPLES)])
    first = RECORDED.replace("said.jsonl", "first.jsonl").replace("saved", "other")
    write_base(notes, f"{{judges: [{first}, {RECORDED}]}}")
    said, document = compared(notes)
    assert said.code == 0, said.err
    assert delta_of(document)["tuned"] == pytest.approx(0.75)
    (comparison,) = json.loads((folder_of(notes) / "comparison.json").read_text())["comparisons"]
    (judging,) = comparison["judgings"]
    assert [one["judge"] for one in judging["judges"]] == ["other", "saved"]
    assert judging["jury"]["without"] == {"other": 0.5, "saved": 1.0}
