"""From requests to token ids: the boundaries, the special tokens, the chat template, the limit.

The rules are those of lm-eval's HFLM, so that numbers can be compared with published ones:
trailing whitespace of a context belongs to its continuation; context + continuation are encoded
as one text and cut at the length of the encoded context; an empty context becomes the BOS (or
else EOS) token; what is too long loses tokens on the left. One deliberate difference: special
tokens are never doubled, on any row, where HFLM looks at the first row of a batch only and
doubles the BOS of a rolling text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.errors import ModelError
from evalkit.models.hf.texts import Encoded, Ids, Seen, Texts
from evalkit.records import Message, Prompt, Request, RequestKind


class _Job(NamedTuple):
    """Something to encode, and the first request that wants it."""

    kind: RequestKind
    context: str
    tail: str
    request: Request

    @property
    def alone(self) -> str:
        """The text of which the ids are needed by themselves."""
        return self.context or self.tail


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
    """Tokens that end a generated text: EOS of the tokenizer, and those that the model names."""
    end_of_turn: int | None
    """The token that ends an answer in the chat template, and with it a text; None: no such."""
    unembedded_from: int | None
    """The first token that the model has no embedding for; None where it has one for all."""
    tokenizer_hash: str
    template_hash: str
    warn: Callable[[str], None]
    decoder_start: Ids = ()
    """What a decoder beside an encoder reads first; empty where a model is a decoder alone."""
    text_start: Ids = ()
    """The same for texts that are written, with what the model's makers have each begin with."""

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Token ids of the requests, in their order; what is asked twice is encoded once.

        Equal requests (of several arms) get one object, and those on one prompt share its ids.
        """
        jobs, order = self._jobs(requests)
        texts = Texts.of(self.tokenizer, [job.alone for job in jobs[:: len(jobs) // 16 + 1]])
        ids = texts.encode(job.alone for job in jobs)
        tails: dict[str, dict[str, int]] = {}
        starts: dict[Ids, Seen] = {}
        done: list[Encoded | None] = [None] * len(jobs)
        for number, job in enumerate(jobs):
            if job.kind == "generate":
                prompt = self._marked(ids.get(job.context, ()))
                done[number] = self._cut_prompt(job.request, job.context, prompt)
            elif job.kind == "whole":
                done[number] = self._whole(job.tail, ids.get(job.tail, ()), starts)
            elif job.context:
                tails.setdefault(job.context, {})[job.tail] = number
            elif job.kind == "rolling":
                prompt, rest = self._rolled(ids.get(job.tail, ()))
                # A text that is rolled through has no prompt that anybody wrote.
                done[number] = Encoded(Seen.of(prompt, ""), rest, 0)
            else:
                prompt, rest = self._after_empty(ids.get(job.tail, ()))
                done[number] = Encoded(self._shown("", prompt, 0), rest, 0)
        for number, encoded in self._continued(texts, ids, tails):
            done[number] = encoded
        assert all(done), "a request was not encoded"
        return [one for number in order if (one := done[number])]

    @property
    def window(self) -> int:
        """Tokens that are scored at a time at most."""
        return self.max_length

    def room(self, new: int) -> int:
        """Tokens of a prompt that fit beside so many new ones."""
        return self.max_length - new

    def problem(self, *texts: Ids) -> str:
        """Why the model cannot read these tokens; empty if it can."""
        first = self.unembedded_from
        if first is None or not (unknown := [one for ids in texts for one in ids if one >= first]):
            return ""
        return (
            f"the tokenizer writes token {unknown[0]} ({self.tokenizer.decode(unknown[:1])!r}), "
            f"but the model has embeddings for {first:,} tokens only: tokens were added without "
            "resizing the model. Resize it (resize_token_embeddings), train and save it again"
        )

    def _jobs(self, requests: Sequence[Request]) -> tuple[list[_Job], list[int]]:
        """What is to be encoded, each once; and for each request, which of them it is."""
        rendered: dict[Prompt, tuple[str, str, str]] = {}
        views: dict[int, tuple[str, str, str]] = {}  # a prompt of many turns is slow to compare
        numbers: dict[tuple[str, str, str, int], int] = {}
        jobs: list[_Job] = []
        order: list[int] = []
        for request in requests:
            view = views.get(id(request.prompt))
            if view is None:
                view = rendered.get(request.prompt)
                if view is None:
                    text = self._text(request.prompt)
                    # A context never ends in whitespace: that belongs to the continuation.
                    context = text.rstrip()
                    view = rendered[request.prompt] = (text, context, text[len(context) :])
                views[id(request.prompt)] = view
            text, context, space = view
            new = 0
            match request.kind:
                case "generate":
                    context, tail = text, ""
                    new = request.decoding.max_new_tokens if request.decoding else 0
                case "rolling" | "whole":
                    context, tail = "", request.continuation
                case "loglikelihood":
                    tail = space + request.continuation
            key = (request.kind, context, tail, new)
            number = numbers.setdefault(key, len(jobs))
            if number == len(jobs):
                jobs.append(_Job(request.kind, context, tail, request))
            order.append(number)
        return jobs, order

    def _continued(
        self, texts: Texts, ids: Mapping[str, Ids], tails: Mapping[str, Mapping[str, int]]
    ) -> Iterator[tuple[int, Encoded]]:
        """Contexts (of known ids) with the numbered tails of each: encoded as one text and cut."""
        for context, wholes in texts.wholes(ids, tails):
            mine = zip(tails[context].items(), wholes, strict=True)
            yield from self._scored(texts, context, ids[context], mine)

    def _scored(
        self,
        texts: Texts,
        context: str,
        ids: Ids,
        wholes: Iterable[tuple[tuple[str, int], Ids]],
    ) -> Iterator[tuple[int, Encoded]]:
        """A context with its numbered continuations, of which the wholes' ids are given."""
        prompt = self._marked(ids)
        before = len(prompt)
        cuts: dict[int, Seen] = {}  # its continuations share what is left of a prompt
        for (tail, number), whole in wholes:
            rest = (self._marked(whole) if self.added_prefix else whole)[before:]
            if not rest:  # the boundary merged into one token: encode the parts alone
                rest = texts.encode([tail]).get(tail, ())
            # The last token is only predicted, never read: one more than max_length fits.
            excess = before + len(rest) - self.max_length - 1
            cut = min(excess, before - 1) if excess > 0 else 0
            if cut not in cuts:
                cuts[cut] = self._shown(context, prompt, cut)
            yield number, Encoded(cuts[cut], rest, cut)

    def _whole(self, text: str, ids: Ids, starts: dict[Ids, Seen]) -> Encoded:
        """A text of which every token but the first is scored: the last, on all that go before.

        The special tokens in front stay where a text that is too long loses others. Texts that
        differ in their last token share the rest (`starts`).
        """
        mark = len(self.added_prefix)
        ids = self._marked(ids) if ids or mark else ids
        cut = max(0, len(ids) - self.max_length)
        ids = ids[:mark] + ids[mark + cut :]
        start = starts.get(ids[:-1])
        if start is None:
            start = starts[ids[:-1]] = Seen.of(ids[:-1], text)
        return Encoded(start._replace(text=text), ids[-1:], cut)

    def _marked(self, ids: Ids) -> Ids:
        """The tokenizer's own special tokens in front, unless the text already wrote them."""
        prefix = self.added_prefix
        if ids[: len(prefix)] != prefix:
            ids = prefix + ids
        return ids if ids else (self._empty_token(),)

    def _after_empty(self, ids: Ids) -> tuple[Ids, Ids]:
        """An empty context: the prefix token, taken from the text where it begins with it."""
        token = self._empty_token()
        return ((token,), ids[1:] if ids[:1] == (token,) else ids)

    def _rolled(self, ids: Ids) -> tuple[Ids, Ids]:
        """A text of which every token is scored, behind the token that stands for no prompt."""
        return self._after_empty(ids)

    def _empty_token(self) -> int:
        if self.empty_prefix is None:
            raise ModelError(
                "An empty prompt needs a BOS or EOS token to start from, and this model's "
                "tokenizer has neither. Give the samples a prompt."
            )
        return self.empty_prefix

    def _cut_prompt(self, request: Request, text: str, prompt: Ids) -> Encoded:
        new = request.decoding.max_new_tokens if request.decoding else 0
        room = self.room(new)
        if room < 1:
            raise ModelError(
                f"{request.suite} asks for up to {new} new tokens, but the model holds "
                f"{self.window} in all. Set decoding.max_new_tokens below that."
            )
        cut = max(0, len(prompt) - room)
        return Encoded(self._shown(text, prompt, cut), (), cut)

    def _shown(self, text: str, prompt: Ids, cut: int) -> Seen:
        """What is left of a prompt, in tokens and as the model sees it."""
        kept = prompt[cut:]
        if cut:
            text = str(self.tokenizer.decode(kept))
        elif self.added_prefix and kept[: len(self.added_prefix)] == self.added_prefix:
            mark = str(self.tokenizer.decode(self.added_prefix))
            text = text if text.startswith(mark) else mark + text
        return Seen.of(kept, text)

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
