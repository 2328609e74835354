"""lm-eval's model `evalkit`: its requests, answered by the engine as its own HFLM would."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from lm_eval.api.model import LM
from lm_eval.utils import simple_parse_args_string

from evalkit import __version__
from evalkit.errors import UsageError
from evalkit.harnesses.lm_eval.adding import added
from evalkit.harnesses.lm_eval_model.answering import answer
from evalkit.harnesses.lm_eval_model.arguments import read_arm
from evalkit.harnesses.lm_eval_model.texts import MAX_NEW_TOKENS, Manner, cut_text, read_manner
from evalkit.models.hf import open_hf
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.texts import Encoded, Seen
from evalkit.records import Completion, Request

_ANY_DEVICE = "cuda:0"
"""What lm-eval's command says where its user named no device: the model's own choice, then."""

_LOG = logging.getLogger("lm_eval.evalkit")  # lm-eval shows what is said below its own name


class _Told:
    """What the engine says goes into lm-eval's log; its bars are drawn by the requests."""

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        """Nothing."""

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Log it."""
        _LOG.info(message)


class EvalkitLM(LM):  # type: ignore[misc]  # lm-eval ships no types
    """One arm, opened; nothing is loaded into memory before the first answer that is not stored.

    Raises UsageError for wrong arguments, ModelError where the model cannot be found or run.
    """

    def __init__(
        self,
        *,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        enable_thinking: bool | None = None,
        think_end_token: str | int | None = None,
        chat_template_args: Mapping[str, Any] | None = None,
        **model_args: Any,
    ) -> None:
        """`model_args` are those of `read_arm`; evalkit packs by tokens, whatever a batch size."""
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "The model evalkit runs in one process: start it without accelerate launch or "
                "torchrun."
            )
        if enable_thinking and think_end_token is None:
            raise UsageError("--model_args: enable_thinking=true needs think_end_token=…, too.")
        if max_batch_size is not None or str(batch_size or 1) != "1":
            _LOG.info(
                "evalkit packs by tokens, not by rows: --batch_size and --max_batch_size change "
                "nothing; --model_args batch_tokens=N bounds the memory."
            )
        self.name, self.config = read_arm(model_args)
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        engine = open_hf({self.name: self.config}, offline=offline, progress=_Told())
        assert isinstance(engine, HFEngine)
        self.engine = engine
        self.tokenizer = engine.tokens.tokenizer
        self._template = engine.tokens.template
        self._thinking = enable_thinking
        self._think_end = _token_or_text(think_end_token)
        self._template_args = dict(chat_template_args or {})
        if enable_thinking is not None:
            self._template_args["enable_thinking"] = enable_thinking

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """The model, opened from `--model_args` and what else lm-eval was told.

        `arg_dict` comes to say what the arm is called: lm-eval names its output folder by it, and
        by chance if it finds no name.
        """
        told = {name: one for name, one in (additional_config or {}).items() if one is not None}
        if told.get("device") == _ANY_DEVICE:
            del told["device"]
        opened = cls(**{**told, **arg_dict})
        if "config" in arg_dict:
            arg_dict.setdefault("model", opened.name)
        return opened

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """The same from a text, "key=value,key=value"."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a text; None where the tokenizer has none."""
        token: int | None = self.tokenizer.eos_token_id
        return token

    @property
    def prefix_token_id(self) -> int | None:
        """The token that stands for an empty context: BOS, or else EOS."""
        return self.engine.tokens.empty_prefix

    @property
    def max_length(self) -> int:
        """How many tokens the model reads at most."""
        return self.engine.tokens.max_length

    @property
    def max_gen_toks(self) -> int:
        """How many tokens are written where the task does not say."""
        return MAX_NEW_TOKENS

    @property
    def tokenizer_name(self) -> str:
        """What prompts are made with: part of the key under which lm-eval keeps them."""
        told = json.dumps([self._template, self._template_args], sort_keys=True, default=str)
        template = hashlib.sha256(told.encode()).hexdigest()
        return f"{self.engine.tokens.tokenizer_hash[:16]}-{template[:16]}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids, with the tokenizer's own special tokens unless the text begins with BOS."""
        prefix = self.prefix_token_id
        if add_special_tokens is None and prefix is not None:
            marked = string.startswith(self.tokenizer.decode([prefix]))
            add_special_tokens = False if marked else None
        plain = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.tokenizer.encode(string, **plain)
        return ids

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that prompts are written with from now on; a name picks one of several."""
        if chat_template is False or chat_template is None:
            return None
        if isinstance(chat_template, str):
            given = self.tokenizer.chat_template
            names = sorted(given) if isinstance(given, dict) else []
            if chat_template not in names:
                raise UsageError(
                    f"--apply_chat_template: the tokenizer has no template {chat_template!r}; "
                    + (f"it has {', '.join(names)}." if names else "leave its name out.")
                )
            self._template = given[chat_template]
        return self._written()

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Turns as the model's template writes them; without the system's where it has no place."""
        from jinja2 import TemplateError

        options = {
            "chat_template": self._written(),
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
            **self._template_args,
        }
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, **options))
        except TemplateError as error:
            turns = [turn for turn in chat_history if turn["role"] != "system"]
            if len(turns) == len(chat_history):
                raise UsageError(f"The chat template cannot write a prompt: {error}") from error
            _LOG.warning("The chat template failed: %s. The system prompt is left out.", error)
            return str(self.tokenizer.apply_chat_template(turns, **options))

    def _written(self) -> str:
        if self._template is None:
            raise UsageError(
                "--apply_chat_template: this model has no chat template (a raw base model usually "
                "has none). Leave the option out, or name a Jinja file by --model_args "
                "chat_template=FILE."
            )
        return self._template

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether it is the greedy one) of each continuation."""
        if self._thinking:
            raise UsageError(
                "enable_thinking=true is for tasks that generate; "
                f"{requests[0].task_name} compares log-likelihoods."
            )
        asked = [
            self._asked(one, "loglikelihood", prompt=one.args[0], continuation=one.args[1])
            for one in requests
        ]
        found = answer(
            self.engine,
            self.engine.prepare(asked),
            title="Running loglikelihood requests",
            quiet=disable_tqdm,
        )
        answers = [(added(one.logprobs), bool(one.is_greedy)) for one in found]
        for one, said in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", one.args, said)
        return answers

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-likelihood in nats of each whole text; 0 for one without tokens."""
        prefix = self.prefix_token_id
        if prefix is None:
            raise UsageError("The tokenizer has neither BOS nor EOS for a text to start from.")
        before = Seen.of((prefix,), "")
        ids = [tuple(self.tok_encode(one.args[0])) for one in requests]
        asked, encoded = [], []
        for one, text in zip(requests, ids, strict=True):
            if text:
                asked.append(self._asked(one, "rolling", prompt="", continuation=one.args[0]))
                encoded.append(Encoded(before, text, 0))
        found = iter(
            answer(
                self.engine,
                self.engine.prepare_encoded(asked, encoded),
                title="Running loglikelihood_rolling requests",
                quiet=disable_tqdm,
            )
        )
        answers = [added(next(found).logprobs, self.max_length) if text else 0.0 for text in ids]
        for one, said in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", one.args, said)
        return answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The text that the model writes after each context, up to the task's stop strings."""
        manners = self._manners(requests)
        repeats: Counter[tuple[str, str, str]] = Counter()
        asked, ways = [], []
        for one in requests:
            key = _named(one.args[1])
            seen = (one.task_name or "", one.args[0], key)
            asked.append(
                self._asked(
                    one,
                    "generate",
                    prompt=one.args[0],
                    decoding=manners[key].decoding,
                    index=repeats[seen],
                )
            )
            ways.append(manners[key])
            repeats[seen] += 1
        found = answer(
            self.engine,
            self.engine.prepare(asked),
            title="Running generate_until requests",
            quiet=disable_tqdm,
        )
        texts = [self._text(one, way) for one, way in zip(found, ways, strict=True)]
        for one, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", one.args, text)
        return texts

    def _manners(self, requests: Iterable[Any]) -> dict[str, Manner]:
        """Every way of generating that is asked for, by the words it is asked in."""
        eos = None if self.eot_token_id is None else self.tokenizer.decode([self.eot_token_id])
        found: dict[str, Manner] = {}
        for one in requests:
            given, task = one.args[1], one.task_name or "lm-eval"
            if (key := _named(given)) in found:
                continue
            # lm-eval has seeded torch by its --seed: another seed draws other texts here, too.
            way = read_manner(given, eos=eos, seed=torch.initial_seed(), task=task)
            tokens = self.engine.tokens
            if tokens.room(way.decoding.max_new_tokens) < 1:
                raise UsageError(
                    f"{task} asks for up to {way.decoding.max_new_tokens} new tokens, but the "
                    f"model holds {tokens.window} in all. Set --gen_kwargs max_gen_toks=… below."
                )
            found[key] = way
        return found

    def _text(self, completion: Completion, way: Manner) -> str:
        return cut_text(completion.token_ids, way.stops, self.tokenizer, self._think_end)

    def _asked(self, instance: Any, kind: Any, **told: Any) -> Request:
        return Request(
            arm=self.name,
            suite=instance.task_name or "lm-eval",
            sample_id=str(instance.doc_id),
            kind=kind,
            **told,
        )

    def get_model_info(self) -> dict[str, Any]:
        """What determines the answers, for the results file; `model_dtype` as HFLM has it."""
        told = dict(self.engine.fingerprints(self.name))
        return {"model_dtype": told.pop("dtype"), "evalkit": {"version": __version__, **told}}


def _named(gen_kwargs: Mapping[str, Any]) -> str:
    return json.dumps(gen_kwargs, sort_keys=True, default=str)


def _token_or_text(given: str | int | None) -> str | int | None:
    return int(given) if isinstance(given, str) and given.isdigit() else given
