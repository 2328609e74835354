"""The work of each row as finished texts, from data shipped here, the same ones every time."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

KNOWLEDGE = Path("suites/knowledge/everyday-en")
SUBJECTS = (
    "agronomy", "computer_science", "food_science", "high_school_biology", "world_religions",
)  # fmt: skip
SHOTS = 5
CHOICES = 4
DOCUMENT_TOKENS = 1_500
STOPS = ("\n\n",)

INSTRUCTIONS = (
    "The following are questions about everyday life: animals, the body, food, geography, the "
    "household, nature, numbers, objects, safety and time. Each question comes with four options, "
    "and exactly one of them is right. Nobody has to be an expert to answer: what most people "
    "know is enough, and there are no trick questions among them. Read the question, look at each "
    "of the four options in turn, and then write down the right one, word for word as it stands "
    "among the options, with a full stop after it. Write nothing else: no explanation, no second "
    "thoughts, and no other option.\n\n"
)
LETTER_INSTRUCTIONS = "以下是单项选择题，请直接给出正确答案的选项。\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What both tools are asked: rows with `id` and the finished prompt in `text`.

    Rows of a choice also have `choices` and `answer`. `stop` and `new_tokens` are of texts.
    """

    key: str
    task: Literal["choice", "generate", "perplexity"]
    language: str
    rows: Sequence[dict[str, Any]]
    stop: tuple[str, ...] = ()
    new_tokens: int = 0

    @property
    def fingerprint(self) -> str:
        """Tells whether two runs had the same work."""
        text = json.dumps([self.task, list(self.rows), self.stop, self.new_tokens])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def sizes(self, tokenizer: Tokenizer) -> dict[str, float]:
        """How much work it is, counted."""
        texts = [tokenizer.count(row["text"]) for row in self.rows]
        found: dict[str, float] = {"samples": len(self.rows), "tokens_each": round(fmean(texts), 1)}
        if self.task == "choice":
            choices = [tokenizer.count(" " + one) for row in self.rows for one in row["choices"]]
            found |= {"requests": len(choices), "choice_tokens": round(fmean(choices), 1)}
        if self.task == "generate":
            found |= {"new_tokens": self.new_tokens}
        return found


class Tokenizer:
    """Counts tokens; the plain tokenizers library, for torch must not come into this process."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Opened

        self._opened = Opened.from_file(str(folder / "tokenizer.json"))

    def count(self, text: str) -> int:
        """The tokens of a text, without special ones in front."""
        return len(self.ids(text))

    def ids(self, text: str) -> list[int]:
        """The ids of a text's tokens, without special ones in front."""
        found: list[int] = self._opened.encode(text, add_special_tokens=False).ids
        return found


def fewshot(count: int) -> Work:
    """Five worked examples with their options before every question."""
    shots = _jsonl(KNOWLEDGE / "fewshot.jsonl")[:SHOTS]
    start = INSTRUCTIONS + "".join(f"{_listed(row)} {_right(row)}.\n\n" for row in shots)
    rows = [
        {
            "id": row["id"],
            "text": start + _listed(row),
            # The full stop makes a choice of one word two tokens.
            "choices": [f"{choice}." for choice in row["choices"]],
            "answer": row["answer"],
        }
        for row in _jsonl(KNOWLEDGE / "samples.jsonl")[:count]
    ]
    return Work(key="fewshot", task="choice", language="en", rows=rows)


def zeroshot(count: int) -> Work:
    """The question with its options, as long as those of HellaSwag are; every choice is a sentence
    of about twenty tokens. With a prompt of p tokens and four choices of c, at most
    4(p + c)/(p + 4c) of the tokens that lm-eval reads can be saved."""
    rows = [
        {
            "id": row["id"],
            "text": _listed(row),
            "choices": [_sentence(row["choices"], index) for index in range(len(row["choices"]))],
            "answer": row["answer"],
        }
        for row in _jsonl(KNOWLEDGE / "samples.jsonl")[:count]
    ]
    return Work(key="zeroshot", task="choice", language="en", rows=rows)


def letters(count: int, data: Path) -> Work:
    """CMMLU: five worked examples of the subject, the options listed, a letter to choose."""
    each = -(-count // len(SUBJECTS))
    by_subject = [list(islice(_letters_of(data, subject), each)) for subject in SUBJECTS]
    mixed = [row for rows in zip_longest(*by_subject) for row in rows if row is not None]
    return Work(key="letters", task="choice", language="zh", rows=mixed[:count])


def generation(count: int, new_tokens: int) -> Work:
    """Chat prompts written as plain text: facts, requests of a form, and notes in turn."""
    sources = ("style/plain-en", "instruct/format-en", "style/rednote-en")
    read = [_jsonl(Path("suites") / source / "samples.jsonl") for source in sources]
    mixed = [row for rows in zip_longest(*read) for row in rows if row is not None]
    rows = [
        {
            "id": row["id"],
            "text": f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n",
        }
        for row in mixed[:count]
    ]
    return Work(
        key="generation",
        task="generate",
        language="en",
        rows=rows,
        stop=STOPS,
        new_tokens=new_tokens,
    )


def rolling(count: int, tokenizer: Tokenizer) -> Work:
    """Documents of about 1,500 tokens, strung together from the texts that are shipped."""
    rows: list[dict[str, Any]] = []
    parts: list[str] = []
    size = 0
    for text in _shipped_texts():
        parts.append(text)
        size += tokenizer.count(text)
        if size >= DOCUMENT_TOKENS:
            rows.append({"id": f"doc-{len(rows) + 1:03}", "text": "\n\n".join(parts)})
            parts, size = [], 0
        if len(rows) == count:
            break
    return Work(key="rolling", task="perplexity", language="en", rows=rows)


def growth(requests: int) -> Work:
    """Many short questions of four choices, no two alike."""
    known = _jsonl(KNOWLEDGE / "samples.jsonl")
    rows = [
        {
            "id": f"g-{number:07}",
            "text": f"Number {number}: {known[number % len(known)]['question']}\nAnswer:",
            "choices": known[number % len(known)]["choices"],
            "answer": known[number % len(known)]["answer"],
        }
        for number in range(requests // CHOICES)
    ]
    return Work(key=f"growth-{requests}", task="choice", language="en", rows=rows)


def _listed(row: dict[str, Any]) -> str:
    options = "; ".join(f"({place}) {one}" for place, one in enumerate(row["choices"], 1))
    return f"Question: {row['question']}\nOptions: {options}\nAnswer:"


def _right(row: dict[str, Any]) -> str:
    return str(row["choices"][row["answer"]])


def _sentence(choices: Sequence[str], index: int) -> str:
    first, second, third = (one for place, one in enumerate(choices) if place != index)
    return (
        f"{choices[index]} is the answer to give here, for {first}, {second} and {third} "
        "do not fit."
    )


def _letters_of(data: Path, subject: str) -> Iterator[dict[str, Any]]:
    shots = "".join(
        f"{_lettered(row)} {row['Answer']}\n\n"
        for row in islice(_csv(data / "dev" / f"{subject}.csv"), SHOTS)
    )
    for number, row in enumerate(_csv(data / "test" / f"{subject}.csv")):
        yield {
            "id": f"{subject}-{number:03}",
            "text": LETTER_INSTRUCTIONS + shots + _lettered(row),
            "choices": list("ABCD"),
            "answer": "ABCD".index(row["Answer"]),
        }


def _lettered(row: dict[str, str]) -> str:
    options = "".join(f"{letter}. {row[letter].strip()}\n" for letter in "ABCD")
    return f"题目：{row['Question'].strip()}\n{options}答案是："


def _shipped_texts() -> Iterator[str]:
    """Every shipped text once: of the example's data first, then of the suites."""
    files = [*sorted(Path("examples").rglob("*.jsonl")), *sorted(Path("suites").rglob("*.jsonl"))]
    names = ("question", "prompt", "completion", "text")
    for file in files:
        for row in _jsonl(file):
            found = [row[name] for name in names if isinstance(row.get(name), str)]
            if found:
                yield "\n".join(found)


def _jsonl(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def _csv(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as content:
        yield from csv.DictReader(content)
