"""What judges said of made-up answers, folded and weighed by the real judges' arithmetic."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import tanh

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.judges.calibration import Label, corrected
from evalkit.judges.health import Known, health_of, jury_health
from evalkit.judges.preferences import preferences, ratings, utilities
from evalkit.records import (
    Comparison,
    JudgeHealth,
    Judgement,
    Judging,
    Metric,
    Order,
    Side,
    Verdict,
)
from tests.reports.examples import Answers, make_run

SUITE, RUBRIC = "style/rednote-zh", "rednote"
PREFERRED = Metric(name="judge.rednote", least=0.0, most=1.0)
RATED = Metric(name="rating.helpful", least=1.0, most=5.0)
ARMS = ("base", "tuned")
_ORDERS: tuple[Order, ...] = ("base_first", "tuned_first")
_LEVELS = {1.0: "better", 0.5: "tie", 0.0: "worse"}
FLAG = "speaks to the judge"


def sample_id(index: int) -> str:
    """As `make_run` numbers a suite's samples."""
    return f"rednote-zh-{index:03d}"


def lengths(n: int) -> dict[str, tuple[int, int]]:
    """Characters of the base's and the tuned arm's answers; the tuned arm's are longer mostly."""
    rng = random.Random(5)
    return {sample_id(i): (rng.randint(60, 160), rng.randint(90, 320)) for i in range(n)}


def words(
    judge: str,
    n: int = 120,
    *,
    quality: float = 0.5,
    place: float = 0.0,
    length: float = 0.0,
    dress: float = 0.0,
    silent: int = 0,
    seed: int = 1,
) -> list[Judgement]:
    """One judge's word on n pairs in both orders, the answers as they are and stripped.

    `quality` is how much better tuned is to it, `place` how much it favours the first answer,
    `length` the longer one, `dress` what emoji and markup win; the last `silent` are unreadable.
    """
    # The samples are as hard for one judge as for another.
    rng, own = random.Random(seed), random.Random(f"{seed}{judge}")
    sizes, found = lengths(n), []
    for i in range(n):
        base, tuned = sizes[sample_id(i)]
        seen = quality + rng.gauss(0, 1) + own.gauss(0, 0.4)
        seen += length * tanh((tuned - base) / 150)
        for stripped in (False, True):
            for order in _ORDERS:
                first = 1 if order == "tuned_first" else -1
                score = seen + place * first - dress * stripped + own.gauss(0, 0.2)
                value = 0.5 if abs(score) < 0.15 else float(score > 0)
                found.append(_said(judge, i, order, value, stripped=stripped, mute=i >= n - silent))
    return found


def _said(
    judge: str, index: int, order: Order, value: float, *, stripped: bool, mute: bool
) -> Judgement:
    said = value if order == "tuned_first" else 1 - value
    told = Judgement(
        suite=SUITE,
        sample_id=sample_id(index),
        judge=judge,
        rubric=RUBRIC,
        protocol="pairwise",
        order=order,
        stripped=stripped,
        value=value,
        level=_LEVELS[said],
        rationale=f"第{index}篇：第一篇{_LEVELS[said]}，标题更抓人，emoji 用得自然。",
        key=f"{judge} {index} {order} {stripped}",
        tokens_in=840,
        tokens_out=96,
    )
    if not mute:
        return told
    error = "no verdict in “I cannot decide”"
    return replace(told, status="unparsed", value=None, level="", rationale="", error=error)


def labels(n: int, people: Sequence[str] = ("ana",), *, seed: int = 1) -> list[Label]:
    """What people said of the first n samples; the second of them saw every other one."""
    # The seed of `words`: a pair that is plain to the judges is plain to people, too.
    rng, own, found = random.Random(seed), random.Random(7), []
    for i in range(n):
        liking = 0.4 + rng.gauss(0, 1)
        for place, person in enumerate(people):
            if place and i % 2:
                continue
            side: Side = "tuned" if liking + own.gauss(0, 0.6) > 0 else "base"
            found.append(
                Label(
                    suite=SUITE,
                    sample_id=sample_id(i),
                    rubric=RUBRIC,
                    person=person,
                    preferred=side,
                )
            )
    return found


def health(said: Sequence[Judgement], told: Sequence[Label] = ()) -> JudgeHealth:
    """The health of the one judge of these judgements."""
    name = said[0].judge
    known = Known(lengths=lengths(120), families={"tuned": "qwen/Qwen2.5-7B"}, labels=told)
    found = health_of(name, f"someone/{name}", "3f9a1c0e77aa12cd", said, known)
    return replace(found, probes_passed=12, probes=12, cost=round(0.0021 * found.calls, 2))


def judging(said: Sequence[Sequence[Judgement]], told: Sequence[Label] = ()) -> Judging:
    """One judging by as many judges as there are lists of judgements."""
    every = [one for mine in said for one in mine]
    return Judging(
        suite=SUITE,
        rubric=RUBRIC,
        metric=PREFERRED.name,
        protocol="pairwise",
        judges=tuple(health(mine, told) for mine in said),
        jury=jury_health(every),
        corrected=corrected(preferences(every), told) if told else (),
        file="judgements.jsonl",
    )


def comparison_of(
    said: Sequence[Sequence[Judgement]], told: Sequence[Label] = (), **gate: object
) -> tuple[Comparison, Verdict]:
    """The comparison of two arms that these judges judged, and its verdict."""
    every = [one for mine in said for one in mine]
    values = {key[2]: one.value for key, one in utilities(preferences(every)).items()}
    return _decided(_answers(PREFERRED, values), judging(said, told), gate)


def _answers(metric: Metric, values: Mapping[str, float | None]) -> Answers:
    n = len(values)
    tuned = [values[sample_id(i)] for i in range(n)]
    base = [None if one is None else 1 - one for one in tuned]
    return Answers(
        name=SUITE,
        metrics=(metric,),
        values={"base": [[one] for one in base], "tuned": [[one] for one in tuned]},
        texts={"base": ["好的，这家咖啡馆不错。"] * n, "tuned": ["宝藏咖啡馆☕️ 姐妹们冲！"] * n},
        prompts=["写一篇小红书笔记，介绍一家咖啡馆。"] * n,
        language="zh",
    )


def _decided(
    answers: Answers, found: Judging, gate: Mapping[str, object]
) -> tuple[Comparison, Verdict]:
    runs = [make_run(arm, [answers]) for arm in ARMS]
    comparison = _declared(replace(compare(*runs), judgings=(found,)))
    return comparison, decide(comparison, GateConfig.model_validate({"max_missing": 0.2, **gate}))


def healthy() -> tuple[Comparison, Verdict]:
    """A judge of whom nothing bad is known: it prefers the tuned arm."""
    return comparison_of([words("alpha", quality=0.9)])


def troubled() -> tuple[Comparison, Verdict]:
    """A jury of three, one of which goes by the place and one by the length; two answers of the
    tuned arm, and one of the base's, look like attempts on them."""
    said = [
        words("alpha", quality=0.5),
        words("bravo", quality=0.3, place=1.6, silent=9),
        words("charlie", quality=0.2, length=1.8, dress=0.9),
    ]
    comparison, _ = comparison_of(said)
    found: dict[str, dict[str, tuple[str, ...]]] = {
        "tuned": {sample_id(i): (FLAG, "the same answer to many prompts") for i in (3, 4, 5)},
        "base": {sample_id(7): (FLAG,)},
    }
    told = replace(
        comparison.judgings[0],
        flagged=found,
        notes=("The budget of 500 calls ended: 9 pairs were not asked.",),
    )
    comparison = replace(comparison, judgings=(told,))
    return comparison, decide(comparison, GateConfig(max_missing=0.2))


def corrected_by_people() -> tuple[Comparison, Verdict]:
    """A judge that overrates the tuned arm, and 50 labelled samples that say so."""
    return comparison_of([words("alpha", quality=0.9)], labels(50))


def rated() -> tuple[Comparison, Verdict]:
    """Both arms' answers rated one by one."""
    rng = random.Random(8)
    said = []
    for i in range(80):
        for arm, centre in (("base", 3.2), ("tuned", 3.8)):
            value = float(min(5, max(1, round(rng.gauss(centre, 0.9)))))
            said.append(_rating(i, "base" if arm == "base" else "tuned", value))
    means = {(key[2], key[3]): one.value for key, one in ratings(said).items()}
    answers = _answers(RATED, {sample_id(i): 0.5 for i in range(80)})
    values = {arm: [[means[sample_id(i), arm]] for i in range(80)] for arm in ("base", "tuned")}
    found = Judging(
        suite=SUITE,
        rubric="helpful",
        metric=RATED.name,
        protocol="pointwise",
        judges=(health(said),),
    )
    return _decided(replace(answers, values=values), found, {})


def _declared(comparison: Comparison) -> Comparison:
    """With the judges as the base's file would have them."""
    names = [one.judge for judging in comparison.judgings for one in judging.judges]
    members = [{"kind": "recorded", "name": name, "path": f"/{name}.jsonl"} for name in names]
    config = {**comparison.base.config, "judge": {"judges": members, "max_missing": 0.2}}
    return replace(comparison, base=replace(comparison.base, config=config))


def _rating(index: int, arm: Side, value: float) -> Judgement:
    return Judgement(
        suite=SUITE,
        sample_id=sample_id(index),
        judge="alpha",
        rubric="helpful",
        protocol="pointwise",
        arm=arm,
        value=value,
        level=f"{value:.0f}",
        rationale="It answers what was asked.",
        tokens_in=500,
        tokens_out=60,
    )


def from_elsewhere() -> tuple[Comparison, Verdict]:
    """Preferences of another tool's log, as probabilities and in one order alone, without texts."""
    said = []
    for one in words("weighted_alpaca_eval_gpt4_turbo", length=1.0):
        if one.order == "tuned_first" and not one.stripped and one.value is not None:
            sure = int(one.sample_id[-3:]) % 7 / 20
            value = round(0.5 + (one.value - 0.5) * (1 - sure), 3)
            said.append(replace(one, order="", value=value, level="", rationale="", key=""))
    comparison, verdict = comparison_of([said])
    (judge,) = comparison.judgings[0].judges
    judge = replace(judge, probes_passed=None, probes=0, cost=None, prompt_hash="", calls=0)
    mine = replace(comparison.judgings[0], judges=(judge,))
    return replace(comparison, judgings=(mine,)), verdict
