"""Our loss on the answers equals trl's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl")
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from trainers.data.encode import IGNORED
from trainers.loss import AnswerTrainer
from trainers.quiet import quiet_libraries


@pytest.fixture(scope="module")
def trainer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AnswerTrainer:
    row = {"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}
    with quiet_libraries():
        return AnswerTrainer(
            model=AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
            args=SFTConfig(
                output_dir=str(tmp_path_factory.mktemp("loss")),
                bf16=False,
                use_cpu=True,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
            ),
            train_dataset=Dataset.from_list([row]),
            processing_class=AutoTokenizer.from_pretrained(tiny_model),
        )


def batch(labels: list[list[int]]) -> dict[str, torch.Tensor]:
    """Rows of random tokens, padded on the right where a row's labels are shorter."""
    width = max(map(len, labels))
    ids = torch.randint(3, 200, (len(labels), width), generator=torch.Generator().manual_seed(1))
    wanted = torch.full_like(ids, IGNORED)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(labels):
        mask[index, : len(row)] = 1
        for place, learned in enumerate(row):
            if learned:
                wanted[index, place] = ids[index, place]
    return {"input_ids": ids, "attention_mask": mask, "labels": wanted}


BATCHES = [
    [[0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]],
    [[1, 1, 1], [0, 0, 0, 1]],
    [[0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 1]],
    [[0, 0, 0], [0, 0, 0, 0]],
]


@pytest.mark.parametrize("labels", BATCHES)
@pytest.mark.parametrize("count", [None, 11])
def test_the_loss_and_its_gradient_are_trls(
    trainer: AnswerTrainer, labels: list[list[int]], count: int | None
) -> None:
    def loss_and_gradient(compute: object) -> tuple[torch.Tensor, torch.Tensor]:
        trainer.model.zero_grad()
        inputs = batch(labels)
        loss = compute(trainer, trainer.model, inputs, num_items_in_batch=count)  # type: ignore[operator]
        loss.backward()
        gradient = trainer.model.get_input_embeddings().weight.grad
        return loss.detach(), gradient.clone()

    ours = loss_and_gradient(AnswerTrainer.compute_loss)
    theirs = loss_and_gradient(SFTTrainer.compute_loss)
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-5, rtol=1e-4)


def test_the_held_out_loss_is_the_mean_over_tokens(trainer: AnswerTrainer) -> None:
    rows = [
        {"input_ids": [9] * 12, "labels": [IGNORED] * 2 + [9] * 10},
        {"input_ids": [40, 41, 42], "labels": [IGNORED, IGNORED, 42]},
    ]
    trainer.args.per_device_eval_batch_size = 1
    with quiet_libraries():
        together = trainer.evaluate(Dataset.from_list(rows))["eval_loss"]
        alone = [trainer.evaluate(Dataset.from_list([row]))["eval_loss"] for row in rows]
    assert together == pytest.approx((10 * alone[0] + alone[1]) / 11, abs=1e-5)


def test_an_evaluation_takes_no_gradient_from_quantised_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import get_peft_model
    from transformers import set_seed

    from trainers.base import lora_config, open_model
    from trainers.config import DataFile, TrainConfig

    config = TrainConfig(
        name="x",
        model=str(tiny_model),
        data=(DataFile(path=tmp_path),),
        compute_dtype="bfloat16",
    )
    ids = torch.arange(3, 40).unsqueeze(0)

    with quiet_libraries():
        set_seed(0)
        model = get_peft_model(open_model(config, tiny_model), lora_config(config))

        def gradient() -> torch.Tensor:
            model.zero_grad()
            model.train()
            model(input_ids=ids, labels=ids).loss.backward()
            return torch.cat(
                [w.grad.flatten() for name, w in model.named_parameters() if "lora_B" in name]
            )

        before = gradient()
        model.eval()
        with torch.no_grad():
            model(input_ids=ids)
        torch.testing.assert_close(gradient(), before)
