"""Sampled tokens, against the plain inversion of each row's distribution by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.errors import ModelError
from evalkit.models.hf import generation, open_hf
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.generation import Row, Rules, choose, rows_for
from evalkit.records import Decoding
from tests.models.hf.oracle import oracle_of
from tests.models.hf.tiny_models import Tiny, answers, config, open_arms, writing

VOCABULARY = 300
SHAPES = [(1.0, 1.0), (0.7, 0.9), (2.0, 0.5), (0.0, 1.0), (1.3, 1e-6), (0.2, 0.95)]


@pytest.fixture
def rows(tiny: Callable[..., Tiny]) -> Callable[[], list[Row]]:
    """Fresh texts of every temperature and top-p, three of each."""
    decodings = [
        Decoding(max_new_tokens=40, temperature=t, top_p=p, seed=s)
        for t, p in SHAPES
        for s in range(3)
    ]
    items = open_arms(tiny()).prepare([writing("The", decoding) for decoding in decodings])
    return lambda: rows_for(items, RULES)


class Silent:
    """A tokenizer whose tokens are no text."""

    def decode(self, *_: Any, **__: Any) -> str:
        """Nothing."""
        return ""


RULES = Rules(tokenizer=Silent(), stop_ids=frozenset())


def inverted(logits: np.ndarray[Any, np.dtype[np.float64]], row: Row) -> int:
    """The token in whose part of the sorted distribution the row's uniform number lies."""
    if row.decoding.temperature == 0:
        return int(logits.argmax())
    scaled = logits / row.decoding.temperature
    order = np.argsort(-scaled, kind="stable")
    weights = np.exp(scaled[order] - scaled.max())
    cumulative = np.cumsum(weights / weights.sum())
    kept = cumulative[: int(np.searchsorted(cumulative, row.decoding.top_p)) + 1]
    place = np.searchsorted(kept, row.chance.random() * kept[-1], side="right")
    return int(order[min(int(place), len(kept) - 1)])


@pytest.mark.parametrize("at_once", [1, VOCABULARY * 4, 2**24])
def test_rows_that_are_drawn_together_get_what_each_gets_alone(
    rows: Callable[[], list[Row]], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_SORTED", at_once)
    ours, theirs = rows(), rows()
    for step in range(20):
        logits = 3 * torch.randn(
            len(ours), VOCABULARY, generator=torch.Generator().manual_seed(step)
        )
        choose(None, [logits], ours, RULES)
        wanted = [
            inverted(numbers.double().numpy(), row)
            for numbers, row in zip(logits, theirs, strict=True)
        ]
        assert [row.ids[-1] for row in ours] == wanted


def test_a_step_that_is_repeated_draws_the_same(rows: Callable[[], list[Row]]) -> None:
    """Memory may run out behind the draw; the text must not depend on it."""
    logits = torch.zeros(len(SHAPES) * 3, VOCABULARY)
    once, again = rows(), rows()
    choose(None, [logits], once, RULES)
    for row in again:
        assert row.draw() == row.draw()
    choose(None, [logits], again, RULES)
    assert [row.ids for row in again] == [row.ids for row in once]
    before = [row.draw() for row in once]
    choose(None, [logits], once, RULES)
    assert [row.draw() for row in once] != before


def test_some_rows_after_the_others_get_what_all_get_at_once(rows: Callable[[], list[Row]]) -> None:
    logits = 3 * torch.randn(len(SHAPES) * 3, VOCABULARY)
    at_once, in_parts = rows(), rows()
    choose(None, [logits], at_once, RULES)
    choose(None, iter(torch.split(logits, 2)), in_parts, RULES)
    assert [row.ids for row in in_parts] == [row.ids for row in at_once]
    assert [row.logprobs for row in in_parts] == [row.logprobs for row in at_once]


def test_memory_that_runs_out_between_two_parts_leaves_every_row_as_it_was(
    rows: Callable[[], list[Row]],
) -> None:
    def parts() -> Iterator[torch.Tensor]:
        yield torch.zeros(2, VOCABULARY)
        raise torch.OutOfMemoryError("CUDA out of memory")

    ours = rows()
    with pytest.raises(torch.OutOfMemoryError):
        choose(None, parts(), ours, RULES)
    assert not any(row.ids or row.logprobs or row.stop_reason for row in ours)


def test_what_is_no_number_is_an_error_and_no_token(rows: Callable[[], list[Row]]) -> None:
    logits = torch.full((len(SHAPES) * 3, VOCABULARY), torch.nan)
    model = SimpleNamespace(named_parameters=list)
    with pytest.raises(ModelError, match="NaN"):
        choose(model, [logits], rows(), RULES)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"num_beams": 4}, "num_beams: 4"),
        ({"num_beams": 1, "stop_strings": None}, None),
        ({"stop_strings": ["\n"]}, "stop_strings"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha: 0.6"),
        ({"forced_bos_token_id": 5}, "forced_bos_token_id: 5"),
        ({"bad_words_ids": [[7], [9]]}, None),
        ({"bad_words_ids": [[7], [9, 8]]}, "bad_words_ids: [[7], [9, 8]]"),
        ({"repetition_penalty": 1.1, "temperature": 0.7, "do_sample": True}, None),
    ],
)
def test_settings_that_would_change_greedy_texts_are_told(
    tiny: Callable[..., Tiny], tmp_path: Path, setting: dict[str, object], told: str | None
) -> None:
    engine = open_arms(tiny())
    assert isinstance(engine, HFEngine)
    (tmp_path / "generation_config.json").write_text(json.dumps(setting))
    notes = generation.ignored_defaults(tmp_path, engine.tokens)
    assert [note for note in notes if told and told in note] == notes
    assert bool(notes) == bool(told)


@pytest.mark.parametrize("settings", [{"repetition_penalty": 1.7}, {"bad_words_ids": [[65], [70]]}])
def test_an_older_folder_tells_in_its_config_how_it_writes(
    tiny: Callable[..., Tiny], tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    copytree(tiny().model, folder)
    (folder / "generation_config.json").unlink()
    plain = oracle_of(folder)
    asked = [writing(text, Decoding(max_new_tokens=12)) for text in ("The", "Hello 🙂", "北京")]
    if "bad_words_ids" in settings:  # what it would write first
        first = [plain.written(plain.tokenizer(str(one.prompt)).input_ids, 12)[0] for one in asked]
        settings = {"bad_words_ids": [[token] for token in first]}
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    oracle = oracle_of(folder)
    engine = open_hf({"base": config(folder)}, offline=True)
    for one, item in zip(answers(engine, asked), engine.prepare(asked), strict=True):
        new = oracle.written(item.prompt_ids, 12)
        assert list(one.token_ids) == new[: len(one.token_ids)]
        assert new != plain.written(item.prompt_ids, 12)
