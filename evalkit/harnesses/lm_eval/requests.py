"""What lm-eval would send to a model, as requests of ours.

As text, a prompt is letter by letter what lm-eval wrote. As a chat, lm-eval hands over the turns,
and each arm's own template writes them: whatever lm-eval does around its template (a delimiter
left out, an answer that is begun) is done all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.config import RunConfig
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Asked
from evalkit.harnesses.lm_eval.generating import FOLLOWED, Wanted, read_settings
from evalkit.records import Decoding, Message, Prompt

_MARK = "\0turns:"


def instances_of(name: str, task: Any, config: RunConfig) -> list[Any]:
    """lm-eval's own instances of a task, all of each document, within the run's limit."""
    chat = config.chat == "always"
    task.build_all_requests(
        limit=config.limit,
        rank=0,
        world_size=1,
        system_instruction=config.system,
        apply_chat_template=chat,
        fewshot_as_multiturn=config.fewshot_as == "turns",
        chat_template=_handed_over if chat else None,
    )
    found = list(task.instances)
    strange = {one.request_type for one in found} - _KINDS
    if strange:
        raise SuiteError(f"lm_eval:{name} makes requests of a kind unknown here: {strange}.")
    return found


_KINDS = {"loglikelihood", "loglikelihood_rolling", "generate_until"}


def _handed_over(turns: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
    """In place of a template: the turns themselves, to be rendered for each arm later."""
    answered = turns[-1]["role"] == "assistant"
    assert answered != add_generation_prompt, "lm-eval continues an answer that it has begun"
    return _MARK + json.dumps(list(turns))


@dataclass(slots=True)
class Wording:
    """Turns a task's instances into requests; remembers prompts, which many of them share."""

    name: str
    config: RunConfig
    notes: dict[str, None] = field(default_factory=dict)
    _prompts: dict[str, Prompt] = field(default_factory=dict)

    def asked(self, instance: Any) -> Iterator[Asked]:
        """An instance's requests: one for each of its repeats."""
        one = self._one(instance)
        for _ in range(instance.repeats or 1):
            yield one

    def _one(self, instance: Any) -> Asked:
        match instance.request_type, instance.args:
            case "loglikelihood", (str(context), str(continuation)):
                return Asked(
                    kind="loglikelihood",
                    prompt=self._prompt(context),
                    continuation=continuation,
                )
            case "loglikelihood_rolling", (str(text),):
                return Asked(kind="rolling", continuation=text)
            case "generate_until", (str(context), dict(given)):
                decoding = self._decoding(given)
                return Asked(kind="generate", prompt=self._prompt(context), decoding=decoding)
        raise SuiteError(
            f"lm_eval:{self.name}: document {instance.doc_id} asks with something else than text."
        )

    def _prompt(self, context: str) -> Prompt:
        if _MARK not in context:
            return context
        known = self._prompts.get(context)
        if known is None:
            known = self._prompts[context] = self._turns(context)
        return known

    def _turns(self, context: str) -> Prompt:
        try:
            turns = json.loads(context.removeprefix(_MARK))
            return tuple(Message(role=turn["role"], content=turn["content"]) for turn in turns)
        except (ValueError, TypeError, KeyError):
            raise SuiteError(
                f"lm_eval:{self.name} writes around its prompts itself, and they cannot be turns "
                "of a chat then. Ask it as text: leave out chat: always."
            ) from None

    def _decoding(self, given: Mapping[str, Any]) -> Decoding:
        """lm-eval's generation settings, read as its Hugging Face model reads them.

        What a model thinks before it answers is none of its answer, unless the run says so
        (`reasoning: none`): as with lm-eval's think_end_token.
        """
        wanted = read_settings(given, self.config.decoding.max_new_tokens, f"lm_eval:{self.name}")
        if wanted.others:
            ignored = ", ".join(f"{key}: {value}" for key, value in wanted.others.items())
            self.notes[f"the task's {ignored} is not followed"] = None
        return Decoding(
            max_new_tokens=wanted.limit,
            temperature=_temperature(wanted),
            top_p=wanted.top_p,
            stop=wanted.until,
            seed=self.config.seed,
            end_of_turn=False,  # lm-eval asks the model's own files and the task what ends a text
            thinking=self.config.thinking,
        )


def _temperature(wanted: Wanted) -> float:
    """Sampled without a temperature, a text is drawn as it is."""
    if not wanted.sampled:
        return 0.0
    return 1.0 if wanted.temperature is None else wanted.temperature


def check_settings(config: RunConfig) -> None:
    """Generation settings that evalkit does not have would have no effect: SuiteError."""
    places = {"lm_eval.gen_kwargs": config.lm_eval.gen_kwargs}
    places |= {
        f"lm_eval.tasks.{name}.gen_kwargs": one.gen_kwargs
        for name, one in config.lm_eval.tasks.items()
    }
    for place, given in places.items():
        strange = [key for key in given if key not in FOLLOWED]
        if strange:
            raise SuiteError(
                f"{place}: {strange[0]!r} is not known here. "
                f"Known are {', '.join(sorted(FOLLOWED))}."
            )
