"""What judging may still cost, and how much of what is to be asked that pays for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.config import Budget
from evalkit.models.base import Prepared
from evalkit.records import Completion

_TURN = 32  # tokens a chat template may write around a turn
_SAFETY = 2.0  # texts to come may have more tokens in a byte than the worst so far
_TYPICAL = 3.0  # bytes of a prompt that make a token, where nothing better is known


class Tokens(NamedTuple):
    """What one call costs, or can cost at most."""

    tokens_in: int
    tokens_out: int


@dataclass(slots=True, kw_only=True)
class Purse:
    """What one judge may still spend; None: without a limit.

    A call is made where the worst that it can cost still fits. How many tokens a text has the
    endpoint alone knows: as many as bytes at most, and once there are answers at most twice as many
    per byte as the worst of them had.
    """

    money: float | None = None
    tokens: int | None = None
    calls: int | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    spent_money: float = 0.0
    spent_tokens: int = 0
    spent_calls: int = 0
    _per_byte: float = 1.0
    _seen: float = 0.0

    @classmethod
    def of(cls, budget: Budget) -> Purse:
        """All that may be spent."""
        return cls(money=budget.money, tokens=budget.tokens, calls=budget.calls)

    def share(self, judges: int, *, price_in: float = 0.0, price_out: float = 0.0) -> Purse:
        """An equal part of what is left, for one of so many judges that are still to be asked."""
        return Purse(
            money=None if self.money is None else (self.money - self.spent_money) / judges,
            tokens=None if self.tokens is None else (self.tokens - self.spent_tokens) // judges,
            calls=None if self.calls is None else (self.calls - self.spent_calls) // judges,
            price_in=price_in,
            price_out=price_out,
        )

    def take(self, share: Purse) -> None:
        """Add what was spent of a share."""
        self.spent_money += share.spent_money
        self.spent_tokens += share.spent_tokens
        self.spent_calls += share.spent_calls

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(one is not None for one in (self.money, self.tokens, self.calls))

    def worst(self, asked: Iterable[Prepared]) -> Tokens:
        """What the requests of one call, all on one prompt, can cost at most."""
        tokens_in = tokens_out = 0
        for one in asked:
            tokens_in = max(
                tokens_in, len(one.prompt_ids) or int(self._per_byte * size(one)) + _TURN
            )
            tokens_out += len(one.continuation_ids)
            tokens_out += one.decoding.max_new_tokens if one.decoding else 0
        return Tokens(tokens_in, tokens_out)

    def fits(self, calls: Sequence[Tokens]) -> int:
        """How many of the calls, from the first on, can be paid whatever they cost."""
        money, tokens = self.spent_money, self.spent_tokens
        for number, one in enumerate(calls):
            money += self.price(*one)
            tokens += sum(one)
            if (
                (self.money is not None and money > self.money)
                or (self.tokens is not None and tokens > self.tokens)
                or (self.calls is not None and self.spent_calls + number >= self.calls)
            ):
                return number
        return len(calls)

    def pay(self, asked: Sequence[Prepared], answers: Sequence[Completion]) -> bool:
        """Take off what a call has cost, the worst where an endpoint does not tell: then True."""
        tokens_in, tokens_out = tokens_of(answers)
        untold = not tokens_in and any(one.text for one in answers) and not asked[0].prompt_ids
        if untold:
            tokens_in, tokens_out = self.worst(asked)
        elif tokens_in:
            self._seen = max(self._seen, tokens_in / max(1, sum(map(size, asked))))
            self._per_byte = min(1.0, _SAFETY * self._seen)
        self.spent_calls += 1
        self.spent_tokens += tokens_in + tokens_out
        self.spent_money += self.price(tokens_in, tokens_out)
        return untold

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """In the currency of the configured prices."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


def tokens_of(answers: Sequence[Completion]) -> Tokens:
    """What a call has cost; several answers (to options) share their prompt."""
    return Tokens(
        max((one.tokens_in for one in answers), default=0), sum(one.tokens_out for one in answers)
    )


def size(one: Prepared) -> int:
    """Bytes of all that is sent."""
    request = one.request
    turns = (
        [request.prompt]
        if isinstance(request.prompt, str)
        else [turn.content for turn in request.prompt]
    )
    schema = request.decoding.schema if request.decoding else ""
    return sum(len(text.encode(errors="replace")) for text in (*turns, schema))


def about(one: Prepared) -> int:
    """Tokens that a prompt has about, where nobody has counted them."""
    return len(one.prompt_ids) or round(size(one) / _TYPICAL)
