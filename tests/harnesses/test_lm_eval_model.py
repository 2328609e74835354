"""The model evalkit in lm-eval: the results, and every sample, are those of lm-eval's HFLM."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError, ModelError, UsageError
from evalkit.harnesses.lm_eval_model import register
from tests.harnesses.lm_eval_files import run_tasks, write_tasks
from tests.models.hf.tiny_models import TEMPLATE, Tiny, make_adapter, make_model, some_text

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of its own, and the model known to lm-eval."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    register()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "model", "llama")
    return Tiny(folder / "model", make_adapter(folder / "model", folder / "lora"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "tiny")


def assert_same_table(ours: Any, theirs: Any) -> None:
    """What lm-eval prints is the same, all of it.

    But for perplexities: these are exponentials of what a random model finds most unlikely, with
    twelve digits before the point, of which float32 gives six.
    """
    from lm_eval.utils import make_table

    for part in [None, "groups"] if "groups" in theirs else [None]:
        mine, other = (make_table(one, *filter(None, [part])) for one in (ours, theirs))
        assert _without_perplexities(mine) == _without_perplexities(other)
    for task, metrics in theirs["results"].items():
        for name, value in metrics.items():
            same = pytest.approx(value, rel=1e-5) if _number(value) else value
            assert ours["results"][task][name] == same, (task, name)


def _without_perplexities(table: str) -> list[str]:
    """Lines, without the widths of columns."""
    lines = (" ".join(line.split()) for line in table.splitlines())
    return [line for line in lines if "perplexity" not in line and "--" not in line]


def assert_same_samples(ours: Any, theirs: Any) -> None:
    """The same prompts, answers and scores, sample by sample, under the same names."""
    assert ours.keys() == theirs.keys()
    for name, samples in theirs.items():
        assert len(ours[name]) == len(samples) > 0
        for mine, other in zip(ours[name], samples, strict=True):
            assert mine.keys() == other.keys()
            for key in ("doc_id", "arguments", "target", "filter", "doc_hash", "prompt_hash"):
                assert mine[key] == other[key]
            assert_same_answers(mine["resps"], other["resps"])


def assert_same_answers(mine: list[list[Any]], other: list[list[Any]]) -> None:
    for (one,), (expected,) in zip(mine, other, strict=True):
        if isinstance(expected, tuple):
            assert one[0] == pytest.approx(expected[0], abs=1e-3)
            assert one[1] == expected[1]
        else:
            same = one == (pytest.approx(expected, abs=1e-3) if _number(expected) else expected)
            assert same, (one, expected)
    if len(mine) > 1:  # choices: the same one is the likeliest
        values = [[answer[0][0] for answer in answers] for answers in (mine, other)]
        assert values[0].index(max(values[0])) == values[1].index(max(values[1]))


def _number(value: object) -> bool:
    return isinstance(value, float | int)


@pytest.mark.parametrize("arm", ["base", "tuned"])
@pytest.mark.parametrize("chat", [False, True])
def test_the_table_and_every_sample_equal_those_of_lm_eval(
    tiny: Tiny, tasks: Path, arm: str, chat: bool
) -> None:
    given = {"pretrained": str(tiny.model), "dtype": "float32"}
    given |= {"peft": str(tiny.adapter)} if arm == "tuned" else {}
    way = {"apply_chat_template": chat, "fewshot_as_multiturn": chat, "num_fewshot": 1}
    theirs = run_tasks("hf", given, tasks, **way)
    ours = run_tasks("evalkit", dict(given), tasks, **way)
    assert_same_table(ours, theirs)
    assert_same_samples(ours["samples"], theirs["samples"])
    for key in ("versions", "n-shot", "n-samples", "higher_is_better", "group_subtasks"):
        assert ours[key] == theirs[key]
    assert ours.keys() == theirs.keys()
    assert {one for one in theirs if one.startswith("tokenizer")} <= set(ours)
    assert ours["max_length"] == theirs["max_length"]
    assert ours["eot_token_id"] == theirs["eot_token_id"]


PROMPTS = ["The" + some_text(random.Random(n), 2, 20) for n in range(40)]


def open_lm(model: Path, **given: Any) -> Any:
    from evalkit.harnesses.lm_eval_model.model import EvalkitLM

    return EvalkitLM(pretrained=str(model), dtype="float32", device="cpu", **given)


def open_hflm(model: Path, **given: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1, **given)


def instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, 0, ("asked", n, 1)) for n, given in enumerate(arguments)]


def ask(lm: Any, kind: str, arguments: Sequence[tuple[Any, ...]]) -> Any:
    return getattr(lm, kind)(instances(kind, arguments), disable_tqdm=True)


@pytest.fixture(scope="module")
def other_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template ends a turn by a token that its own files do not name."""
    folder = tmp_path_factory.mktemp("ends") / "model"
    make_model(folder, "llama", bos=True)
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("<|im_end|>", "<|im_start|>"))
    return folder


def test_texts_end_where_lm_eval_ends_them(other_ends: Path) -> None:
    ways = [
        {"until": ["<|im_start|>"], "max_gen_toks": 30},  # a special token: nothing in the text
        {"until": ["ab", "e", "。"], "max_gen_toks": 30, "temperature": 0.0},
        {"until": "bc", "max_new_tokens": 7, "do_sample": False, "temperature": 0.6},
        {"until": [], "max_tokens": 30, "top_k": 5},
    ]
    asked = [(prompt, way) for way in ways for prompt in PROMPTS]
    ours = ask(open_lm(other_ends), "generate_until", asked)
    assert ours == ask(open_hflm(other_ends), "generate_until", asked)
    engine = open_lm(other_ends).engine
    mark = engine.tokens.end_of_turn
    assert mark is not None
    assert mark not in engine.tokens.stop_ids
    free = [text for text, (_, way) in zip(ours, asked, strict=True) if way is ways[3]]
    cut = [text for text, (_, way) in zip(ours, asked, strict=True) if way is ways[0]]
    assert any(a != b and a.startswith(b) for a, b in zip(free, cut, strict=True))


def test_a_rolling_text_is_lm_evals_with_its_two_bos(other_ends: Path) -> None:
    texts = [(text,) for text in ("", "Hello", "<|bos|>Hello", *PROMPTS[:6], "A fox. " * 40)]
    ours = ask(open_lm(other_ends), "loglikelihood_rolling", texts)
    theirs = ask(open_hflm(other_ends), "loglikelihood_rolling", texts)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours[1] == pytest.approx(ours[2])


@pytest.mark.parametrize(("architecture", "bos"), [("t5", False), ("bart", True)])
def test_an_encoder_decoder_models_numbers_are_lm_evals(
    tmp_path: Path, architecture: str, bos: bool
) -> None:
    make_model(tmp_path / "model", architecture, bos=bos)
    ours, theirs = open_lm(tmp_path / "model"), open_hflm(tmp_path / "model")
    assert theirs.backend == "seq2seq"
    pairs = [(text, end) for text in PROMPTS for end in (" A", "北京")]
    scored, expected = (ask(lm, "loglikelihood", pairs) for lm in (ours, theirs))
    assert [value for value, _ in scored] == pytest.approx([v for v, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in scored] == [greedy for _, greedy in expected]
    texts = [(text,) for text in ("Hello", "<|bos|>Hello", *PROMPTS[:6], "A fox. " * 40)]
    rolled, expected = (ask(lm, "loglikelihood_rolling", texts) for lm in (ours, theirs))
    assert rolled == pytest.approx(expected, abs=1e-3)
    # To the same limit; by itself lm-eval lets it grow by the length of the longest prompt.
    way = {"until": ["。"], "max_gen_toks": 20}
    asked = [(text, way) for text in PROMPTS[:8]]
    longer = [(text, {**way, "max_length": 1 + 20}) for text, _ in asked]
    assert ask(ours, "generate_until", asked) == ask(theirs, "generate_until", longer)


def test_a_text_of_no_tokens_has_lost_nothing(tiny: Tiny) -> None:
    asked = [("",), ("Hello",)]
    ours = ask(open_lm(tiny.model), "loglikelihood_rolling", asked)
    assert ours == pytest.approx(
        ask(open_hflm(tiny.model), "loglikelihood_rolling", asked), abs=1e-3
    )
    assert ours[0] == 0


def test_thinking_is_left_out_as_lm_eval_leaves_it_out(other_ends: Path) -> None:
    asked = [(prompt, {"until": ["zz"], "max_gen_toks": 30}) for prompt in PROMPTS]
    for end in ("e", 2):
        ours = ask(open_lm(other_ends, think_end_token=end), "generate_until", asked)
        theirs = ask(open_hflm(other_ends, think_end_token=end), "generate_until", asked)
        assert ours == theirs
    assert ours != ask(open_lm(other_ends), "generate_until", asked)


def test_prompts_are_written_as_lm_eval_writes_them(tiny: Tiny, tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hel"},
    ]
    ours, theirs = open_lm(tiny.model), open_hflm(tiny.model)
    for history, go_on in ((turns[:2], True), (turns, False)):
        mine = ours.apply_chat_template(history, add_generation_prompt=go_on)
        assert mine == theirs.apply_chat_template(history, add_generation_prompt=go_on)
    assert ours.chat_template(True) == theirs.chat_template(True)
    strict = tmp_path / "strict"
    shutil.copytree(tiny.model, strict)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(refusing + TEMPLATE)
    mine = open_lm(strict).apply_chat_template(turns[:2])
    assert mine == open_hflm(strict).apply_chat_template(turns[:2])
    assert "brief" not in mine


def test_a_template_of_a_file_is_used_and_named_in_lm_evals_cache(
    tiny: Tiny, tmp_path: Path
) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages[-1]['content'] }}!")
    own = open_lm(tiny.model, chat_template=str(tmp_path / "own.jinja"))
    assert own.apply_chat_template([{"role": "user", "content": "Hi"}]) == "Hi!"
    assert own.tokenizer_name != open_lm(tiny.model).tokenizer_name
    thinking = open_lm(tiny.model, chat_template_args={"enable_thinking": False})
    assert thinking.tokenizer_name != open_lm(tiny.model).tokenizer_name
    with pytest.raises(UsageError, match="no template 'rag'"):
        own.chat_template("rag")


def test_a_named_template_is_named_in_lm_evals_cache(tiny: Tiny) -> None:
    lm = open_lm(tiny.model)
    lm.tokenizer.chat_template = {"default": TEMPLATE, "tools": f"{TEMPLATE}?"}
    names = []
    for name in ("default", "tools", "default"):
        lm.chat_template(name)
        names.append(lm.tokenizer_name)
    assert names[0] == names[2] != names[1]


def test_what_was_asked_before_loads_no_model(tiny: Tiny) -> None:
    first = open_lm(tiny.model)
    asked = [(prompt, " Paris") for prompt in PROMPTS[:5]]
    answers = ask(first, "loglikelihood", asked)
    assert first.engine._loaded is not None
    again = open_lm(tiny.model)
    assert ask(again, "loglikelihood", asked) == answers
    assert again.engine._loaded is None
    tuned = open_lm(tiny.model, peft=str(tiny.adapter))
    assert ask(tuned, "loglikelihood", asked) != answers


def test_sampling_follows_lm_evals_seed_and_draws_each_repeat_anew(tiny: Tiny, tasks: Path) -> None:
    way = {"until": ["\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}

    def texts(seed: int) -> list[str]:
        given = {"pretrained": str(tiny.model), "dtype": "float32"}
        found = run_tasks(
            "evalkit", given, tasks, tasks=["tiny_write"], gen_kwargs=way, torch_random_seed=seed
        )
        return [row["resps"][0][0] for row in found["samples"]["tiny_write"]]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    repeated = ask(open_lm(tiny.model), "generate_until", [("The", way)] * 8)
    assert len(set(repeated)) > 4


def test_lm_evals_own_cache_is_filled(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.model import CachingLM

    lm = open_lm(tiny.model)
    asked = [(prompt, " Paris") for prompt in PROMPTS[:5]]
    cache = CachingLM(lm, str(tmp_path / "cache.db"))
    answers = ask(lm, "loglikelihood", asked)  # past the cache: by the hook alone it hears of them
    assert len(cache.dbdict) == 5
    monkeypatch.setattr(lm, "loglikelihood", lambda requests: pytest.fail("asked again"))
    assert cache.loglikelihood(instances("loglikelihood", asked)) == answers


def test_a_device_is_lm_evals_word_before_the_files(tiny: Tiny) -> None:
    from evalkit.harnesses.lm_eval_model.model import EvalkitLM

    args = {"pretrained": str(tiny.model)}
    unsaid = EvalkitLM.create_from_arg_obj(dict(args), {"device": "cuda:0", "batch_size": 1})
    assert unsaid.config.device == "auto"  # lm-eval's command says cuda:0 of its own accord
    said = EvalkitLM.create_from_arg_string(f"pretrained={tiny.model}", {"device": "cpu"})
    assert said.config.device == "cpu"


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"num_beams": 4}, "num_beams: 4.*--gen_kwargs num_beams=1"),
        ({"do_sample": True, "temperature": 0.5, "top_k": 3}, "top_k: 3"),
        ({"do_sample": True}, "temperature=… above 0"),
        ({"do_sample": True, "temperature": 1.0, "top_p": 0}, "top_p: 0"),
        ({"max_gen_toks": 64}, "64 new tokens.*the model holds 64"),
        ({"max_length": 20}, "max_length: 20"),
    ],
)
def test_what_the_engine_does_not_do_is_refused_by_name(
    tiny: Tiny, way: dict[str, Any], said: str
) -> None:
    lm = open_lm(tiny.model)
    with pytest.raises(UsageError, match=said):
        ask(lm, "generate_until", [("The", {"until": ["a"], "max_gen_toks": 5, **way})])


def test_a_request_without_an_answer_ends_the_run_and_says_which(tiny: Tiny) -> None:
    lm = open_lm(tiny.model)
    asked = [("The", " fox"), ("The", " fox" * 100)]
    with pytest.raises(ModelError, match=r"1 of 2 requests.*task asked, document 1: the cont"):
        ask(lm, "loglikelihood", asked)
    again = open_lm(tiny.model)
    ask(again, "loglikelihood", asked[:1])
    assert again.engine._loaded is None, "what could be answered is stored"


def test_the_arm_is_that_of_the_file(tiny: Tiny, tmp_path: Path) -> None:
    from evalkit.harnesses.lm_eval_model.arguments import read_arm

    base, tuned = tmp_path / "base.yaml", tmp_path / "tuned.yaml"
    base.write_text(
        f"name: small\nmodel: {{kind: hf, path: {tiny.model}, dtype: float32}}\n"
        "suites: [knowledge/everyday-en]\n"
    )
    tuned.write_text(
        f"name: taught\nmodel: {{kind: hf, path: {tiny.model}, adapter: {tiny.adapter}}}\n"
    )
    alone = read_arm({"config": str(tuned)})
    assert (alone.name, alone.model.adapter, alone.model.dtype) == ("taught", tiny.adapter, "auto")
    based = read_arm({"config": str(tuned), "base": str(base)})
    assert (based.model.adapter, based.model.dtype) == (tiny.adapter, "float32")
    changed = read_arm({"config": str(base), "dtype": "bfloat16", "batch_tokens": 512})
    assert (changed.model.dtype, changed.model.batch_tokens) == ("bfloat16", 512)
    plain = read_arm({"pretrained": str(tiny.model), "peft": str(tiny.adapter)})
    assert (plain.model.path, plain.model.adapter) == (str(tiny.model), tiny.adapter)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "config=FILE .*or by pretrained="),
        ({"pretrained": "a", "dtyp": "float32"}, "no 'dtyp'. Did you mean 'dtype'"),
        ({"pretrained": "a", "load_in_4bit": True}, "quantization=nf4"),
        ({"pretrained": "a", "dtype": "float8"}, "dtype: .*bfloat16"),
        ({"pretrained": "a", "peft": "no/where"}, "peft: no/where is no folder"),
        ({"config": "none.yaml"}, "none.yaml"),
        ({"config": "none.yaml", "peft": "a"}, "leave out peft"),
        ({"config": "server.yaml"}, "model.kind: 'openai'.*local-completions"),
        ({"pretrained": "a", "enable_thinking": True}, "think_end_token"),
    ],
)
def test_wrong_arguments_say_what_to_write(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.harnesses.lm_eval_model.model import EvalkitLM

    monkeypatch.chdir(tmp_path)
    Path("server.yaml").write_text("name: x\nmodel: {kind: openai, model: m}\n")
    with pytest.raises(EvalkitError, match=said):
        EvalkitLM(**given)


def test_one_process_answers(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (open_lm(tiny.model).rank, open_lm(tiny.model).world_size) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        open_lm(tiny.model)
