"""What a model's folder says of its tokens: tokenizer, chat template, length, what ends a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.models.hf.configs import is_encoder_decoder, text_part
from evalkit.models.hf.seq2seq.tokens import Seq2SeqTokens
from evalkit.models.hf.texts import Ids
from evalkit.models.hf.tokens import Tokens

DEFAULT_MAX_LENGTH = 2048
UNSET_MAX_LENGTH = 10**12  # tokenizers say "no limit" with a very large number
LENGTH_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")


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
    prefix, suffix = _added(tokenizer)
    tokens = Tokens(
        tokenizer=tokenizer,
        template=template,
        max_length=_max_length(config, tokenizer, max_length) - reserved,
        added_prefix=prefix,
        empty_prefix=bos if bos is not None else eos,
        stop_ids=_stop_ids(folder, config, tokenizer),
        end_of_turn=_end_of_turn(tokenizer, template),
        unembedded_from=_unembedded_from(config, tokenizer),
        tokenizer_hash=tokenizer_hash(tokenizer),
        template_hash=template_hash(template),
        warn=_once(warn),
    )
    if not is_encoder_decoder(config):
        return tokens
    start, written = _decoder_starts(folder, config, tokenizer)
    reach = reach_of(config, "decoder")
    return Seq2SeqTokens.of(
        tokens,
        suffix=suffix,
        decoder_length=None if reach is None else reach - reserved,
        start=start,
        text=written,
    )


def _unembedded_from(config: Any, tokenizer: Any) -> int | None:
    """Where tokens were added and the model was not resized, the number of its embeddings."""
    rows = getattr(text_part(config), "vocab_size", None)
    highest = max(tokenizer.vocab_size - 1, *tokenizer.added_tokens_decoder, 0)
    return rows if rows and highest >= rows else None


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
    """The longest input in tokens: of the (text) config, else of the tokenizer, else 2048; these
    are the places where lm-eval looks."""
    inner = getattr(config, "text_config", None) or config
    found = next(
        (int(n) for name in LENGTH_NAMES if (n := getattr(inner, name, None)) is not None), None
    )
    bound = reach_of(config, "encoder") if is_encoder_decoder(config) else found
    if wanted is not None and bound is not None and wanted > bound:
        raise ModelError(
            f"model.max_length is {wanted}, but the model was made for at most {bound} tokens."
        )
    limit = getattr(tokenizer, "model_max_length", None)
    if found is None and limit is not None and limit < UNSET_MAX_LENGTH:
        found = int(limit)
    longest = wanted or found or DEFAULT_MAX_LENGTH
    return longest if bound is None else min(longest, bound)


def reach_of(config: Any, half: str) -> int | None:
    """How many tokens the encoder or the decoder has positions for; None where it reckons by
    distance alone, as T5 and its kin do, and reads longer texts than it was trained on."""
    own = getattr(config, half, None) or config
    if getattr(own, "relative_attention_num_buckets", None) is not None:
        return None
    names = (f"max_{half}_position_embeddings", *LENGTH_NAMES)
    return next((int(n) for name in names if (n := getattr(own, name, None)) is not None), None)


def _added(tokenizer: Any) -> tuple[Ids, Ids]:
    """What the tokenizer writes in front of a text and behind it of its own accord."""
    plain = tuple(tokenizer.encode("a", add_special_tokens=False))
    full = tuple(tokenizer.encode("a", add_special_tokens=True))
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    return (), ()


def _decoder_starts(folder: Path, config: Any, tokenizer: Any) -> tuple[Ids, Ids]:
    """What a decoder reads first where it scores, and where it writes; as in transformers.

    Labels are shifted behind the configuration's token; `generate` asks generation_config.json, and
    goes on with the first token that this forces.
    """
    told = generation_defaults(folder)
    own = [getattr(config, name, None) for name in _STARTS]
    theirs = [told.get(name) for name in _STARTS]
    scored, written = (
        next((token for token in (*order, tokenizer.bos_token_id) if token is not None), None)
        for order in ([*own, *theirs], [*theirs, *own])
    )
    if scored is None or written is None:
        raise ModelError(
            f"{folder} does not say which token its decoder begins with: set "
            "decoder_start_token_id in its config.json."
        )
    forced = told.get("forced_bos_token_id")
    return (scored,), (written,) if forced is None else (written, forced)


_STARTS = ("decoder_start_token_id", "bos_token_id")


def _stop_ids(folder: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    found = {tokenizer.eos_token_id}
    declared = generation_defaults(folder).get("eos_token_id")
    if declared is None:
        declared = getattr(text_part(config), "eos_token_id", None)
    found.update(declared if isinstance(declared, list | tuple) else [declared])
    return frozenset(token for token in found if token is not None)


def generation_defaults(folder: Path) -> dict[str, Any]:
    """What the model's files say of how it writes: generation_config.json, or config.json where
    there is none (as older models have it, and transformers reads them)."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{file} is not valid JSON: {error}") from error
        return content if isinstance(content, dict) else {}
    return {}


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
