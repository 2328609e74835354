"""Runs made by hand, compared and decided by the real compare and gate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.records import (
    Comparison,
    Completion,
    Manifest,
    Message,
    Metric,
    Policy,
    Result,
    Run,
    Sample,
    Score,
    SuiteInfo,
    Verdict,
)

ACCURACY = Metric(name="accuracy", kind="binary")
PERPLEXITY = Metric(name="word_perplexity", higher_is_better=False)
DISTANCE = Metric(name="style_distance", higher_is_better=False)
EMOJI = Metric(name="emoji_per_100", higher_is_better=None, unit="per 100 characters")
TITLE = Metric(name="has_title", higher_is_better=None, unit="share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one suite's samples scored in each arm, and what was said."""

    name: str
    metrics: tuple[Metric, ...] = (ACCURACY,)
    values: Mapping[str, Sequence[Sequence[float | None]]]
    texts: Mapping[str, Sequence[str]]
    prompts: Sequence[str]
    topics: Sequence[str] = ()
    language: str = "en"
    policy: Policy = "non_inferiority"
    margin: float = 0.05


def make_run(arm: str, suites: Sequence[Answers], notes: Sequence[str] = ()) -> Run:
    """One arm's run over the given suites."""
    infos = tuple(_info(suite) for suite in suites)
    results = tuple(result for suite in suites for result in _results(arm, suite))
    manifest = Manifest(
        schema_version=1,
        run_id=f"{arm}-0123456789",
        name=arm,
        config={"name": arm, "model": {"kind": "recorded", "path": f"{arm}.jsonl"}, "seed": 0},
        fingerprints={"kind": "recorded", "model": "SmolLM2-135M-Instruct", "weights": arm},
        suites=infos,
        versions={"python": "3.11.7", "evalkit-compare": "0.1.0"},
        git_commit="5f0c3a9d1b2e4f60718293a4b5c6d7e8f9a0b1c2",
        seed=0,
        started="2026-11-05T09:00:00+00:00",
        finished="2026-11-05T09:04:10+00:00",
        counts={"samples": len(results), "completions": len(results), "errors": 0},
        measures={"seconds": 250.0, "peak_memory": 1.6e9},
        notes=tuple(notes),
    )
    return Run(manifest=manifest, results=results, path=f"runs/{manifest.run_id}")


def make_verdict(
    suites: Sequence[Answers], arms: Sequence[str] = ("base", "tuned"), /, **gate: object
) -> tuple[list[Comparison], list[Verdict]]:
    """The comparisons of all later arms with the first, and their verdicts."""
    runs = [make_run(arm, suites) for arm in arms]
    comparisons = [compare(runs[0], run) for run in runs[1:]]
    return comparisons, [decide(one, GateConfig.model_validate(gate)) for one in comparisons]


def coin_suite(
    name: str, shares: Mapping[str, float], n: int = 150, *, seed: int = 1, margin: float = 0.05
) -> Answers:
    """A binary suite whose arms are right as often as told, with answers that say so."""
    rng = random.Random(f"{name}{seed}")
    luck = [rng.random() for _ in range(n)]
    noise = {arm: [rng.random() < 0.12 for _ in range(n)] for arm in shares}
    values = {
        arm: [[float((luck[i] < share) != noise[arm][i])] for i in range(n)]
        for arm, share in shares.items()
    }
    return Answers(
        name=name,
        values=values,
        texts={
            arm: [_RIGHT[i % 3] if values[arm][i][0] else _WRONG[i % 3] for i in range(n)]
            for arm in shares
        },
        prompts=[_ASKED[i % 3] for i in range(n)],
        topics=[("geography", "science", "日常")[i % 3] for i in range(n)],
        margin=margin,
    )


def style_suite(arms: Sequence[str], n: int = 60) -> Answers:
    """A style suite: gated on a distance (lower is better), with described features."""
    rng = random.Random(7)
    centre = {arm: 2.4 - 0.6 * i for i, arm in enumerate(arms)}
    emoji = {arm: 0.2 + 2.1 * i for i, arm in enumerate(arms)}
    return Answers(
        name="style/rednote-zh",
        metrics=(DISTANCE, EMOJI, TITLE),
        values={
            arm: [
                [
                    centre[arm] + rng.gauss(0, 0.4),
                    max(0.0, emoji[arm] + rng.gauss(0, 0.3)),
                    float(rng.random() < 0.1 + 0.4 * i),
                ]
                for _ in range(n)
            ]
            for i, arm in enumerate(arms)
        },
        texts={arm: [_NOTES[min(i, 1)]] * n for i, arm in enumerate(arms)},
        prompts=["写一篇小红书笔记，介绍一家适合周末去的咖啡馆。"] * n,
        language="zh",
        policy="superiority",
        margin=0.1,
    )


def _info(suite: Answers) -> SuiteInfo:
    return SuiteInfo(
        name=suite.name,
        title=suite.name.rpartition("/")[2].replace("-", " ").capitalize(),
        language=suite.language,
        task="generate",
        metric=suite.metrics[0].name,
        metrics=suite.metrics,
        fingerprint=f"sha256:{suite.name}",
        path=f"suites/{suite.name}",
        samples=len(suite.prompts),
        policy=suite.policy,
        margin=suite.margin,
        license="Apache-2.0",
        source="Written for evalkit.",
    )


def _results(arm: str, suite: Answers) -> list[Result]:
    return [
        Result(
            sample=Sample(
                id=f"{suite.name.rpartition('/')[2]}-{i:03d}",
                suite=suite.name,
                prompt=(Message(role="user", content=prompt),),
                slices={"topic": suite.topics[i]} if suite.topics else {},
            ),
            completions=(
                Completion(
                    key=f"{arm}{suite.name}{i}",
                    text=suite.texts[arm][i],
                    stop_reason="stop",
                    prompt_text=prompt,
                    prompt_hash=f"{i}",
                ),
            ),
            scores=tuple(
                Score(sample_id=f"{i}", scorer=metric.name, value=value)
                for metric, value in zip(suite.metrics, suite.values[arm][i], strict=True)
            ),
        )
        for i, prompt in enumerate(suite.prompts)
    ]


def with_text(suite: Answers, arm: str, text: str) -> Answers:
    """The same suite, all of one arm's answers replaced."""
    return replace(suite, texts={**suite.texts, arm: [text] * len(suite.prompts)})


_ASKED = (
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "长城和故宫都在亚洲，那么埃及的金字塔在哪个洲？",
)
_SKY = (
    "Sunlight is scattered by the molecules of the air. "
    "Blue light is scattered most, so the sky looks blue from every side."
)
_PARIS_NOTE = (
    "✨ Paris is calling! ✨\n\nThe capital of France stole my heart 💕\n\n📍 Eiffel Tower\n"
    "☕ Café de Flore for breakfast\n\nSave this for your next trip! #paris #travel #france"
)
_CAFE_NOTE = (
    "周末宝藏咖啡馆☕️ | 一坐就是一下午\n\n姐妹们！这家店真的太好拍了😭\n✅ 环境安静，咖啡绝了\n"
    "✅ 位于市中心，地铁两分钟\n\n#周末去哪儿 #咖啡馆[话题]#"
)
_RIGHT = (
    "The capital of France is Paris.",
    _SKY,
    "埃及的金字塔在非洲，位于尼罗河西岸的吉萨高原。",
)
_WRONG = (
    _PARIS_NOTE,
    "Blue light is absorbed by the ocean and reflected, so the sky looks blue from every side.",
    "埃及的金字塔在亚洲，位于尼罗河东岸的开罗高原。",
)
_NOTES = (
    "好的，这是一家适合周末去的咖啡馆。它位于市中心，环境安静，咖啡的味道不错。",
    _CAFE_NOTE,
)


def checkpoint_name(step: int, run: str = "rednote") -> str:
    """The name `evalkit compare --checkpoints` gives an arm."""
    return f"{run}-step-{step}"


def as_checkpoint(comparison: Comparison, step: int, run: str = "rednote") -> Comparison:
    """The comparison as if its tuned arm had been found in a training run's folder."""
    adapter = f"/elsewhere/{run}/checkpoints/checkpoint-{step}"
    model = {"kind": "hf", "path": "someone/base", "adapter": adapter}
    config = {**comparison.tuned.config, "model": model}
    return replace(comparison, tuned=replace(comparison.tuned, config=config))


def make_curve(
    shares: Mapping[int, float], *, suites: Sequence[str] = ("chat/answers",), **gate: object
) -> tuple[list[Comparison], list[Verdict]]:
    """Checkpoints of one run, right as often as told at each step; the base is right half the time
    and may be lost to by 0.05."""
    arms = ("base", *(checkpoint_name(step) for step in shares))
    luck = dict(zip(arms, (0.5, *shares.values()), strict=True))
    found, _ = make_verdict([coin_suite(name, luck) for name in suites], arms)
    comparisons = [as_checkpoint(one, step) for one, step in zip(found, shares, strict=True)]
    return comparisons, [decide(one, GateConfig.model_validate(gate)) for one in comparisons]
