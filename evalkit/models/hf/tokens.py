"""From requests to token ids: the boundaries, the special tokens, the chat template, the limit.

The rules are those of lm-eval's HFLM, so that numbers can be compared with published ones:
trailing whitespace of a context belongs to its continuation; context + continuation are encoded
as one text and cut at the length of the encoded context; an empty context becomes the BOS (or
else EOS) token; what is too long loses tokens on the left. One deliberate difference: special
tokens are never doubled, on any row, where HFLM looks at the first row of a batch only and
doubles the BOS of a rolling text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import ModelError
from evalkit.records import Message, Prompt, Request

DEFAULT_MAX_LENGTH = 2048
UNSET_MAX_LENGTH = 10**12  # tokenizers say "no limit" with a very large number
LENGTH_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")

Ids = tuple[int, ...]


class Encoded(NamedTuple):
    """One request in tokens; `truncated` counts the prompt tokens cut from the left."""

    prompt_ids: Ids
    continuation_ids: Ids
    prompt_text: str
    truncated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The base's tokenizer with everything that decides which ids a request becomes."""

    tokenizer: Any
    template: str | None
    max_length: int
    added_prefix: Ids
    """Special tokens the tokenizer itself writes in front of every text (usually BOS or none)."""
    empty_prefix: int | None
    """The token that stands for an empty context: BOS, or else EOS."""
    stop_ids: frozenset[int]
    """Tokens that end a generated text: EOS of tokenizer and model, the template's end of turn."""
    tokenizer_hash: str
    template_hash: str
    warn: Callable[[str], None]

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Token ids of the requests, in their order; equal prompts are rendered once."""
        rendered = {prompt: self._text(prompt) for prompt in {r.prompt for r in requests}}
        parts = [self._parts(request, rendered[request.prompt]) for request in requests]
        ids = self._encode_texts({text for part in parts for text in part if text})
        return [
            self._encoded(request, context, whole, ids)
            for request, (context, whole) in zip(requests, parts, strict=True)
        ]

    def _parts(self, request: Request, prompt: str) -> tuple[str, str]:
        """The context and the whole text of a request; a context never ends in whitespace."""
        if request.kind == "generate":
            return prompt, prompt
        if request.kind == "rolling":
            return "", request.continuation
        return prompt.rstrip(), prompt + request.continuation

    def _encode_texts(self, texts: Iterable[str]) -> dict[str, Ids]:
        """Ids without special tokens, for the non-empty texts, in one call of the tokenizer."""
        ordered = sorted(texts)
        if not ordered:
            return {}
        encoded = self.tokenizer(
            ordered, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return {text: tuple(ids) for text, ids in zip(ordered, encoded, strict=True)}

    def _encoded(self, request: Request, context: str, whole: str, ids: dict[str, Ids]) -> Encoded:
        whole_ids = ids.get(whole, ())
        match request.kind:
            case "generate":
                return self._cut_prompt(request, context, self._with_prefix(whole_ids))
            case "rolling":
                prompt, rest = self._after_empty(whole_ids)
                return Encoded(prompt, rest, "", 0)
            case "loglikelihood":
                if not context:
                    prompt, rest = self._after_empty(whole_ids)
                else:
                    prompt = self._with_prefix(ids[context])
                    rest = self._with_prefix(whole_ids)[len(prompt) :]
                    if not rest:  # the boundary merged into one token: encode the parts alone
                        tail = whole[len(context) :]
                        rest = self._encode_texts({tail} - {""}).get(tail, ())
                return self._cut_context(context, prompt, rest)

    def _with_prefix(self, ids: Ids) -> Ids:
        """The tokenizer's own special tokens in front, unless the text already wrote them."""
        prefix = self.added_prefix
        if ids[: len(prefix)] != prefix:
            ids = prefix + ids
        return ids if ids else (self._empty_token(),)

    def _after_empty(self, ids: Ids) -> tuple[Ids, Ids]:
        """An empty context: the prefix token, taken from the text where it begins with it."""
        token = self._empty_token()
        return ((token,), ids[1:] if ids[:1] == (token,) else ids)

    def _empty_token(self) -> int:
        if self.empty_prefix is None:
            raise ModelError(
                "An empty prompt needs a BOS or EOS token to start from, and this model's "
                "tokenizer has neither. Give the samples a prompt."
            )
        return self.empty_prefix

    def _cut_context(self, text: str, prompt: Ids, continuation: Ids) -> Encoded:
        # The last token is only predicted, never read: one more than max_length fits.
        excess = max(0, len(prompt) + len(continuation) - self.max_length - 1)
        cut = min(excess, len(prompt) - 1)
        return self._shown(text, prompt, continuation, cut)

    def _cut_prompt(self, request: Request, text: str, prompt: Ids) -> Encoded:
        new = request.decoding.max_new_tokens if request.decoding else 0
        room = self.max_length - new
        if room < 1:
            raise ModelError(
                f"{request.suite} asks for up to {new} new tokens, but the model holds "
                f"{self.max_length} in all. Set decoding.max_new_tokens below that."
            )
        return self._shown(text, prompt, (), max(0, len(prompt) - room))

    def _shown(self, text: str, prompt: Ids, continuation: Ids, cut: int) -> Encoded:
        kept = prompt[cut:]
        if cut:
            text = str(self.tokenizer.decode(kept))
        elif self.added_prefix and kept[: len(self.added_prefix)] == self.added_prefix:
            mark = str(self.tokenizer.decode(self.added_prefix))
            text = text if text.startswith(mark) else mark + text
        return Encoded(kept, continuation, text, cut)

    def _text(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else self.render(prompt)

    def render(self, turns: Sequence[Message]) -> str:
        """The turns as the chat template writes them, ready for the assistant to go on."""
        if self.template is None:
            raise ModelError(
                "These prompts are chat turns, but this model has no chat template (a raw base "
                "model usually has none). Set model.chat_template to a Jinja file, for both "
                "arms the same, or chat: never."
            )
        from jinja2 import TemplateError

        rows = [{"role": turn.role, "content": turn.content} for turn in turns]
        problem: TemplateError | None = None
        try:
            text = self._apply(rows)
            if _holds_system(text, rows):
                return text
        except TemplateError as error:
            problem = error
        merged = _system_into_first_turn(rows)
        if merged is None:
            why = problem or "it leaves out the system prompt, and no user's turn follows it"
            raise ModelError(f"The chat template cannot write these turns: {why}") from problem
        self.warn("The chat template has no system role: the system prompt leads the first turn.")
        try:
            return self._apply(merged)
        except TemplateError as error:
            raise ModelError(f"The chat template cannot write these turns: {error}") from error

    def _apply(self, rows: list[dict[str, str]]) -> str:
        answered = rows[-1]["role"] == "assistant"
        return str(
            self.tokenizer.apply_chat_template(
                rows,
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=not answered,
                continue_final_message=answered,
            )
        )


def open_tokens(
    folder: Path,
    config: Any,
    *,
    chat_template: Path | None = None,
    max_length: int | None = None,
    reserved: int = 0,
    trust_remote_code: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Tokens:
    """The tokens of a model folder; `config` is its transformers configuration.

    `reserved` positions are kept free for virtual tokens of a soft prompt.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    template = _template(tokenizer, chat_template)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    return Tokens(
        tokenizer=tokenizer,
        template=template,
        max_length=_max_length(config, tokenizer, max_length) - reserved,
        added_prefix=_added_prefix(tokenizer),
        empty_prefix=bos if bos is not None else eos,
        stop_ids=_stop_ids(folder, config, tokenizer, template),
        tokenizer_hash=tokenizer_hash(tokenizer),
        template_hash=template_hash(template),
        warn=_once(warn),
    )


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Say each thing the first time only: what holds of one prompt holds of all."""
    told: set[str] = set()

    def tell(message: str) -> None:
        if message not in told:
            told.add(message)
            say(message)

    return tell


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder, or a ModelError that names the folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:
        raise ModelError(f"The tokenizer in {folder} cannot be opened: {error}") from error


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over what turns text into ids; the chat template is not part of it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        # Left behind by whoever called the tokenizer last; says nothing of the tokenizer.
        content.pop("truncation", None)
        content.pop("padding", None)
    else:
        content = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    named = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    text = json.dumps([content, named], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def template_hash(template: str | None) -> str:
    """SHA-256 of a chat template; empty where there is none."""
    return hashlib.sha256(template.encode()).hexdigest() if template else ""


def ids_hash(ids: Ids) -> str:
    """A short name for a sequence of token ids."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]


def chat_template_of(tokenizer: Any) -> str | None:
    """The tokenizer's default chat template, if it has one."""
    given = tokenizer.chat_template
    if isinstance(given, dict):
        given = given.get("default")
    return str(given) if given else None


def _template(tokenizer: Any, override: Path | None) -> str | None:
    return chat_template_of(tokenizer) if override is None else read_template(override)


def read_template(file: Path) -> str:
    """A chat template's text; a ModelError names the file that cannot be read."""
    try:
        return file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"chat_template: cannot read {file}: {error}") from error


def _max_length(config: Any, tokenizer: Any, wanted: int | None) -> int:
    """The longest input in tokens: of the (text) config, else of the tokenizer, else 2048."""
    inner = getattr(config, "text_config", None) or config
    found = next(
        (int(n) for name in LENGTH_NAMES if (n := getattr(inner, name, None)) is not None), None
    )
    if wanted is not None and found is not None and wanted > found:
        raise ModelError(
            f"model.max_length is {wanted}, but the model was made for at most {found} tokens."
        )
    limit = getattr(tokenizer, "model_max_length", None)
    if found is None and limit is not None and limit < UNSET_MAX_LENGTH:
        found = int(limit)
    return wanted or found or DEFAULT_MAX_LENGTH


def _added_prefix(tokenizer: Any) -> Ids:
    """What the tokenizer writes in front of a text of its own accord."""
    plain = tuple(tokenizer.encode("a", add_special_tokens=False))
    full = tuple(tokenizer.encode("a", add_special_tokens=True))
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start]
    return ()


def _stop_ids(folder: Path, config: Any, tokenizer: Any, template: str | None) -> frozenset[int]:
    found = {tokenizer.eos_token_id}
    declared = generation_defaults(folder).get("eos_token_id")
    if declared is None:
        inner = getattr(config, "text_config", None) or config
        declared = getattr(inner, "eos_token_id", None)
    found.update(declared if isinstance(declared, list | tuple) else [declared])
    found.add(_end_of_turn(tokenizer, template))
    return frozenset(token for token in found if token is not None)


def generation_defaults(folder: Path) -> dict[str, Any]:
    """What the model's generation_config.json says; empty where there is none."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _end_of_turn(tokenizer: Any, template: str | None) -> int | None:
    """The special token the template writes right after an assistant's answer, if any."""
    if template is None:
        return None
    mark = "evalkit-answer"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
    try:
        text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    except Exception:  # a template may refuse a bare pair of turns; EOS is then all we know
        return None
    _, found, tail = str(text).rpartition(mark)
    ids = tokenizer.encode(tail.lstrip(), add_special_tokens=False) if found else []
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return int(ids[0]) if ids and ids[0] in special else None


def _holds_system(text: str, rows: list[dict[str, str]]) -> bool:
    """Whether the system prompt, if there is one, got into the text; some templates drop it."""
    if rows[0]["role"] != "system":
        return True
    return rows[0]["content"].strip() in text  # templates may trim, but write nothing else anew


def _system_into_first_turn(rows: list[dict[str, str]]) -> list[dict[str, str]] | None:
    """The same turns for a template without a system role; None where that is not the trouble."""
    if len(rows) < 2 or rows[0]["role"] != "system" or rows[1]["role"] != "user":
        return None
    content = f"{rows[0]['content']}\n\n{rows[1]['content']}"
    return [{"role": "user", "content": content}, *rows[2:]]
