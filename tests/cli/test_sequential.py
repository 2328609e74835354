"""`compare --sequential` from the command line, on models whose answers were recorded."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.stats.sequential import ConfidenceSequence
from evalkit.store.runs import read_run
from reports.summary import summarise
from tests.cli import conftest
from tests.cli.conftest import Bench, Said

SUITE = "my/letters"
SAMPLES = 400
Rates = tuple[float, float]


def write_suite(desk: Bench, name: str = SUITE, rows: int = SAMPLES, **told: str) -> None:
    """A suite of questions whose right answer is always "yes"."""
    given = {
        "title": "Letters", "version": "1", "language": "en", "license": "Apache-2.0",
        "source": "a test", "task": "generate", "prompt": "'Say {id}'", "scorers": "[exact_match]",
        "slices": "[topic]", **told,
    }  # fmt: skip
    lines = "".join(f"{key}: {value}\n" for key, value in given.items())
    desk.write(f"suites/{name}/suite.yaml", lines)
    samples = [
        {"id": f"q{n}", "target": "yes", "topic": ("even", "odd")[n % 2], "passage": f"p{n // 4}"}
        for n in range(rows)
    ]
    desk.write(f"suites/{name}/samples.jsonl", "".join(json.dumps(s) + "\n" for s in samples))


def write_arm(desk: Bench, name: str, right: Callable[[int], bool], more: str = "") -> None:
    """A recorded arm that is right on some of the samples."""
    rows = [{"id": f"q{n}", "text": "yes" if right(n) else f"no, {name}"} for n in range(SAMPLES)]
    desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    desk.write(
        f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n{more}"
    )


def draws(seed: int, rate: float) -> Callable[[int], bool]:
    """A coin for each sample."""
    rng = random.Random(seed)
    coins = [rng.random() < rate for _ in range(SAMPLES)]
    return coins.__getitem__


BASE = f"suites: [{SUITE}]\ngate: {{margin: 0.1}}\n"


@pytest.fixture
def letters(desk: Bench) -> Bench:
    """A base that is right seven times in ten."""
    write_suite(desk)
    write_arm(desk, "base", draws(1, 0.7), BASE)
    return desk


def compared(desk: Bench, *more: str) -> tuple[Said, dict[str, Any]]:
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--json", *more)
    return said, json.loads(said.out) if said.out else {}


def gated(document: Mapping[str, Any], arm: int = 0) -> dict[str, Any]:
    delta: dict[str, Any] = document["arms"][arm]["suites"][0]["delta"]
    return delta


@pytest.mark.parametrize(
    ("rate", "seed", "code"), [(0.2, 2, 1), (0.97, 2, 0)], ids=["clearly worse", "clearly better"]
)
def test_what_is_clear_is_settled_after_a_few_samples(
    letters: Bench, rate: float, seed: int, code: int
) -> None:
    write_arm(letters, "tuned", draws(seed, rate))
    said, document = compared(letters)
    delta = gated(document)
    assert (said.code, document["exit_code"]) == (code, code), said.err
    assert delta["interval"] == "sequence"
    assert (delta["planned"], delta["n"] < 160) == (SAMPLES, True)
    assert "settled after" in said.err
    saved = document["saved"]
    assert saved["samples"] == SAMPLES - delta["n"]
    assert (saved["planned_samples"], saved["planned_requests"]) == (SAMPLES, 2 * SAMPLES)
    assert saved["requests"] == 2 * saved["samples"]


def test_what_cannot_be_settled_is_asked_to_the_end_and_stays_open(letters: Bench) -> None:
    right = draws(1, 0.7)
    write_arm(letters, "tuned", lambda n: right(n) if n % 5 else draws(3, 0.3)(n))
    said, document = compared(letters, "--set", "gate.margin=0.08")
    delta = gated(document)
    assert (said.code, delta["n"], document["saved"]["samples"]) == (3, SAMPLES, 0)
    assert delta["interval"] == "sequence"


def test_no_interval_for_a_fixed_number_is_shown_anywhere(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    formats = ("--format", "html,json,markdown,csv,junit")
    said = letters.run("compare", "base.yaml", "tuned.yaml", "--sequential", *formats)
    assert said.code == 1
    (folder,) = (letters.folder / "runs" / "compare").iterdir()
    document = json.loads((folder / "report.json").read_text())
    for delta in document["arms"][0]["deltas"]:
        assert delta["interval"] == "sequence"
        assert (delta["p_value"], delta["boot_low"], delta["boot_high"]) == (None, None, None)
        assert "Tango" not in delta["method"]
        for hidden in ("standard_error", "tuned_error", "skewness", "tuned_skewness"):
            assert delta[hidden] is None
    with (folder / "deltas.csv").open(encoding="utf-8", newline="") as table:
        assert {row["standard_error"] for row in csv.DictReader(table)} == {""}
    delta = gated(document)
    for file in ("report.html", "report.md", "junit.xml"):
        text = (folder / file).read_text(encoding="utf-8")
        assert f"{delta['n']} of 400" in text, file
        assert f"{delta['high']:+.3f}".replace("-", "−") in text, file
        assert "Tango" not in text
        assert "McNemar" not in text
    assert f"left after {delta['n']} of 400 samples: {400 - delta['n']} saved" in " ".join(
        said.out.split()
    )
    assert f"{400 - delta['n']} of 400 samples and {800 - 2 * delta['n']} of 800 requests" in (
        " ".join(said.out.split())
    )


def test_the_interval_is_that_of_the_sequence_over_the_samples_in_their_order(
    letters: Bench,
) -> None:
    base, tuned = draws(1, 0.7), draws(2, 0.3)
    write_arm(letters, "tuned", tuned)
    delta = gated(compared(letters)[1])
    order = sorted(range(SAMPLES), key=lambda n: hashlib.sha256(f"0\0\0q{n}".encode()).digest())
    asked = order[: delta["n"]]
    differences = [float(tuned(n)) - float(base(n)) for n in asked]
    sequence = ConfidenceSequence(-1.0, 1.0, 0.05, SAMPLES)
    sequence.add(differences)
    (shown,) = sequence.one_sided_at([0.025])
    assert shown is not None
    assert (delta["low"], delta["high"]) == pytest.approx(tuple(shown), abs=1e-8)
    assert delta["difference"] == pytest.approx(sum(differences) / len(asked))


def test_the_order_of_the_file_changes_nothing(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.4))
    first = compared(letters)[1]
    file = letters.folder / "suites" / SUITE / "samples.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    random.Random(5).shuffle(lines)
    file.write_text("".join(lines))
    assert gated(compared(letters)[1]) == gated(first)


def test_a_stopped_run_never_takes_the_folder_of_a_whole_one(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.2))
    write_arm(letters, "other", draws(4, 0.7))
    _, stopped = compared(letters)
    whole = json.loads(letters.run("compare", "base.yaml", "tuned.yaml", "--json").out)
    both = letters.run("compare", "base.yaml", "tuned.yaml", "other.yaml", "--sequential", "--json")
    ids = [one["base"]["run_id"] for one in (stopped, whole, json.loads(both.out))]
    assert len(set(ids)) == 3
    assert gated(whole)["n"] == SAMPLES
    assert (gated(whole)["interval"], whole["saved"]) == ("tango", None)


def test_a_suite_is_asked_until_it_is_settled_for_every_arm(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.2))
    write_arm(letters, "other", draws(4, 0.75))
    said = letters.run("compare", "base.yaml", "tuned.yaml", "other.yaml", "--sequential", "--json")
    document = json.loads(said.out)
    first, second = gated(document, 0), gated(document, 1)
    assert first["n"] == second["n"] > gated(compared(letters)[1])["n"]


def test_a_stopped_run_is_gated_again_by_its_sequence(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    _, document = compared(letters)
    base, tuned = document["base"]["path"], document["arms"][0]["path"]
    (folder,) = (letters.folder / "runs" / "compare").iterdir()
    for paths in ((str(folder),), (base, tuned)):
        said = letters.run("gate", *paths, "--json")
        again = json.loads(said.out)
        assert (said.code, gated(again)) == (1, gated(document))
        assert again["arms"][0]["unpaired"] == {}
        assert again["saved"] == document["saved"]
    loose = letters.run("gate", base, tuned, "--set", "margin=0.9", "--json")
    assert (loose.code, gated(json.loads(loose.out))["interval"]) == (0, "sequence")
    # The bounds say as much as they say at this alpha: the margin at the upper one is open.
    edge = json.loads(loose.out)["arms"][0]["suites"][0]["delta"]
    high = next(tail["high"] for tail in edge["tails"] if tail["alpha"] == 0.05)
    for margin, code in ((-high + 0.01, 3), (-high - 0.01, 1)):
        assert letters.run("gate", base, tuned, "--set", f"margin={margin}").code == code


def test_a_stopped_run_against_a_whole_one_is_compared_on_what_both_were_asked(
    letters: Bench,
) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    _, document = compared(letters)
    whole = json.loads(letters.run("compare", "base.yaml", "tuned.yaml", "--json").out)
    said = letters.run("gate", document["base"]["path"], whole["arms"][0]["path"], "--json")
    mixed = json.loads(said.out)
    assert mixed["arms"][0]["unpaired"] == {}
    assert gated(mixed) == gated(document)
    few = json.loads(
        letters.run("compare", "base.yaml", "tuned.yaml", "--limit", "50", "--json").out
    )
    said = letters.run("gate", document["base"]["path"], few["arms"][0]["path"], "--json")
    assert json.loads(said.out)["arms"][0]["unpaired"] != {}
    assert said.code == 1


def test_runs_of_different_seeds_are_not_put_together(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    _, first = compared(letters)
    _, second = compared(letters, "--set", "seed=7")
    said = letters.run("gate", first["base"]["path"], second["arms"][0]["path"])
    assert said.code == 2
    assert "different seeds: 0 and 7" in said.err


def test_one_arm_of_a_stopped_run_has_no_interval_of_its_own(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    _, document = compared(letters)
    rows = summarise(read_run(Path(document["base"]["path"])))
    assert [(row.low, row.high, row.n) for row in rows] == [(None, None, gated(document)["n"])]


def test_a_limit_is_what_was_planned(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.2))
    delta = gated(compared(letters, "--limit", "100")[1])
    assert delta["planned"] == 100
    assert delta["n"] < 100


def test_clusters_are_asked_whole(letters: Bench) -> None:
    write_suite(letters, cluster="passage")
    write_arm(letters, "tuned", draws(2, 0.1))
    said, document = compared(letters)
    delta = gated(document)
    assert said.code == 1
    assert delta["n"] == 4 * delta["clusters"] < SAMPLES
    assert "by cluster" in delta["method"]


def test_a_declared_slice_has_to_be_settled_too(letters: Bench) -> None:
    even = draws(3, 0.7)
    # Better on the whole, and on odd samples; on even ones as often better as worse.
    write_arm(letters, "tuned", lambda n: even(n) if n % 2 == 0 else True)
    plain = gated(compared(letters)[1])["n"]
    more = "--set", 'gate.suites={"my/letters": {"must_not_regress": ["topic=even"]}}'
    said, document = compared(letters, *more)
    assert gated(document)["n"] > plain, said.err


def test_what_has_no_bounds_is_asked_as_a_whole_and_says_so(letters: Bench) -> None:
    write_suite(letters, scorers="[diversity, {name: memorisation, training: t.jsonl}]")
    letters.write(f"suites/{SUITE}/t.jsonl", '{"text": "yes"}\n')
    gate = "gate: {suites: {my/letters: {metric: longest_overlap, margin: 1}}}\n"
    write_arm(letters, "base", draws(1, 0.7), f"suites: [{SUITE}]\n{gate}")
    write_arm(letters, "tuned", draws(2, 0.2))
    said, document = compared(letters)
    assert "asked as a whole: the scores of longest_overlap have no bounds" in said.err
    assert (gated(document)["n"], gated(document)["planned"]) == (SAMPLES, None)
    assert gated(document)["interval"] == "t"


def test_a_dry_run_tells_the_looks_and_the_most_it_can_cost(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.2))
    said = letters.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--dry-run")
    assert "looked at after 32, 80, 152, 260, 400 samples" in " ".join(said.out.split())
    assert not (letters.folder / "runs").exists()
    said = letters.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--dry-run", "--json")
    document = json.loads(said.out)
    assert document["sequential"] == [
        {"suite": SUITE, "blocks": [32, 48, 72, 108, 140], "whole": ""}
    ]
    assert [one["requests"] for one in document["engines"]] == [2 * SAMPLES]


def test_two_local_models_without_a_common_base_are_refused(bench: Bench) -> None:
    text = (bench.folder / "base.yaml").read_text()
    bench.write("tuned.yaml", text.partition("suites")[0].replace("name: base", "name: tuned"))
    bench.write("tuned.yaml", (bench.folder / "tuned.yaml").read_text().replace("32", "16"))
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--dry-run")
    assert said.code == 2
    assert "do not share one base: base; tuned" in said.err


def test_adapters_of_one_base_are_asked_in_turns(bench: Bench) -> None:
    conftest.write_suite(bench, f"suites/{conftest.SUITE}", rows=60)
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--json")
    document = json.loads(said.out)
    assert said.code == document["exit_code"]
    assert (gated(document)["planned"], gated(document)["interval"]) == (60, "sequence")


def test_a_dry_run_and_power_tell_what_a_sequence_can_decide(letters: Bench) -> None:
    write_arm(letters, "tuned", draws(2, 0.3))
    command = ("compare", "base.yaml", "tuned.yaml", "--dry-run", "--json")
    (early,) = json.loads(letters.run(*command, "--sequential").out)["gate"]["suites"]
    (whole,) = json.loads(letters.run(*command).out)["gate"]["suites"]
    assert (early["sequential"], whole["sequential"]) == (True, False)
    assert early["samples_needed"] > 1.6 * whole["samples_needed"]
    assert early["detectable"] > 1.2 * whole["detectable"]
    (told,) = json.loads(letters.run("power", "base.yaml", "--sequential", "--json").out)["suites"]
    assert told == early
    said = letters.run("power", "base.yaml", "--sequential")
    assert "looked at after every block" in " ".join(said.out.split())
