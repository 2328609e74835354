"""Adapters: what belongs to its base runs, what does not is refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.errors import AdapterError, ModelError
from evalkit.models.base import Batch, Engine
from evalkit.models.hf import open_hf
from evalkit.models.hf.adapters import check_base, open_adapter
from evalkit.models.weights import ADAPTER_RECORD, weights_hash
from tests.models.hf.tiny_models import (
    Heard,
    Tiny,
    answers,
    config,
    likelihood,
    make_adapter,
    make_model,
    make_tokenizer,
    writing,
)

QUESTION = ("The capital of France is", " Paris 北京")


def open_with(model: Path, adapter: Path, progress: Heard | None = None, **fields: Any) -> Engine:
    arms = {"base": config(model), "tuned": config(model, adapter, **fields)}
    return open_hf(arms, offline=True, progress=progress or Heard())


def run(engine: Engine) -> None:
    answers(engine, [likelihood(*QUESTION, arm="tuned")])


def edited(adapter: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an adapter whose weights were changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_arms_in_any_order_answer_as_if_alone(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    model = tiny()
    second = make_adapter(model.model, tmp_path / "second", strength=0.5, use_dora=True)
    arms = {
        "tuned.v1": config(model.model, model.adapter),
        "base": config(model.model),
        "dora": config(model.model, second),
    }
    together = open_hf(arms, offline=True)
    requests = [likelihood(*QUESTION, arm=arm) for arm in ("base", "dora", "tuned.v1", "base")]
    mixed = answers(together, requests)
    for request, completion in zip(requests, mixed, strict=True):
        alone = open_hf({request.arm: arms[request.arm]}, offline=True)
        (expected,) = answers(alone, [request])
        assert completion.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    assert len({c.logprobs for c in mixed}) == 3


def test_switching_arms_in_the_middle_of_a_text_changes_neither(tiny: Callable[..., Tiny]) -> None:
    model = tiny()
    engine = open_with(model.model, model.adapter)
    base, tuned = engine.prepare([writing("The"), writing("The", arm="tuned")])
    expected = [next(engine.complete(Batch.of([one]))).text for one in (base, tuned)]
    first = engine.complete(Batch.of([base, *engine.prepare([writing("今天天气很好，")])]))
    started = [next(first)]
    between = list(engine.complete(Batch.of([tuned])))
    rest = [*started, *first]
    assert [c.text for c in rest if c.key == base.key] == expected[:1]
    assert [c.text for c in between] == expected[1:]


def test_an_adapter_of_zeros_is_refused(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    zeros = make_adapter(tiny().model, tmp_path / "zeros", strength=0.0)
    with pytest.raises(AdapterError, match="changes nothing"):
        open_with(tiny().model, zeros)


def test_an_adapter_that_changes_no_logit_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    def cancel(weights: dict[str, Any]) -> None:
        for name in weights:
            if "lora_A" in name:
                weights[name] = weights[name] * 0

    silent = edited(tiny().adapter, tmp_path / "silent", cancel)
    engine = open_with(tiny().model, silent)
    with pytest.raises(AdapterError, match="to the bit"):
        run(engine)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_that_began_by_rewriting_the_base_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path, start: str
) -> None:
    adapter = make_adapter(tiny().model, tmp_path / "began", init_lora_weights=start)
    with pytest.raises(AdapterError, match=f"began as {start}.*plain LoRA"):
        open_with(tiny().model, adapter)


def test_a_base_that_does_not_repeat_itself_is_not_held_to_the_bit(
    tiny: Callable[..., Tiny],
) -> None:
    """Kernels that add in any order differ from run to run; what PEFT takes away is far more."""
    adapter = {"tuned": open_adapter("tuned", config(tiny().model, tiny().adapter))}
    first = torch.tensor([1.0, 2.0])
    check_base(adapter, [first, first], first)
    check_base(adapter, [first, first + 1e-4], first - 5e-4)
    for before, after in (([first, first], first + 1e-6), ([first, first + 1e-4], first + 0.1)):
        with pytest.raises(AdapterError, match="changes the base itself"):
            check_base(adapter, before, after)


def test_an_adapter_that_replicates_layers_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(tiny().adapter, tmp_path / "replicated"))
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text()) | {"layer_replication": [[0, 2], [0, 2]]}
    file.write_text(json.dumps(settings))
    with pytest.raises(AdapterError, match="layer_replication"):
        open_with(tiny().model, adapter)


def test_no_adapter_may_change_the_base_it_stands_beside(
    tiny: Callable[..., Tiny], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What PEFT will think of next: here a way that is known, as if it were not."""
    monkeypatch.setattr("evalkit.models.hf.adapters.REWRITING", ("nothing",))
    adapter = make_adapter(tiny().model, tmp_path / "pissa", init_lora_weights="pissa")
    engine = open_with(tiny().model, adapter)
    with pytest.raises(AdapterError, match=r"changes the base itself: tuned \("):
        run(engine)


def test_the_change_of_the_logits_is_measured(tiny: Callable[..., Tiny]) -> None:
    engine = open_with(tiny().model, tiny().adapter)
    assert "logit_change/tuned" not in engine.measures("tuned")
    run(engine)
    assert engine.measures("tuned")["logit_change/tuned"] > 0


def test_nan_in_an_adapter_is_refused_and_named(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    def spoil(weights: dict[str, Any]) -> None:
        weights[min(weights)][0, 0] = float("nan")

    spoilt = edited(tiny().adapter, tmp_path / "nan", spoil)
    with pytest.raises(ModelError, match=r"NaN or infinity \(in base_model.*lora_A"):
        open_with(tiny().model, spoilt)


def test_an_adapter_of_other_shapes_is_refused(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    other = tiny("gpt2")
    with pytest.raises(AdapterError, match="does not fit this base"):
        run(open_with(tiny().model, other.adapter))


def test_an_adapter_with_weights_for_absent_layers_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    def deepen(weights: dict[str, Any]) -> None:
        weights.update(
            {name.replace(".1.", ".7."): weight.clone() for name, weight in weights.items()}
        )

    deeper = edited(tiny().adapter, tmp_path / "deeper", deepen)
    with pytest.raises(AdapterError, match="places the base lacks"):
        run(open_with(tiny().model, deeper))


def test_an_adapter_that_lacks_weights_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    def lose(weights: dict[str, Any]) -> None:
        del weights[max(weights)]

    with pytest.raises(AdapterError, match="lacks 1 weights"):
        run(open_with(tiny().model, edited(tiny().adapter, tmp_path / "lossy", lose)))


def recorded(adapter: Path, folder: Path, base_weights: str) -> Path:
    shutil.copytree(adapter, folder)
    record = {"base": "the-other-model", "base_weights": base_weights}
    (folder / ADAPTER_RECORD).write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_an_adapter_recorded_on_other_weights_is_refused_unless_allowed(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    foreign = recorded(tiny().adapter, tmp_path / "foreign", "0" * 64)
    with pytest.raises(AdapterError, match=r"the-other-model.*allow_other_base"):
        open_with(tiny().model, foreign)
    run(open_with(tiny().model, foreign, said, allow_other_base=True))
    assert any("allowed by allow_other_base" in message for message in said.messages)


@pytest.mark.parametrize(
    ("trained_on", "status"),
    [
        ("Qwen/Qwen2.5-0.5B", "ok"),
        ("/cache/hub/models--Qwen--Qwen2.5-0.5B/snapshots/060db6499f32", "ok"),
        ("/cache/modelscope/hub/Qwen/Qwen2___5-0___5B/", "ok"),
        ("/home/evalkit/models/Qwen--Qwen2.5-0.5B", "ok"),
        ("Qwen/Qwen2.5-1.5B", "warning"),
        ("/cache/hub/models--Qwen--Qwen2.5-1.5B/snapshots/060db6499f32", "warning"),
        ("", "warning"),
    ],
)
def test_another_trainers_adapter_is_known_by_its_bases_name_wherever_that_lay(
    tiny: Callable[..., Tiny], tmp_path: Path, trained_on: str, status: str
) -> None:
    base, adapter = tmp_path / "Qwen2.5-0.5B", tmp_path / "adapter"
    shutil.copytree(tiny().model, base)
    shutil.copytree(tiny().adapter, adapter)
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = trained_on
    (adapter / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    checks = open_with(base, adapter).checks("tuned")
    assert [one.status for one in checks if one.name == "trained on this base"] == [status]


def test_an_adapter_recorded_on_these_weights_needs_no_name(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    own = recorded(tiny().adapter, tmp_path / "own", weights_hash(tiny().model))
    rename(own)
    open_with(tiny().model, own, said)
    assert not said.messages


def rename(adapter: Path) -> None:
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = "someone/another-base"
    file.write_text(json.dumps(settings), encoding="utf-8")


def test_only_another_name_is_a_note(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    shutil.copytree(tiny().adapter, tmp_path / "renamed")
    rename(tmp_path / "renamed")
    run(open_with(tiny().model, tmp_path / "renamed", said))
    assert any("someone/another-base" in message for message in said.messages)


def test_tokens_added_by_the_adapter_are_refused(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    shutil.copytree(tiny().adapter, tmp_path / "grown")
    make_tokenizer(extra=["<|note|>"]).save_pretrained(tmp_path / "grown")
    with pytest.raises(AdapterError, match=r"1 tokens .*<\|note\|>"):
        open_with(tiny().model, tmp_path / "grown")


def test_another_template_beside_the_adapter_is_a_note(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    shutil.copytree(tiny().adapter, tmp_path / "templated")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(tmp_path / "templated")
    engine = open_with(tiny().model, tmp_path / "templated", said)
    assert any("chat template differs" in message for message in said.messages)
    assert engine.fingerprints("base")["template"] == engine.fingerprints("tuned")["template"]


CODE = """
from transformers import PreTrainedTokenizerFast

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


def test_an_adapters_tokenizer_may_run_code_where_the_arm_says_so(
    tiny: Callable[..., Tiny], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    coded = tmp_path / "coded"
    shutil.copytree(tiny().adapter, coded)
    make_tokenizer().save_pretrained(coded)
    file = coded / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "OwnTokenizer"
    settings["auto_map"] = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}
    file.write_text(json.dumps(settings), encoding="utf-8")
    (coded / "tokenization_own.py").write_text(CODE, encoding="utf-8")
    with pytest.raises(ModelError, match="trust_remote_code"):
        open_with(tiny().model, coded)
    arms = {
        "base": config(tiny().model, trust_remote_code=True),
        "tuned": config(tiny().model, coded, trust_remote_code=True),
    }
    (_, own, _) = open_hf(arms, offline=True).checks("tuned")[1:]
    assert (own.name, own.status) == ("adapter's tokenizer", "ok")


def test_resized_embeddings_are_refused(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    import torch

    def resize(weights: dict[str, Any]) -> None:
        weights["base_model.model.model.embed_tokens.weight"] = torch.zeros(999, 32)

    with pytest.raises(AdapterError, match="resized the vocabulary to 999"):
        run(open_with(tiny().model, edited(tiny().adapter, tmp_path / "resized", resize)))


def test_embeddings_that_would_overwrite_the_base_are_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    import torch

    rows = len(make_tokenizer())

    def carry(weights: dict[str, Any]) -> None:
        weights["base_model.model.model.embed_tokens.weight"] = torch.zeros(rows, 32)

    with pytest.raises(AdapterError, match="would change the base too"):
        run(open_with(tiny().model, edited(tiny().adapter, tmp_path / "carried", carry)))


def test_trained_embeddings_of_the_same_size_are_used_by_their_arm_alone(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    model = tiny()
    full = make_adapter(model.model, tmp_path / "full", modules_to_save=["embed_tokens"])

    def shift(weights: dict[str, Any]) -> None:
        (name,) = [name for name in weights if "embed_tokens" in name]
        weights[name] = weights[name] + 0.5

    shifted = edited(full, tmp_path / "shifted", shift)
    (alone,) = answers(
        open_hf({"base": config(model.model)}, offline=True), [likelihood(*QUESTION)]
    )
    arms = {
        "base": config(model.model),
        "full": config(model.model, full),
        "shifted": config(model.model, shifted),
    }
    engine = open_hf(arms, offline=True)
    got = answers(engine, [likelihood(*QUESTION, arm=arm) for arm in arms])
    assert got[0].logprobs == pytest.approx(alone.logprobs, abs=1e-5)
    assert len({c.logprobs for c in got}) == 3


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft calls what transformers renamed
def test_a_soft_prompt_is_computed_the_plain_way_and_equals_peft(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    import torch
    from peft import PeftModel, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = tiny()
    base = AutoModelForCausalLM.from_pretrained(model.model)
    soft = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    soft.save_pretrained(tmp_path / "soft")
    arms = {
        "base": config(model.model),
        "tuned": config(model.model, model.adapter),
        "soft": config(model.model, tmp_path / "soft"),
    }
    engine = open_hf(arms, offline=True, progress=said)
    (item,) = engine.prepare([likelihood(*QUESTION, arm="soft")])
    answers(engine, [likelihood(*QUESTION, arm="tuned")])
    (got,) = engine.complete(Batch.of([item]))
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.model), tmp_path / "soft"
    ).eval()
    ids = torch.tensor([item.prompt_ids + item.continuation_ids])
    with torch.no_grad():
        logits = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 4:]
    start = len(item.prompt_ids) - 1
    expected = logits.log_softmax(-1)[range(start, ids.shape[1] - 1), ids[0, start + 1 :]]
    assert got.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert any("soft prompt" in message for message in said.messages)
    (written,) = answers(engine, [writing("The quick", arm="soft")])
    assert written.tokens_out > 0


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: shutil.rmtree(folder), "no adapter folder"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "no peft_type"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(
                folder / "adapter_model.bin"
            ),
            "adapter_model.bin is a pickle",
        ),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"nothing"),
            "damaged",
        ),
    ],
)
def test_a_folder_that_is_no_adapter_is_named_with_what_it_lacks(
    tiny: Callable[..., Tiny],
    tmp_path: Path,
    spoil: Callable[[Path], object],
    expected: str,
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(tiny().adapter, folder)
    spoil(folder)
    with pytest.raises(AdapterError, match=expected):
        open_with(tiny().model, folder)


def test_nan_in_the_base_is_an_error_that_names_the_weight(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make_model(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    engine = open_hf({"base": config(tmp_path)}, offline=True)
    with pytest.raises(ModelError, match=r"in model\.norm\.weight"):
        answers(engine, [likelihood(*QUESTION)])
