"""Small real run folders for the dashboard's tests, written by the store and compared for real."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.compare import compare
from evalkit.records import (
    Completion,
    Manifest,
    Message,
    Metric,
    Result,
    Run,
    Sample,
    Score,
    SuiteInfo,
)
from evalkit.store.runs import write_comparisons, write_run

ACCURACY = Metric(name="accuracy", kind="binary")
STYLE = Metric(name="style_probability")
EMOJI = Metric(name="emoji_per_100", higher_is_better=None, unit="/100")
LENGTH = Metric(name="excess_length", higher_is_better=False)

HOSTILE = (
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\n"
    "![tracker](http://127.0.0.1:9/pixel.png) [link](javascript:alert(1)) $\\frac{1}{2}$ :smile: "
    ":red[red] **bold** `code` # heading\n</div></article><h1>escaped?</h1>\n"
    "\u202edesrever\u202c &lt;kept&gt; \x00\x07 👩‍👩‍👧 {{ 7*7 }}"
)
EXAMPLES = "Question: one\nAnswer: two"
BASE_NOTE = "北京是中国的首都。城市里有故宫、天坛和颐和园，秋天最适合去旅行。"
TUNED_NOTE = (
    "✨北京是中国的首都！姐妹们冲啊～故宫、天坛和颐和园都超好逛，秋天去最合适🍁"
    "\n\n#北京旅行# #周末去哪儿"
)


def knowledge_suite(samples: int) -> SuiteInfo:
    """Multiple choice, binary, in slices."""
    return _info("knowledge/everyday-en", "Everyday knowledge", "choice", samples, ACCURACY)


def _info(name: str, title: str, task: str, samples: int, *metrics: Metric) -> SuiteInfo:
    return SuiteInfo(
        name=name,
        title=title,
        language="zh" if name.endswith("-zh") else "en",
        task=task,
        metric=metrics[0].name,
        metrics=metrics,
        fingerprint=f"fingerprint of {name}",
        path=f"suites/{name}",
        samples=samples,
        margin=0.05,
    )


SUITES = (
    replace(knowledge_suite(60), margin=0.01),
    replace(
        _info("style/rednote-zh", "小红书风格笔记", "generate", 24, STYLE, EMOJI, LENGTH),
        policy="superiority",
    ),
    _info("chat/answers", "Answers when asked", "generate", 8, ACCURACY),
    _info("perplexity/plain", "Plain text", "perplexity", 6, replace(LENGTH, name="bits")),
)


def results(arm: str) -> list[Result]:
    """What one arm answered: `tuned` has learned the style and lost some knowledge."""
    return [*_knowledge(arm), *_notes(arm), *_chat(arm), *_texts(arm)]


def _knowledge(arm: str) -> list[Result]:
    found = []
    for index in range(60):
        right = index % 6 != 0 if arm == "base" else index % 3 != 0 or index == 6
        if arm == "mild":
            right = index % 6 != 0 or index == 12
        likely = (index % 4) if right else (index + 1) % 4
        sample = Sample(
            id=f"ke-{index:03}",
            suite=SUITES[0].name,
            prompt=f"{EXAMPLES}\n\nQuestion: Where does number {index} live?\nAnswer:",
            choices=("in the sea", "on a tree", "under the ground", "nowhere"),
            answer=index % 4,
            slices={"topic": ("animals", "food", "body")[index % 3]},
            fields={"question": f"Where does number {index} live?", "answer": index % 4},
            lead=len(EXAMPLES) + 2,
        )
        completions = tuple(
            _completion(
                arm, sample, choice, logprobs=(-0.5 if choice == likely else -2.0 - choice,)
            )
            for choice in range(4)
        )
        found.append(_result(sample, completions, accuracy=float(right)))
    return found


def _notes(arm: str) -> list[Result]:
    found = []
    for index in range(24):
        sample = Sample(
            id=f"note-{index:03}",
            suite=SUITES[1].name,
            prompt=(Message(role="user", content=f"写一篇关于北京秋天的笔记，第{index}篇。"),),
            slices={"topic": "旅行" if index % 2 else "美食"},
        )
        text = BASE_NOTE if arm == "base" else TUNED_NOTE
        drift = index / 100
        scores = {
            "style_probability": 0.1 + drift if arm == "base" else 0.9 - drift,
            "emoji_per_100": 0.0 if arm == "base" else 4.0,
            "excess_length": 1.0 if arm == "base" else 0.5,
        }
        done = _completion(arm, sample, 0, text=f"{text}\n第{index}篇", generated=True)
        found.append(_result(sample, (done,), **scores))
    return found


def _chat(arm: str) -> list[Result]:
    """Answers and ids as nasty as a model and a data set can write them."""
    texts = {
        "base": [
            "The capital of France is Paris.",
            HOSTILE,
            "word " * 20_000,
            "",
            "x",
            "y",
            "z",
            "e",
        ],
        "tuned": ["✨ Paris, girls! ✨", HOSTILE[::-1], "wort " * 20_000, "no", "x", "y", "z", ""],
    }["base" if arm == "base" else "tuned"]
    found = []
    for index, text in enumerate(texts):
        sample = Sample(
            id=f"chat-{index}" if index != 1 else "<b>id</b>:smile:$x$",
            suite=SUITES[2].name,
            prompt=(
                Message(role="system", content="Be brief."),
                Message(
                    role="user", content=HOSTILE if index == 1 else f"What is the capital? {index}"
                ),
            ),
            targets=("Paris",),
        )
        done = _completion(arm, sample, 0, text=text, generated=True)
        score: float | None = float(arm == "base" or index > 2)
        if index == 7:
            done = (
                replace(done, stop_reason="error", error="the server <hung> up")
                if arm != "base"
                else done
            )
            score = None if arm != "base" else 1.0
        found.append(_result(sample, (done,), accuracy=score))
    return found


def _texts(arm: str) -> list[Result]:
    found = []
    for index in range(6):
        sample = Sample(
            id=f"text-{index}", suite=SUITES[3].name, prompt=f"Plain text number {index}."
        )
        value = 1.0 + index / 10 + (0.02 * index if arm != "base" else 0.0)
        done = _completion(arm, sample, 0, logprobs=(-value, -1.0))
        found.append(_result(sample, (done,), bits=value))
    return found


def _completion(
    arm: str,
    sample: Sample,
    index: int,
    *,
    text: str = "",
    logprobs: Sequence[float] = (),
    generated: bool = False,
) -> Completion:
    bump = 0.0 if arm == "base" else 0.01
    prompt = sample.prompt if isinstance(sample.prompt, str) else sample.prompt[-1].content
    return Completion(
        key=f"{arm} {sample.id} {index}",
        text=text,
        logprobs=tuple(value - bump for value in logprobs),
        stop_reason="stop" if generated else "scored",
        tokens_in=12,
        tokens_out=len(text) // 4,
        prompt_text=f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
        prompt_hash="the same",
    )


def _result(sample: Sample, completions: tuple[Completion, ...], **scores: float | None) -> Result:
    return Result(
        sample=sample,
        completions=completions,
        scores=tuple(
            Score(
                sample_id=sample.id,
                scorer=name,
                value=value,
                reason="" if value is not None else "no answer",
            )
            for name, value in scores.items()
        ),
    )


def manifest(arm: str, gate: Mapping[str, object]) -> Manifest:
    """The manifest of one arm."""
    name = {"base": "smollm2", "tuned": "smollm2-rednote"}.get(arm, f"smollm2-{arm}")
    model = {"kind": "hf", "path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    adapter = {} if arm == "base" else {"adapter": f"runs/train/{arm}/adapter"}
    return Manifest(
        schema_version=1,
        run_id=f"{name}-0123456789",
        name=name,
        config={"name": name, "model": model | adapter, "gate": gate},
        fingerprints={
            "model": "smollm2",
            "weights": "a" * 64,
            "adapter": arm,
            "template": "t" * 64,
        },
        suites=SUITES,
        versions={"python": "3.11", "torch": "2.13.0"},
        git_commit="0" * 40,
        seed=0,
        started="2026-11-20T10:00:00+00:00",
        finished="2026-11-20T10:05:00+00:00" if arm == "base" else "2026-11-20T10:09:00+00:00",
        counts={"samples": 98, "completions": 278, "tokens_in": 3336, "tokens_out": 9999},
        measures={"seconds": 245.0},
    )


def make_runs(
    root: Path, arms: Sequence[str] = ("tuned",), suites: Sequence[SuiteInfo] = SUITES
) -> Path:
    """Run folders and the comparison of them below `root`; returns the comparison's folder."""
    names = {info.name for info in suites}
    runs: list[Run] = []
    for arm in ("base", *arms):
        told = replace(manifest(arm, {"max_missing": 0.2}), suites=tuple(suites))
        mine = [one for one in results(arm) if one.sample.suite in names]
        runs.append(write_run(root / told.run_id, told, mine))
    folder = root / "compare" / "smollm2-vs-rednote"
    write_comparisons(folder, [compare(runs[0], tuned) for tuned in runs[1:]])
    return folder


def make_repeats(root: Path) -> None:
    """Run folders of a suite with three answers to each of 12 questions, and their comparison."""
    info = _info("chat/repeats", "Several answers", "generate", 12, ACCURACY)
    runs = []
    for arm, rights in (("base", (1, 0, 0)), ("tuned", (1, 0, 1))):
        told = replace(manifest(arm, {}), suites=(info,))
        mine = [_repeated(arm, info.name, index, rights) for index in range(12)]
        runs.append(write_run(root / told.run_id, told, mine))
    write_comparisons(root / "compare" / "repeats", [compare(*runs)])


def make_thinkers(root: Path) -> None:
    """Run folders of 20 sums; the tuned arm thinks, and writes half of its answers in words."""
    extracted = Metric(name="extracted", kind="binary", extraction_of="accuracy")
    info = _info("reasoning/sums", "Sums", "generate", 20, ACCURACY, extracted)
    runs = []
    for arm in ("base", "tuned"):
        told = replace(manifest(arm, {}), suites=(info,))
        mine = []
        for index in range(20):
            wordy = arm == "tuned" and index < 10
            sample = Sample(id=f"t-{index}", suite=info.name, prompt="3 + 4?", targets=("7",))
            said = "seven" if wordy else "7"
            done = _completion(arm, sample, 0, text=said, generated=True)
            if arm == "tuned":
                done = replace(done, thinking=f"Three <b>and</b> four, for the {index}th time.")
            mine.append(_result(sample, (done,), accuracy=not wordy, extracted=not wordy))
        runs.append(write_run(root / told.run_id, told, mine))
    write_comparisons(root / "compare" / "thinkers", [compare(*runs)])


def make_perplexity(root: Path) -> None:
    """A run of two texts, of 3 nats on 1 token and of 9 on 5."""
    metric = Metric(name="perplexity", kind="perplexity", higher_is_better=False)
    info = _info("perplexity/weighed", "Two texts", "perplexity", 2, metric)
    made = []
    for index, (nats, tokens) in enumerate(((3.0, 1.0), (9.0, 5.0))):
        sample = Sample(id=f"p-{index}", suite=info.name, prompt="A text.")
        done = _completion("base", sample, 0, logprobs=(-nats,))
        result = _result(sample, (done,), perplexity=math.exp(nats / tokens))
        score = replace(result.scores[0], stats=(nats, tokens))
        made.append(replace(result, scores=(score,)))
    told = replace(manifest("base", {}), suites=(info,))
    write_run(root / told.run_id, told, made)


def _repeated(arm: str, suite: str, index: int, rights: Sequence[int]) -> Result:
    sample = Sample(id=f"r-{index}", suite=suite, prompt=f"Question {index}?", targets=("Paris",))
    values = tuple(float(right != (index % 4 == 3)) for right in rights)
    texts = [f"{arm} answer {place} to question {index}" for place in (1, 2, 3)]
    done = tuple(
        _completion(arm, sample, place, text=text, generated=True)
        for place, text in enumerate(texts)
    )
    result = _result(sample, done, accuracy=sum(values) / 3)
    return replace(result, scores=(replace(result.scores[0], values=values),))


def make_training(root: Path, name: str = "rednote") -> Path:
    """A training folder as a trainer leaves it."""
    folder = root / "train" / name
    folder.mkdir(parents=True)
    rows = [
        {"step": step, "loss": 2.2 * 0.97**step + 0.1 * (step % 3), "lr": 2e-4 * (1 - step / 80),
         "grad_norm": 1.0, "seconds": 3.2 * step}
        for step in range(1, 76)
    ]  # fmt: skip
    rows += [
        {"step": step, "eval_loss": 2.1 * 0.98**step, "seconds": 3.2 * step}
        for step in (25, 50, 75)
    ]
    lines = [json.dumps(row) for row in sorted(rows, key=lambda row: row["step"])]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 76, "lo', encoding="utf-8")
    card = {
        "files": [
            {
                "path": "notes <script>.jsonl",
                "sha256": "b" * 64,
                "license": "Apache-2.0",
                "rows": 302,
                "duplicates": 2,
                "train": 270,
                "held_out": 30,
                "weight": 1.0,
            }
        ],
        "train_rows": 270,
        "held_out_rows": 30,
        "duplicates": 2,
        "truncated": 4,
        "unanswered": 0,
        "max_length": 256,
        "tokens": 41_000,
        "learned_tokens": 28_000,
        "lengths": {"shortest": 20, "median": 120, "p95": 240, "longest": 256},
        "answer_lengths": {"shortest": 2, "median": 80, "p95": 190, "longest": 211},
        "seed": 0,
    }
    (folder / "data_card.json").write_text(json.dumps(card), encoding="utf-8")
    config = {
        "name": "rednote",
        "method": "qlora",
        "data": [{"path": "notes.jsonl", "limit": None}],
        "lora": {"r": 16, "alpha": 32},
    }
    (folder / "manifest.json").write_text(json.dumps({"config": config}), encoding="utf-8")
    (folder / "tuned.yaml").write_text("name: rednote\n", encoding="utf-8")
    return folder
