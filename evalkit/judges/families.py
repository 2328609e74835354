"""Which family a model is of, by its name: a judge may favour its own kind."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalkit.records import Side

_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "GPT": ("gpt", "chatgpt", "o1", "o3", "o4", "openai", "davinci"),
    "Claude": ("claude", "anthropic"),
    "Gemini": ("gemini", "gemma", "palm", "bard", "codegemma", "paligemma"),
    "Qwen": ("qwen", "qwq", "qvq", "tongyi"),
    "Llama": ("llama", "codellama", "tinyllama", "vicuna", "alpaca"),
    "Mistral": ("mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral"),
    "DeepSeek": ("deepseek",),
    "GLM": ("glm", "chatglm", "zhipu"),
    "Yi": ("yi",),
    "Baichuan": ("baichuan",),
    "InternLM": ("internlm", "intern"),
    "Phi": ("phi",),
    "Command": ("command", "c4ai", "aya", "cohere"),
    "Grok": ("grok",),
    "SmolLM": ("smollm",),
    "Kimi": ("kimi", "moonshot", "moonlight"),
    "ERNIE": ("ernie", "wenxin"),
    "Hunyuan": ("hunyuan",),
    "MiniMax": ("minimax", "abab"),
    "Doubao": ("doubao",),
    "Falcon": ("falcon",),
    "OLMo": ("olmo", "tulu"),
    "Granite": ("granite",),
    "Nova": ("nova", "titan"),
    "Pythia": ("pythia", "gptneox", "neox"),
}
_WORD = re.compile(r"[a-z]+")
_SERIES = re.compile(r"(?<![a-z0-9])o[134](?![a-z0-9])")


def families_of(model: str) -> tuple[str, ...]:
    """The families that a model's name or path speaks of; a distilled model may be of two.

    Its words count without the version behind them: "Qwen2.5-7B" is qwen, "phi3" phi.
    """
    name = model.lower().replace("alpaca_eval", "")  # a benchmark's name, not a model's
    words = {*_WORD.findall(name), *_SERIES.findall(name)}
    return tuple(family for family, names in _FAMILIES.items() if words.intersection(names))


def same_family(judge: str, candidates: Mapping[Side, str]) -> str:
    """The first candidate's model that shares a family with the judge; empty where none does."""
    mine = set(families_of(judge))
    return next((one for one in candidates.values() if mine.intersection(families_of(one))), "")
