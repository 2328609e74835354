"""Generate the arithmetic suite: 200 short integer questions in English.

Usage: ``python generate.py > samples.jsonl``

The rows depend only on ``SEED``. Every answer is a non-negative integer and
every division is exact. ``digits`` is the number of digits of the longest
number that appears in the question.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict, dataclass
from typing import NamedTuple

SEED = 20260101
MAX_ATTEMPTS = 100_000


class Numbers(NamedTuple):
    """Two operands and the result of applying the operation to them."""

    a: int
    b: int
    result: int


@dataclass(frozen=True)
class Row:
    """One line of ``samples.jsonl``."""

    id: str
    question: str
    target: str
    op: str
    digits: str


# Rows wanted for each operation, by digits of the longest number.
PLAN: dict[str, dict[int, int]] = {
    "add": {1: 10, 2: 15, 3: 15},
    "subtract": {1: 10, 2: 15, 3: 15},
    "multiply": {1: 12, 2: 16, 3: 12},
    "divide": {1: 6, 2: 18, 3: 16},
    "word": {1: 10, 2: 18, 3: 12},
}

PHRASES: dict[str, tuple[str, ...]] = {
    "add": (
        "What is {a} + {b}?",
        "Add {a} and {b}.",
        "What do you get when you add {b} to {a}?",
        "Find the sum of {a} and {b}.",
        "How much is {a} plus {b}?",
        "Calculate {a} + {b}.",
        "{a} plus {b} equals what number?",
    ),
    "subtract": (
        "What is {a} - {b}?",
        "Subtract {b} from {a}.",
        "How much is {a} minus {b}?",
        "Take {b} away from {a}. What remains?",
        "Find the difference between {a} and {b}.",
        "Work out {a} - {b}.",
        "What number is {b} less than {a}?",
    ),
    "multiply": (
        "What is {a} x {b}?",
        "Multiply {a} by {b}.",
        "How much is {a} times {b}?",
        "Find the product of {a} and {b}.",
        "Calculate {a} * {b}.",
        "What do {b} groups of {a} come to?",
        "{a} multiplied by {b} makes what number?",
    ),
    "divide": (
        "What is {a} / {b}?",
        "Divide {a} by {b}.",
        "How much is {a} divided by {b}?",
        "How many times does {b} go into {a}?",
        "Split {a} into {b} equal parts. How big is each part?",
        "Work out the quotient of {a} and {b}.",
        "Which number times {b} gives {a}?",
    ),
}

# Word problems: the operation that solves the problem, then its text.
STORIES: tuple[tuple[str, str], ...] = (
    ("add", "{name} has {a} {things} and is given {b} more. How many {things} is that now?"),
    ("subtract", "{name} had {a} {things} and gave away {b}. How many {things} are left?"),
    ("multiply", "Each bag holds {a} {things}. How many {things} are there in {b} full bags?"),
    ("divide", "{name} shares {a} {things} equally among {b} friends. How many does each one get?"),
    ("add", "A shop sold {a} {things} on Monday and {b} on Tuesday. How many did it sell in all?"),
    (
        "subtract",
        "{name} needs {a} {things} for a class and already has {b}. How many are still missing?",
    ),
    ("multiply", "{name} buys {a} {things} every week. How many {things} is that after {b} weeks?"),
    ("divide", "A worker packs {a} {things} into boxes of {b}. How many boxes does she fill?"),
    ("add", "One drawer contains {a} {things}, another contains {b}. How many are there together?"),
    ("subtract", "{name} found {a} {things}, {other} found {b}. How many more did {name} find?"),
    ("multiply", "A hall has {b} tables, and {name} puts {a} {things} on each. How many is that?"),
    ("divide", "{name} lays out {a} {things} in {b} equal rows. How many {things} are in a row?"),
)

NAMES = ("Amara", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun")
THINGS = (
    "apples",
    "beads",
    "buttons",
    "candles",
    "cards",
    "marbles",
    "notebooks",
    "pencils",
    "postcards",
    "shells",
    "stamps",
    "stickers",
)


def draw(rng: random.Random, op: str, digits: int) -> Numbers:
    """Draw operands for ``op`` whose longest number has ``digits`` digits."""
    low = 2 if digits == 1 else 10 ** (digits - 1)
    high = 10**digits - 1
    if op == "multiply":
        a = rng.randint(low, high)
        b = rng.randint(2, 19 if digits == 2 else 9)
        return Numbers(a, b, a * b)
    if op == "divide":
        b = rng.randint(2, 9 if digits < 3 else 25)
        quotient = rng.randint(max(2, -(-low // b)), max(2, high // b))
        return Numbers(quotient * b, b, quotient)
    a = rng.randint(low, high)
    b = rng.randint(2, a) if op == "subtract" else rng.randint(2, high)
    if op == "subtract":
        return Numbers(a, b, a - b)
    return Numbers(a, b, a + b)


def longest(numbers: Numbers) -> int:
    """Return the number of digits of the longer operand."""
    return len(str(max(numbers.a, numbers.b)))


def draw_new(rng: random.Random, op: str, digits: int, used: set[tuple[str, int, int]]) -> Numbers:
    """Draw operands of the right length that ``op`` has not used before."""
    for _ in range(MAX_ATTEMPTS):
        numbers = draw(rng, op, digits)
        key = (op, numbers.a, numbers.b)
        if longest(numbers) == digits and numbers.a != numbers.b and key not in used:
            used.add(key)
            return numbers
    message = f"no unused operands left for {op} with {digits} digit(s)"
    raise RuntimeError(message)


def word_problem(
    rng: random.Random, index: int, digits: int, used: set[tuple[str, int, int]]
) -> tuple[str, Numbers]:
    """Build the word problem at ``index``, cycling through the stories."""
    op, text = STORIES[index % len(STORIES)]
    numbers = draw_new(rng, op, digits, used)
    name, other = rng.sample(NAMES, 2)
    things = rng.choice(THINGS)
    question = text.format(a=numbers.a, b=numbers.b, name=name, other=other, things=things)
    return question, numbers


def build_op(rng: random.Random, op: str) -> list[tuple[str, Numbers, int]]:
    """Build all questions of one operation as (question, numbers, digits)."""
    lengths = [digits for digits, count in PLAN[op].items() for _ in range(count)]
    rng.shuffle(lengths)
    used: set[tuple[str, int, int]] = set()
    built: list[tuple[str, Numbers, int]] = []
    for index, digits in enumerate(lengths):
        if op == "word":
            question, numbers = word_problem(rng, index, digits, used)
        else:
            numbers = draw_new(rng, op, digits, used)
            phrases = PHRASES[op]
            question = phrases[index % len(phrases)].format(a=numbers.a, b=numbers.b)
        built.append((question, numbers, digits))
    return built


def generate(seed: int = SEED) -> list[Row]:
    """Return the rows of the suite, with the operations taking turns."""
    rng = random.Random(seed)
    by_op = {op: build_op(rng, op) for op in PLAN}
    rows: list[Row] = []
    for turn in zip(*by_op.values(), strict=True):
        for op, (question, numbers, digits) in zip(by_op, turn, strict=True):
            row_id = f"ar-{len(rows) + 1:03d}"
            rows.append(Row(row_id, question, str(numbers.result), op, str(digits)))
    if len({row.question for row in rows}) != len(rows):
        message = "duplicate question"
        raise RuntimeError(message)
    return rows


def main() -> None:
    """Write the suite to standard output as JSON lines."""
    for row in generate():
        sys.stdout.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
