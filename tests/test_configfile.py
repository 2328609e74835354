"""Every mistake in a file is reported at once, at its line, in words that help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from evalkit.config import (
    GateConfig,
    HFModel,
    InputPath,
    ModelJudge,
    RecordedModel,
    RunConfig,
    Strict,
)
from evalkit.configfile import apply_overrides, load_arms, load_config
from evalkit.errors import ConfigError

GOOD = """\
name: base
model: {kind: hf, path: org/name}
suites: [style/rednote-en]
"""
TUNED = """\
name: tuned
model: {kind: hf, path: org/name, dtype: float32}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, so that places read as a user sees them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def complaint(*paths: Path, overrides: tuple[str, ...] = ()) -> list[str]:
    """The lines of the error that loading these files raises."""
    with pytest.raises(ConfigError) as caught:
        load_arms(paths, overrides)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_all_mistakes_of_a_file_are_told_at_once_line_by_line() -> None:
    path = write(
        "base.yaml",
        """\
name: a b
model:
  kind: hf
  path: org/name
  adaptor: x
  dtype: flaot32
  concurrency: 3
  max_length: true
suites: [x, 1]
suite: [y]
max_new_tokens: 5
decoding:
  temperature: 9
  max_new_tokens: lots
gate:
  suites:
    style/x: {margin: -1, polcy: superiority}
name: twice
limit: 0
""",
    )
    assert complaint(path) == [
        "14 mistakes:",
        (
            "base.yaml:1: name: use letters, digits, '.', '_' and '-', beginning with a letter or "
            "digit; got 'a b'"
        ),
        "base.yaml:5: model.adaptor: unknown key. Did you mean 'adapter'?",
        (
            "base.yaml:6: model.dtype: expected one of auto, float32, bfloat16, float16, got "
            "'flaot32'. Did you mean 'float32'?"
        ),
        "base.yaml:7: model.concurrency: unknown key here; only kind openai has it, and this is hf",
        "base.yaml:8: model.max_length: expected a number, got true or false",
        "base.yaml:9: suites[1]: expected text, got 1 (put it in quotes)",
        "base.yaml:10: suite: unknown key. Did you mean 'suites'?",
        "base.yaml:11: max_new_tokens: unknown key here. Did you mean 'decoding.max_new_tokens'?",
        "base.yaml:13: decoding.temperature: expected 5.0 or less, got 9",
        "base.yaml:14: decoding.max_new_tokens: expected a whole number, got 'lots'",
        "base.yaml:17: gate.suites.style/x.margin: expected 0.0 or more, got -1",
        "base.yaml:17: gate.suites.style/x.polcy: unknown key. Did you mean 'policy'?",
        "base.yaml:18: name: written twice (first on line 1)",
        "base.yaml:19: limit: expected 1 or more, got 0",
    ]


MISTAKES = [
    ("", "f.yaml: the file is empty"),
    ("# nothing\n", "f.yaml: suites: missing; expected a list (of text)"),
    ("name:foo\n", "f.yaml:1: expected `key: value` lines, got 'name:foo' as the whole file"),
    ("- a\n", "f.yaml:1: expected `key: value` lines, got a list as the whole file"),
    ("name: x\n\tlimit: 1\n", "f.yaml:2: a tab; YAML is indented with spaces"),
    (
        "name: x: y\n",
        (
            "f.yaml:1: not valid YAML: mapping values are not allowed here "
            "(wrong indentation, or a text with ': ' in it that needs quotes)"
        ),
    ),
    ("name: [\n", "f.yaml:2: not valid YAML: expected the node content, but found '<stream end>'"),
    ("a: 1\n---\nb: 2\n", "f.yaml:2: more than one document (`---`); expected one"),
    ("a: \x01\n", "f.yaml:1: a character YAML does not allow (#x0001)"),
    (
        "a: &a [x]\nb: [*a, *a]\n",
        "f.yaml:2: aliases (`*name`) are not supported; write the value out",
    ),
    ("[" * 5000, "f.yaml: nested too deeply"),
    (
        GOOD + "system: !!python/object/apply:os.system [id]\n",
        (
            "f.yaml:4: system: the tag '!!python/object/apply:os.system' is not supported; "
            "leave it out"
        ),
    ),
    (GOOD + "? [a]\n: 1\n", "f.yaml:4: a key must be a plain word"),
    (
        "name: x\nmodel: gpt2\nsuites: [a]\n",
        "f.yaml:2: model: expected a mapping with `kind`, one of hf, openai, recorded, got 'gpt2'",
    ),
    (
        "name: x\nmodel: {path: gpt2}\nsuites: [a]\n",
        "f.yaml:2: model: `kind` is missing; expected one of hf, openai, recorded",
    ),
    (
        "name: x\nmodel: {kind: hff}\nsuites: [a]\n",
        "f.yaml:2: model: no kind 'hff'; expected one of hf, openai, recorded. Did you mean 'hf'?",
    ),
    ("name: x\nmodel: {kind: hf}\nsuites: [a]\n", "f.yaml:2: model.path: missing; expected text"),
    (
        "name: x\nmodel: {kind: recorded, path: r.jsonl, dtype: auto}\nsuites: [a]\n",
        "f.yaml:2: model.dtype: unknown key here; only kind hf has it, and this is recorded",
    ),
    (
        "name: x\nmodel: {kind: hf, path: m, base_url: u, frobnicate: 1}\nsuites: [a]\n",
        "f.yaml:2: model.base_url: unknown key here; only kind openai has it, and this is hf",
    ),
    (GOOD + "dtype: float32\n", "f.yaml:4: dtype: unknown key here. Did you mean 'model.dtype'?"),
    (GOOD + "frobnicate: 1\n", "f.yaml:4: frobnicate: unknown key. Valid keys: name, model,"),
    (GOOD + "seed: 1.5\n", "f.yaml:4: seed: expected a whole number, got 1.5"),
    (GOOD + "system: [x]\n", "f.yaml:4: system: expected text, got a list"),
    (GOOD + "limit: ten\n", "f.yaml:4: limit: expected a whole number, got 'ten'"),
    (
        GOOD + "chat: allways\n",
        (
            "f.yaml:4: chat: expected one of suite, always, never, got 'allways'. "
            "Did you mean 'always'?"
        ),
    ),
    (GOOD + "gate:\n  alpha: 0.7\n", "f.yaml:5: gate.alpha: expected less than 0.5, got 0.7"),
    (
        GOOD + "gate: {margin: .inf}\n",
        "f.yaml:4: gate.margin: expected a finite number, got inf",
    ),
    (
        GOOD + "gate:\n  suites:\n    a: {policy: absolute, floor: .nan}\n",
        "f.yaml:6: gate.suites.a.floor: expected a finite number, got nan",
    ),
    (
        GOOD + "gate:\n  suites:\n    a: {policy: absolute, floor: 0.9, ceiling: 0.1}\n",
        "f.yaml:6: gate.suites.a: no score is above a floor of 0.9 and below a ceiling of 0.1",
    ),
    (
        GOOD + "gate:\n  suites:\n    a: {policy: absolute, floor: 0.9, margin: 0.1}\n",
        "f.yaml:6: gate.suites.a: margin has no effect beside policy: absolute",
    ),
    (
        GOOD + "decoding: []\n",
        (
            "f.yaml:4: decoding: expected a mapping with max_new_tokens, temperature, top_p, stop, "
            "repeats, got an empty list"
        ),
    ),
    (
        GOOD + "decoding: {repeats: 5}\n",
        "f.yaml:4: decoding: repeats: 5 needs a temperature above 0",
    ),
    (
        "name: x\nmodel: {kind: hf, path: m}\nsuites: []\n",
        "f.yaml:3: suites: expected a list of 1 or more, got an empty list",
    ),
    (
        "name: x\nmodel: {kind: hf, path: m}\nsuites: [a, b, a]\n",
        "f.yaml:3: suites: 'a' is named twice",
    ),
    (
        "name: x\nmodel: {kind: hf, path: m}\nsuites: a\n",
        "f.yaml:3: suites: expected a list (of text), got 'a'",
    ),
    (
        "name: x\nmodel: {kind: hf, path: ''}\nsuites: [a]\n",
        "f.yaml:2: model.path: expected some text, got ''",
    ),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_a_mistake_is_told_with_its_line_and_what_was_expected(text: str, line: str) -> None:
    said = complaint(write("f.yaml", text))
    assert any(each.startswith(line) for each in said), said


def test_text_that_is_not_utf8_is_told_with_its_line() -> None:
    Path("f.yaml").write_bytes(b"name: x\nsystem: \xff\n")
    assert complaint(Path("f.yaml")) == ["f.yaml:2: not UTF-8 text; save the file as UTF-8"]


def test_a_missing_file_names_the_nearest_one() -> None:
    write("configs/base.yaml", GOOD)
    assert complaint(Path("configs/bsae.yaml")) == [
        "configs/bsae.yaml: no such file. Did you mean 'configs/base.yaml'?"
    ]
    assert complaint(Path("nowhere/base.yaml")) == [
        "nowhere/base.yaml: no such file. The folder 'nowhere' does not exist."
    ]
    assert complaint(Path("configs"))[0].startswith("configs: is a folder; expected a YAML file.")


def test_a_file_of_megabytes_is_refused() -> None:
    assert complaint(write("f.yaml", "#" * 2_000_000)) == [
        "f.yaml: larger than 1 MiB; is this a configuration file?"
    ]


def test_words_numbers_and_dates_are_read_as_yaml_1_2_reads_them() -> None:
    text = GOOD.replace("style/rednote-en", "no, 2026-01-01, on") + "gate: {margin: 2e-2}\n"
    config = load_config(write("f.yaml", text), RunConfig)
    assert config.suites == ("no", "2026-01-01", "on")
    assert config.gate.margin == 0.02


def test_an_arm_says_only_what_differs_and_takes_the_rest_from_the_base() -> None:
    base = write("base.yaml", GOOD + "seed: 7\ndecoding: {temperature: 0.5}\n")
    tuned = write("tuned.yaml", TUNED + "decoding: {temperature: 0.5}\n")
    first, second = load_arms([base, tuned])
    assert (first.name, second.name) == ("base", "tuned")
    assert second.seed == 7
    assert second.decoding == first.decoding
    assert isinstance(second.model, HFModel)
    assert second.model.dtype == "float32"


def test_any_other_difference_between_the_arms_is_an_error_naming_the_field() -> None:
    base = write("base.yaml", GOOD + "gate:\n  suites: {a: {margin: 0.1}}\n")
    tuned = write(
        "tuned.yaml",
        TUNED + "decoding:\n  temperature: 0.5\nsuites: [x]\ngate: {suites: {a: {margin: 0.2}}}\n",
    )
    alone = "arms may differ in `name` and `model` alone, so leave it out"
    assert complaint(base, tuned) == [
        "3 mistakes:",
        f"tuned.yaml:4: decoding.temperature: 0.5 here, 0.0 in base.yaml; {alone}",
        f"tuned.yaml:5: suites: ['x'] here, ['style/rednote-en'] in base.yaml; {alone}",
        f"tuned.yaml:6: gate.suites.a.margin: 0.2 here, 0.1 in base.yaml; {alone}",
    ]


def test_two_arms_of_one_name_are_an_error() -> None:
    base, same = write("base.yaml", GOOD), write("same.yaml", GOOD)
    nameless = write("nameless.yaml", "model: {kind: hf, path: other/model}\n")
    assert complaint(base, same, nameless) == [
        "2 mistakes:",
        "same.yaml:1: name: 'base' is also the name in base.yaml; each arm needs a name of its own",
        "nameless.yaml: name: missing; each arm needs a name of its own",
    ]


def test_the_mistakes_of_all_arms_come_together_and_the_base_s_only_once() -> None:
    base = write("base.yaml", GOOD + "limt: 5\n")
    tuned = write("tuned.yaml", "nme: tuned\nmodel: {kind: hf, path: m, dtyp: auto}\n")
    said = complaint(base, tuned, Path("gone.yaml"))
    assert said == [
        "5 mistakes:",
        "base.yaml:4: limt: unknown key. Did you mean 'limit'?",
        "tuned.yaml: name: missing; each arm needs a name of its own",
        "tuned.yaml:1: nme: unknown key. Did you mean 'name'?",
        "tuned.yaml:2: model.dtyp: unknown key. Did you mean 'dtype'?",
        "gone.yaml: no such file.",
    ]


def test_set_changes_a_value_in_all_arms() -> None:
    paths = [write("base.yaml", GOOD), write("tuned.yaml", TUNED)]
    arms = load_arms(paths, ["model.dtype=bfloat16", "limit=20", "gate.suites.a.margin=0.5"])
    assert [arm.limit for arm in arms] == [20, 20]
    assert [arm.gate.suites["a"].margin for arm in arms] == [0.5, 0.5]
    assert {arm.model.dtype for arm in arms if isinstance(arm.model, HFModel)} == {"bfloat16"}


def test_a_wrong_set_is_told_with_the_flag_as_its_place() -> None:
    overrides = ("model.dtyp=auto", "limit=0", "limit", "suites.x=1", "seed=[", "chat=nevr")
    said = complaint(write("base.yaml", GOOD), write("tuned.yaml", TUNED), overrides=overrides)
    assert said == [
        "6 mistakes:",
        "--set limit: expected key=value, such as model.dtype=float32",
        "--set suites.x=1: suites.x: 'x' cannot be set inside a list",
        "--set seed=[: seed: not valid YAML: expected the node content, but found '<stream end>'",
        "--set model.dtyp=auto: model.dtyp: unknown key. Did you mean 'dtype'?",
        (
            "--set chat=nevr: chat: expected one of suite, always, never, got 'nevr'. "
            "Did you mean 'never'?"
        ),
        "--set limit=0: limit: expected 1 or more, got 0",
    ]


def test_a_hub_id_stays_and_a_folder_beside_the_file_is_found(here: Path) -> None:
    write("configs/models/tiny/config.json", "{}")
    hub = load_config(write("configs/a.yaml", GOOD), RunConfig).model
    near = write("configs/b.yaml", GOOD.replace("org/name", "models/tiny"))
    dotted = write("configs/c.yaml", GOOD.replace("org/name", "../configs/models/tiny"))
    assert isinstance(hub, HFModel)
    assert hub.path == "org/name"
    for path in (near, dotted):
        model = load_config(path, RunConfig).model
        assert isinstance(model, HFModel)
        assert model.path == str(here / "configs/models/tiny")


def test_a_folder_that_is_spelt_wrong_is_not_taken_for_a_hub_id() -> None:
    write("models/tiny/config.json", "{}")
    path = write("a.yaml", GOOD.replace("org/name", "./models/tny"))
    (said,) = complaint(path)
    assert said.startswith("a.yaml:2: model.path: no folder './models/tny'. Did you mean")
    assert said.endswith("models/tiny'?")


def test_paths_start_at_the_file_then_at_the_current_folder(here: Path) -> None:
    write("configs/adapter/w", "")
    write("elsewhere/w", "")
    tuned = "name: t\nmodel: {kind: hf, path: m, adapter: %s}\nsuites: [a]\n"
    beside = load_config(write("configs/a.yaml", tuned % "adapter"), RunConfig).model
    current = load_config(write("configs/b.yaml", tuned % "elsewhere"), RunConfig).model
    assert isinstance(beside, HFModel)
    assert isinstance(current, HFModel)
    assert beside.adapter == here / "configs/adapter"
    assert current.adapter == here / "elsewhere"


def test_a_base_in_another_folder_keeps_its_own_paths(here: Path) -> None:
    write("one/answers.jsonl", "")
    write("two/answers.jsonl", "")
    text = "name: %s\nmodel: {kind: recorded, path: answers.jsonl}\n"
    base = write("one/base.yaml", text % "b" + "suites: [a]\n")
    models = [arm.model for arm in load_arms([base, write("two/tuned.yaml", text % "t")])]
    assert [each.path for each in models if isinstance(each, RecordedModel)] == [
        here / "one/answers.jsonl",
        here / "two/answers.jsonl",
    ]


def test_a_missing_adapter_or_recording_names_the_nearest(here: Path) -> None:
    write("configs/adapter-1/w", "")
    text = "name: t\nmodel:\n  kind: hf\n  path: m\n  adapter: adapter_1\nsuites: [a]\n"
    (said,) = complaint(write("configs/a.yaml", text))
    assert said == (
        f"configs/a.yaml:5: model.adapter: nothing there: 'adapter_1' (looked in {here}/configs "
        f"and {here}). Did you mean '{here}/configs/adapter-1'?"
    )


def test_a_checked_object_takes_overrides_too() -> None:
    gate = apply_overrides(GateConfig(margin=0.1), ["suites.style/x.margin=0.3", "alpha=0.1"])
    assert (gate.margin, gate.alpha, gate.suites["style/x"].margin) == (0.1, 0.1, 0.3)
    with pytest.raises(ConfigError) as caught:
        apply_overrides(gate, ["alhpa=0.1"])
    assert str(caught.value) == "--set alhpa=0.1: alhpa: unknown key. Did you mean 'alpha'?"


class Left(Strict):
    kind: Literal["left"]
    data: InputPath
    output: Path = Path("out")


class Right(Strict):
    kind: Literal["right"]


class Recipe(Strict):
    """A file of another kind, with a list of sections of several kinds in it."""

    parts: list[Annotated[Left | Right, Field(discriminator="kind")]]
    rate: float | None = None
    names: dict[str, int] = Field(default_factory=dict)


def test_any_model_can_be_read_and_its_outputs_stay_relative(here: Path) -> None:
    write("r/rows.jsonl", "")
    path = write("r/recipe.yaml", "parts: [{kind: left, data: rows.jsonl}]\nrate: 2e-4\n")
    recipe = load_config(path, Recipe)
    assert recipe.parts == [Left(kind="left", data=here / "r/rows.jsonl")]
    assert recipe.rate == 2e-4


def test_mistakes_inside_lists_and_mappings_have_their_own_lines() -> None:
    path = write(
        "r.yaml", "parts:\n  - kind: right\n  - kind: right\n    data: x\nnames:\n  a: b\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, Recipe, ["rate=fast"])
    assert [line.strip() for line in str(caught.value).splitlines()] == [
        "3 mistakes:",
        "r.yaml:4: parts[1].data: unknown key here; only kind left has it, and this is right",
        "r.yaml:6: names.a: expected a whole number, got 'b'",
        "--set rate=fast: rate: expected a number, got 'fast'",
    ]


def test_an_adapter_of_the_base_takes_over_how_the_base_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    base = tmp_path / "base.yaml"
    base.write_text(
        "name: base\nmodel: {kind: hf, path: some/model, quantization: nf4, device: cpu}\n"
        "suites: [a/b]\n"
    )
    tuned = tmp_path / "tuned.yaml"
    tuned.write_text(
        "name: tuned\nmodel: {kind: hf, path: some/model, adapter: lora, device: cuda}\n"
    )
    model = load_arms([base, tuned])[1].model
    assert isinstance(model, HFModel)
    assert (model.quantization, model.device) == ("nf4", "cuda")
    tuned.write_text("name: tuned\nmodel: {kind: hf, path: another/model}\n")
    other = load_arms([base, tuned])[1].model
    assert isinstance(other, HFModel)
    assert other.quantization == "none"


def test_a_judge_is_a_model_where_its_kind_is_left_out(here: Path) -> None:
    judge = "judge:\n  judges:\n    - name: gpt\n      model: {kind: hf, path: ./model}\n"
    (here / "model").mkdir()
    arm = write("base.yaml", "name: a\nmodel: {kind: openai, model: m}\nsuites: [s]\n" + judge)
    config = load_arms([arm], ())[0]
    assert config.judge is not None
    (one,) = config.judge.judges
    assert isinstance(one, ModelJudge)
    assert isinstance(one.model, HFModel)
    assert one.model.path == str(here / "model"), "its paths are looked for as those of any other"


def test_a_judge_of_another_kind_without_it_is_told_which_it_might_be(here: Path) -> None:
    judge = "judge: {judges: [{name: old, path: said.jsonl}]}\n"
    write("base.yaml", "name: a\nmodel: {kind: openai, model: m}\nsuites: [s]\n" + judge)
    told = "\n".join(complaint(Path("base.yaml")))
    assert "judge.judges[0].path" in told
    assert "recorded" in told
