"""The scorer of programs: right, wrong and why, several answers, and rows that could never work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import SuiteError
from evalkit.records import Completion, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.code import scorer as code
from evalkit.scorers.code.sandbox import Outcome, Walls, walls
from tests.scorers.examples import make_scorer, scores, values

HEAD = (
    'from math import gcd\n\n\ndef lcm(a: int, b: int) -> int:\n    """Least common multiple."""\n'
)
TEST = "def check(candidate):\n    assert candidate(4, 6) == 12\n    assert candidate(3, 5) == 15\n"
RIGHT = "    return a * b // gcd(a, b)"

needs_a_sandbox = pytest.mark.skipif(not walls().usable, reason="no sandbox here")


def lcm(**options: Any) -> tuple[Scorer, Sample]:
    """The scorer of a suite with one sample; its prompt is one of the row's fields, too."""
    row = {"prompt": HEAD, "entry_point": "lcm", "test": TEST}
    sample = Sample(id="s1", suite="tests/tiny", prompt=HEAD, fields=row)
    return make_scorer("code", sample, **options), sample


@needs_a_sandbox
@pytest.mark.parametrize(
    ("text", "passed", "extracted", "reason"),
    [
        (RIGHT, 1.0, 1.0, ""),
        (f"```python\ndef lcm(a, b):\n{RIGHT}\n```", 1.0, 1.0, ""),
        ("```python\nimport math\ndef lcm(a, b):\n    return math.lcm(a, b)\n```", 1.0, 1.0, ""),
        ("    return a * b", 0.0, 1.0, "wrong answer: assert candidate(4, 6) == 12"),
        ("    return missing", 0.0, 1.0, "exception: NameError: name 'missing' is not defined"),
        (
            "    return a *",
            0.0,
            1.0,
            "exception: SyntaxError: invalid syntax (solution.py, line 6)",
        ),
        ("    pass", 0.0, 1.0, "wrong answer: assert candidate(4, 6) == 12"),
        ("    raise SystemExit", 0.0, 1.0, "exit: it called exit()"),
        ("    return [0] * 10**12", 0.0, 1.0, "memory: more than 512 MiB"),
        ("I would use the gcd.", 0.0, 0.0, "not extracted"),
        ("", 0.0, 0.0, "not extracted"),
    ],
)
def test_a_program_passes_or_says_why_not(
    text: str, passed: float, extracted: float, reason: str
) -> None:
    found = scores(*lcm(), text)
    assert (found["passed"].value, found["code_extracted"].value) == (passed, extracted)
    assert found["passed"].reason == reason
    (metric,) = [one for one in lcm()[0].metrics if one.name == "code_extracted"]
    assert metric.extraction_of == "passed"


@needs_a_sandbox
def test_its_own_limits_hold() -> None:
    found = scores(*lcm(timeout=1), "    while True:\n        pass")["passed"]
    assert (found.value, found.reason) == (0.0, "timeout: more than 1 s of CPU time")
    found = scores(*lcm(memory=64), "    return bytearray(10**8)")["passed"]
    assert (found.value, found.reason) == (0.0, "memory: more than 64 MiB")


@needs_a_sandbox
def test_several_answers_have_their_mean_and_pass_at_k() -> None:
    found = values(*lcm(pass_at=[1, 2]), RIGHT, "    return 0", "no code", RIGHT)
    assert found == {
        "passed": 0.5,
        "code_extracted": 0.75,
        "pass@1": pytest.approx(0.5),
        "pass@2": pytest.approx(1 - 1 / 6),  # of six pairs one has no right answer
    }


@needs_a_sandbox
def test_many_samples_are_scored_together_in_their_order() -> None:
    samples = [
        Sample(
            id=f"s{n}",
            suite="tests/tiny",
            prompt="",
            fields={"entry_point": "f", "test": f"assert f() == {n}"},
        )
        for n in range(4)
    ]
    scorer = make_scorer("code", *samples, head="")
    assert scorer.score_all is not None
    said = [
        (one, [Completion(key=f"{n}", text=f"f = lambda: {n % 3}", stop_reason="stop")])
        for n, one in enumerate(samples)
    ]
    lost = Completion(key="l", stop_reason="error", error="refused")
    rows = list(scorer.score_all([*said, (samples[0], [lost]), (samples[1], [])]))
    assert [row[0].value for row in rows] == [1.0, 1.0, 1.0, 0.0, None, None]
    assert [row[0].sample_id for row in rows] == ["s0", "s1", "s2", "s3", "s0", "s1"]
    assert rows[4][0].reason == "the model failed: refused"


def test_a_sandbox_that_does_not_work_is_missing_and_not_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evalkit.scorers.code.pool.run", _broken)
    monkeypatch.setattr("evalkit.scorers.code.pool.walls", lambda: Walls(True, True))
    found = scores(*lcm(), RIGHT)
    assert found["passed"].value is None
    assert found["code_extracted"].value is None
    assert found["passed"].reason == "the sandbox did not work: no memory"


def _broken(*_: object, **__: object) -> Outcome:
    return Outcome("unavailable", "no memory")


def test_nothing_is_run_for_answers_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scorers.code.pool.run", None)
    monkeypatch.setattr("evalkit.scorers.code.pool.walls", None)
    assert values(*lcm(), "no code")["passed"] == 0.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"entry_point": "a b"}, "`entry_point` is 'a b', no name of a function"),
        ({"entry_point": "class"}, "`entry_point` is 'class'"),
        ({"entry_point": None}, "`entry_point` is None"),
        ({"test": ""}, "it has no `test`"),
        ({"test": 3}, "it has no `test`"),
        ({"test": "def check(:"}, "`test` is no Python"),
        ({"test": "print(lcm(1, 2))"}, "`test` asserts nothing"),
        ({"prompt": "Write the least common multiple."}, "its 'prompt' is no Python"),
    ],
)
def test_a_row_that_could_never_work_is_refused(fields: dict[str, Any], said: str) -> None:
    row = {"prompt": HEAD, "entry_point": "lcm", "test": TEST, **fields}
    sample = Sample(id="s1", suite="tests/tiny", prompt="?", fields=row)
    with pytest.raises(SuiteError, match=said) as caught:
        make_scorer("code", sample)
    assert "'s1' of suite 'tests/tiny'" in str(caught.value)


@needs_a_sandbox
def test_tests_may_be_a_list_of_asserts_and_the_head_another_field_or_none() -> None:
    row = {"entry_point": "twice", "test": ["assert twice(1) == 2", "assert twice(0) == 0"]}
    for fields, head, text in (
        ({"prompt": "Double it."}, "", "def twice(x):\n    return 2 * x"),
        ({"prompt": "Double it.", "begin": "def twice(x):"}, "begin", "return 2 * x"),
    ):
        sample = Sample(id="s1", suite="tests/tiny", prompt="?", fields={**row, **fields})
        assert values(make_scorer("code", sample, head=head), sample, text)["passed"] == 1.0


def test_the_child_needs_nothing_but_the_standard_library() -> None:
    folder = Path(code.__file__).parent / "child"
    lines = [
        line.split()[1]
        for file in folder.glob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if line.startswith(("import ", "from "))
    ]
    ours = {name for name in lines if name.startswith("evalkit")}
    assert ours <= {"evalkit.scorers.code.child"}
    assert {name.partition(".")[0] for name in set(lines) - ours} <= sys.stdlib_module_names
