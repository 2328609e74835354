"""`evalkit judge try` and `check`, against a judge behind a real server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.judges.attacks import injections
from evalkit.judges.probes import known
from evalkit.judging.checking import make_attacks
from tests.cli.conftest import Bench
from tests.judges.examples import SUITE, make_arms, write_judged
from tests.judges.serving import JudgeServer, serving

FOLDER = "runs/compare/base-vs-tuned"
ASKED = ("--suite", SUITE, "--sample", "s2")
RATIONALE = "The first keeps to the question"


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with serving() as one:
        yield one


@pytest.fixture
def judge(desk: Bench, server: JudgeServer) -> Bench:
    """A base's file that declares a judge with prices, and a comparison of two recorded arms, of
    which the tuned one is better."""
    server.script()
    _write(desk, server)
    arms = make_arms(4, base="Plain {n}, quality 2.", tuned="Lively {n}, quality 7.")
    write_judged(desk.folder / "runs", arms)
    return desk


def _write(desk: Bench, server: JudgeServer, more: str = "", **options: object) -> None:
    """base.yaml, and judge.yaml with the judge alone."""
    model = {"kind": "openai", "model": "judge", "base_url": server.url, "max_retries": 0}
    model |= {"price_in": 2.0, "price_out": 8.0, **options}
    judges = f"- {{kind: model, name: strict, model: {json.dumps(model)}}}\n{more}"
    suites = f"suites: {{{SUITE}: {{rubrics: [helpful]}}}}\n"
    (desk.folder / "judge.yaml").write_text(f"judges:\n{judges}{suites}", encoding="utf-8")
    inner = "".join(f"  {line}\n" for line in f"judges:\n{judges}{suites}".splitlines())
    (desk.folder / "rows.jsonl").write_text('{"id": "s0", "text": "x"}\n', encoding="utf-8")
    (desk.folder / "base.yaml").write_text(
        f"name: base\nmodel: {{kind: recorded, path: rows.jsonl}}\nsuites: [my/capitals]\n"
        f"judge:\n{inner}",
        encoding="utf-8",
    )


def _shows_the_tuned_first(body: dict[str, Any]) -> bool:
    text = body["messages"][-1]["content"]
    return bool(text.index("Lively 2") < text.index("Plain 2"))


def test_try_shows_the_prompt_the_raw_answers_and_how_they_were_read(
    judge: Bench, server: JudgeServer
) -> None:
    said = judge.run("judge", "try", "base.yaml", FOLDER, *ASKED)
    assert said.code == 0, said.err
    # Both are asked at once: the one that was shown is that with the base's answer first.
    bodies = server.calls()["bodies"]
    one, other = sorted(bodies, key=_shows_the_tuned_first)
    # Word for word what the judge got: every line stands in what is printed, whole.
    shown = said.out.split("\n")
    for turn in one["messages"]:
        assert all(f"  {line}".rstrip() in shown for line in turn["content"].split("\n"))
    assert "Lively 2, quality 7." in one["messages"][-1]["content"]
    assert one["messages"] != other["messages"]
    assert said.out.count(RATIONALE) == 2  # as written, in both orders
    first, second = said.out.partition("Base first")[2].split("Tuned first")
    assert "much_worse: a utility of 1.000 for the tuned arm" in first
    assert "much_better: a utility of 1.000 for the tuned arm" in second


def test_try_takes_the_first_judged_sample_where_none_is_named(judge: Bench) -> None:
    said = judge.run("judge", "try", "base.yaml", FOLDER, "--no-ask")
    assert said.code == 0, said.err
    assert re.search(rf"Sample +\S+ of {SUITE}\n", said.out)


def test_try_tells_what_it_cost_and_asks_nothing_twice(judge: Bench, server: JudgeServer) -> None:
    said = judge.run("judge", "try", "base.yaml", FOLDER, *ASKED)
    bodies = server.calls()["bodies"]
    told_in = sum(sum(len(t["content"].encode()) for t in b["messages"]) // 4 for b in bodies)
    (cost,) = [line for line in said.out.splitlines() if line.startswith("Cost")]
    assert f"2 calls; {told_in:,} tokens in" in cost
    told_out = int(cost.partition("tokens in, ")[2].split()[0])
    money = (2.0 * told_in + 8.0 * told_out) / 1e6
    assert f"{money:.4f} in money" in cost
    again = judge.run("judge", "try", "base.yaml", FOLDER, *ASKED)
    assert "0 calls; 0 tokens in, 0 out; 2 answers were stored" in again.out
    assert again.out.count(RATIONALE) == 2
    assert sum(server.calls()["asked"].values()) == 2
    judge.run("judge", "try", "base.yaml", FOLDER, *ASKED, "--fresh")
    assert sum(server.calls()["asked"].values()) == 4


def test_try_takes_two_runs_a_judges_own_file_and_another_rubric(
    judge: Bench, server: JudgeServer
) -> None:
    runs = ("runs/base-0123456789", "runs/tuned-0123456789")
    said = judge.run("judge", "try", "judge.yaml", *runs, *ASKED, "--rubric", "funny")
    assert said.code == 0, said.err
    assert "funny, pairwise" in said.out
    assert "a utility of 1.000" in said.out
    assert len(server.calls()["asked"]) == 2


def test_try_shows_the_prompt_alone_without_asking(judge: Bench, server: JudgeServer) -> None:
    said = judge.run("judge", "try", "base.yaml", FOLDER, *ASKED, "--no-ask")
    assert said.code == 0, said.err
    assert "Lively 2, quality 7." in said.out
    assert "Read as" not in said.out
    assert not server.calls()["asked"]


def test_try_rates_each_arm_where_the_suite_is_rated(judge: Bench) -> None:
    rated = f"suites={{{SUITE}: {{rubrics: [helpful], protocol: pointwise}}}}"
    said = judge.run("judge", "try", "judge.yaml", FOLDER, *ASKED, "--set", rated)
    assert said.code == 0, said.err
    base, tuned = said.out.partition("Of the base's answer")[2].split("Of the tuned's answer")
    # The server gives a rating of 2 (and of 5) three quarters, the next lower one the rest.
    assert "a rating of 1.750" in base
    assert "a rating of 4.750" in tuned


def test_try_shows_what_could_not_be_read(judge: Bench, server: JudgeServer) -> None:
    server.script(faults=[{"kind": "fields", "times": -1}])
    said = judge.run("judge", "try", "base.yaml", FOLDER, *ASKED)
    assert said.code == 0, said.err
    assert '"winner": "somebody"' in said.out
    assert "unparsed: " in said.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--suite", "chat/note", "--sample", "s2"), "Did you mean 'chat/notes'?"),
        (("--suite", SUITE, "--sample", "s22"), "No sample 's22' of chat/notes"),
        ((*ASKED, "--judge", "lax"), "No judge 'lax'."),
        ((*ASKED, "--judge", "crowd"), "Only a judge that is a model can be asked"),
        ((*ASKED, "--rubric", "helpfull"), "Did you mean 'helpful'?"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest(
    judge: Bench, server: JudgeServer, arguments: tuple[str, ...], told: str
) -> None:
    Path("crowd.csv").write_text("id\n", encoding="utf-8")
    _write(judge, server, "- {kind: human, name: crowd, path: crowd.csv}\n")
    said = judge.run("judge", "try", "judge.yaml", FOLDER, *arguments)
    assert (said.code, told in said.err) == (2, True), said.err


def test_a_file_without_a_judge_says_so(judge: Bench) -> None:
    judge.write(
        "none.yaml",
        "name: base\nmodel: {kind: recorded, path: rows.jsonl}\nsuites: [my/capitals]\n",
    )
    said = judge.run("judge", "check", "none.yaml")
    assert (said.code, "none.yaml declares no judge" in said.err) == (2, True)
    said = judge.run("judge", "check", "gone.yaml")
    assert said.code == 2
    judge.write("bad.yaml", "judges: []\nsuite: x\n")
    said = judge.run("judge", "check", "bad.yaml")
    assert (said.code, "bad.yaml:2" in said.err) == (2, True)


def test_check_passes_a_judge_that_reads_and_prefers_no_attack(
    judge: Bench, server: JudgeServer
) -> None:
    """To this server every text is as good as any other but the known bad ones: of attacks it says
    tie, and takes none for the better answer."""
    Path("crowd.csv").write_text("id\n", encoding="utf-8")
    _write(judge, server, "- {kind: human, name: crowd, path: crowd.csv}\n")
    said = judge.run("judge", "check", "base.yaml", "--json")
    assert said.code == 0, said.err
    strict, crowd = json.loads(said.out)["judges"]
    assert crowd["skipped"] == "people are not asked by a program"
    assert strict["passed"] is True
    assert strict["probes"]["passed"] == len(known("en")) + len(known("zh"))
    assert strict["attacks"] == len(injections()) >= 40
    assert (strict["turned"], strict["missing"]) == ({}, 0)
    assert strict["spent"]["calls"] == sum(server.calls()["asked"].values())
    table = judge.run("judge", "check", "base.yaml")
    assert "crowd: not asked: people are not asked by a program" in table.out
    assert "0 calls" in table.out  # all of it is stored


def test_check_names_the_attacks_that_turned_a_judge(judge: Bench, server: JudgeServer) -> None:
    """A judge that always takes the longer text is turned by exactly the attacks that are longer
    than the answers they are put against."""
    server.script(longer=1.0)
    longer = {
        one.injection.id
        for one in make_attacks()
        if len(one.injection.text)
        > len((one.matter.base if one.attacker == "tuned" else one.matter.tuned)[0])
    }
    said = judge.run("judge", "check", "base.yaml", "--json", "--fresh")
    assert said.code == 1
    (strict,) = json.loads(said.out)["judges"]
    turned = {one for ids in strict["turned"].values() for one in ids}
    assert 0 < len(longer) < strict["attacks"]
    # What is shown is a little other than what was written: hidden characters are gone.
    assert len(turned ^ longer) <= 4
    table = judge.run("judge", "check", "base.yaml")
    assert table.code == 1
    assert all(name in " ".join(table.out.split()) for name in turned)


@pytest.mark.slow
def test_check_fails_a_judge_that_goes_by_the_place(judge: Bench, server: JudgeServer) -> None:
    """It fails the probes in both orders; no attack turns it, for it always contradicts itself."""
    server.script(first=1.0)
    said = judge.run("judge", "check", "base.yaml", "--json")
    assert said.code == 1
    (strict,) = json.loads(said.out)["judges"]
    assert strict["probes"]["passed"] == 0
    assert "fails the known-answer probes" in strict["probes"]["failed"]
    assert (strict["turned"], strict["shaken"]) == ({}, strict["attacks"])


@pytest.mark.slow
def test_check_fails_a_judge_that_will_not_say(judge: Bench, server: JudgeServer) -> None:
    server.script(faults=[{"kind": "refuse", "share": 0.5, "times": -1}])
    said = judge.run("judge", "check", "base.yaml", "--json")
    assert said.code == 1
    (strict,) = json.loads(said.out)["judges"]
    assert strict["missing"] > 0.05 * strict["attacks"]
    assert strict["passed"] is False


def test_try_shows_what_a_local_judge_is_scored_on(
    desk: Bench, models: Path, tmp_path: Path
) -> None:
    """A judge that writes nothing: its verdict is the options' log-likelihoods."""
    write_judged(desk.folder / "runs", make_arms(4))
    folder = tmp_path / "local"
    shutil.copytree(models / "model", folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["max_position_embeddings"] = 16_384  # enough for a whole question
    (folder / "config.json").write_text(json.dumps(settings))
    model = {"kind": "hf", "path": str(folder), "dtype": "float32", "device": "cpu"}
    desk.write("judge.yaml", f"judges:\n- {{name: local, model: {json.dumps(model)}}}\n")
    said = desk.run("judge", "try", "judge.yaml", FOLDER, *ASKED, "--rubric", "helpful")
    assert said.code == 0, said.err
    assert "A, B, C: each is scored as what comes next" in said.out
    first, second = said.out.partition("Base first")[2].split("Tuned first")
    for told in (first, second):
        assert "as written" not in told
        found = re.search(r"Read as +(better|tie|worse): a utility of (0\.\d+) for", told)
        assert found, told
        assert 0 < float(found[2]) < 1
    assert "2 calls" in said.out
