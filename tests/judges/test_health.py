"""Judge health: planted biases are found with their size inside the interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import special
from statsmodels.stats.proportion import proportion_confint

from evalkit.judges.families import families_of, same_family
from evalkit.judges.health import Known, health_of, jury_health
from evalkit.judges.jobs import Probed
from evalkit.records import JudgeHealth, Judgement, Rate
from evalkit.stats.agreement import cohen_kappa, krippendorff_alpha
from tests.judges.said import both, call, judged_by, lengths_of, plain, rating


def _health(judgements: Sequence[Judgement], known: Known | None = None) -> JudgeHealth:
    return health_of("j", "a-judge", "hash", judgements, known or Known(lengths={}))


def _holds(rate: Rate | None, truth: float) -> bool:
    assert rate is not None
    assert rate.low is not None
    assert rate.high is not None
    return rate.low <= truth <= rate.high


def _share_held(read: Callable[[JudgeHealth], Rate | None], truth: float, **bias: float) -> float:
    """How often the 95 % interval of a figure holds its planted size, over 100 judges."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        lengths = lengths_of(rng, 150)
        hits += _holds(
            read(_health(judged_by(rng, lengths, **bias), Known(lengths=lengths))), truth
        )
    return hits / 100


_LEAST = 0.95 - 4 * math.sqrt(0.95 * 0.05 / 100)


@pytest.mark.parametrize("position", [0.0, 0.3, 0.7])
def test_a_planted_position_bias_is_found(position: float) -> None:
    """Swayed with probability b, the first answer wins b + (1 − b)/2 of the calls."""
    held = _share_held(lambda one: one.first_wins, (1 + position) / 2, position=position)
    assert held >= _LEAST


def test_the_flips_that_a_position_bias_makes_are_found() -> None:
    """Swayed in both orders, or by chance named another: b²+ 2b(1−b)/2 + (1−b)²/2 at odds of ½."""
    b = 0.6
    truth = b * b + b * (1 - b) + (1 - b) ** 2 / 2
    assert _share_held(lambda one: one.flips, truth, position=b) >= _LEAST


@pytest.mark.parametrize("length", [0.0, 1.0, 2.5])
def test_a_planted_length_bias_is_found(length: float) -> None:
    held = _share_held(lambda one: one.length_coefficient, length, length=length, centre=-0.3)
    assert held >= _LEAST


def test_what_remains_at_equal_lengths_is_found() -> None:
    """The tuned arm is better by a hair (σ(.1)) and longer; the judge likes it long."""
    held = _share_held(
        lambda one: one.length_controlled, float(special.expit(0.1)), length=2.0, centre=0.1
    )
    assert held >= _LEAST


def test_both_biases_in_one_judge_are_found_and_told() -> None:
    rng = np.random.default_rng(2)
    lengths = lengths_of(rng, 600)
    found = _health(judged_by(rng, lengths, position=0.3, length=4.0), Known(lengths=lengths))
    assert _holds(found.first_wins, 0.65)
    assert found.longer_wins is not None
    assert found.longer_wins.low is not None
    assert found.longer_wins.low > 0.6
    assert any("shown first" in one for one in found.warnings)
    assert any("longer answer" in one for one in found.warnings)
    assert found.untrusted == ()


def test_a_judge_that_goes_by_the_place_alone_is_not_to_be_trusted() -> None:
    rng = np.random.default_rng(3)
    lengths = lengths_of(rng, 60)
    found = _health(judged_by(rng, lengths, position=1.0), Known(lengths=lengths))
    assert found.win_rate is not None
    assert found.win_rate.value == 0.5
    assert len(found.untrusted) == 2
    assert "goes by the place" in found.untrusted[0]
    assert "contradicts itself: on 100 %" in found.untrusted[1]


def test_four_samples_are_too_few_to_doubt_a_judge_by() -> None:
    """Two flips of four are half, and may well be a tenth."""
    said = both("a", 1.0, 0.0) + both("b", 1.0, 1.0) + both("c", 0.0, 1.0) + both("d", 0.0, 0.0)
    found = _health(said)
    assert found.flips is not None
    assert found.flips.value == 0.5
    assert found.untrusted == ()


def test_a_fair_judge_is_neither_warned_of_nor_doubted() -> None:
    said = [one for i in range(80) for one in both(f"s{i}", *[float(i % 3 > 0)] * 2)]
    lengths = {f"s{i}": (100 + i % 7, 100 + i % 5) for i in range(80)}
    found = _health(said, Known(lengths=lengths))
    assert (found.warnings, found.untrusted) == ((), ())
    assert found.win_rate is not None
    assert found.win_rate.value == pytest.approx(53 / 80)
    assert found.n == 80
    assert found.calls == 160


def test_a_judge_that_never_contradicts_itself_has_an_interval_around_one_half() -> None:
    """A position bias of which 80 samples show none is not shown to be none."""
    said = [one for i in range(80) for one in both(f"s{i}", *[float(i % 3 > 0)] * 2)]
    first = _health(said).first_wins
    assert first is not None
    assert first.value == 0.5
    assert first.low is not None
    assert first.high is not None
    assert 0.45 < first.low < 0.5 < first.high < 0.55
    assert first.n == 160


def test_shares_are_counted_over_samples_with_wilsons_interval() -> None:
    said = []
    for i in range(40):
        pairs = [(1.0, 0.0)] * 10 + [(0.5, 0.5)] * 6 + [(1.0, 0.5)] * 4 + [(1.0, 1.0)] * 20
        said += both(f"s{i}", *pairs[i])
    found = _health(said)
    for rate, count in ((found.flips, 10), (found.ties, 6), (found.wavered, 4)):
        assert rate is not None
        assert (rate.value, rate.n) == (count / 40, 40)
        # Student's t stands for z, and n − 1 for n: a little wider than the textbook's.
        low, high = proportion_confint(count, 40, method="wilson")
        assert rate.low == pytest.approx(low, abs=0.01)
        assert rate.high == pytest.approx(high, abs=0.01)


def test_missing_is_counted_by_reason_and_by_arm() -> None:
    said = both("a", 1.0, 1.0) + both("b", None, 1.0)
    said += both("c", None, None, status="refused")
    found = _health(said, Known(lengths={}, unanswered={"d": ("tuned",), "e": ("base", "tuned")}))
    assert found.missing == {"unparsed": 1, "refused": 1, "no_answer": 2}
    assert found.missing_by_arm == {"base": 3, "tuned": 4}
    assert found.n == 5
    assert found.win_rate is not None
    assert found.win_rate.n == 1
    assert "no verdict on 80 % of the samples" in found.untrusted[0]


def test_what_a_judge_was_not_asked_does_not_speak_against_it() -> None:
    """As where people labelled a part of the samples; of those asked, half is too many still."""
    unasked = [one for n in range(9) for one in both(f"u{n}", None, None, status="unasked")]
    found = _health(both("a", 1.0, 1.0) + both("b", 0.0, 0.0) + unasked)
    assert (found.n, found.missing) == (11, {"unasked": 9})
    assert found.untrusted == ()
    assert not [one for one in found.warnings if "no verdict" in one]
    found = _health(both("a", 1.0, 1.0) + both("b", None, None) + unasked)
    assert "no verdict on 50 % of the samples" in found.untrusted[0]
    found = _health(unasked)
    assert found.untrusted == ("j said nothing of these answers",)


def test_nothing_missing_is_nothing_to_tell() -> None:
    found = _health(both("a", 1.0, 1.0))
    assert (found.missing, found.missing_by_arm) == ({}, {})


def test_what_was_not_asked_is_no_call() -> None:
    found = _health(both("a", 1.0, 1.0, tokens_in=10) + both("b", None, None, status="unasked"))
    assert (found.calls, found.tokens_in) == (2, 20)
    assert found.missing == {"unasked": 1}


def test_the_win_rate_without_markup_stands_beside_the_other() -> None:
    said = [one for i in range(30) for one in both(f"s{i}", 1.0, 1.0)]
    said += [one for i in range(30) for one in both(f"s{i}", *[float(i < 9)] * 2, stripped=True)]
    found = _health(said)
    assert found.stripped is not None
    assert found.stripped.value == pytest.approx(0.3)
    assert any("Without emoji and markup the win rate is 30 %" in one for one in found.warnings)


def test_orders_that_a_log_does_not_tell_are_not_made_up() -> None:
    found = _health([call(f"s{i}", i / 20, "") for i in range(21)])
    assert (found.first_wins, found.flips, found.ties, found.wavered) == (None,) * 4
    assert found.win_rate is not None
    assert found.win_rate.value == pytest.approx(0.5)


def test_ratings_have_means_and_no_order() -> None:
    said = [rating("a", "base", 3.0), rating("a", "tuned", 4.0), rating("b", "base", 2.0)]
    said += [rating("b", "tuned", None, status="error")]
    found = _health(said)
    assert found.ratings == {"base": 2.5, "tuned": 4.0}
    assert found.missing == {"error": 1}
    assert found.missing_by_arm == {"base": 0, "tuned": 1}
    assert (found.win_rate, found.first_wins, found.n) == (None, None, 2)


def test_a_judge_of_a_candidates_family_is_told() -> None:
    known = Known(lengths={}, families={"base": "org/SmolLM2-135M", "tuned": "Qwen/Qwen2.5-7B"})
    found = health_of("j", "qwen-max", "", both("a", 1.0, 1.0), known)
    assert found.same_family == "Qwen/Qwen2.5-7B"
    assert any("same family as Qwen/Qwen2.5-7B" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("gpt-4o-mini", ("GPT",)),
        ("o3-mini", ("GPT",)),
        ("weighted_alpaca_eval_gpt4_turbo", ("GPT",)),
        ("Qwen2.5-7B-Instruct", ("Qwen",)),
        ("meta-llama/Llama-3.1-8B", ("Llama",)),
        ("DeepSeek-R1-Distill-Qwen-7B", ("Qwen", "DeepSeek")),
        ("chatglm3-6b", ("GLM",)),
        ("01-ai/Yi-34B", ("Yi",)),
        ("gemma-2b-it", ("Gemini",)),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", ("SmolLM",)),
        ("my-own-model", ()),
    ],
)
def test_families_are_read_from_names(name: str, families: tuple[str, ...]) -> None:
    assert families_of(name) == families
    assert same_family("nobody", {"base": name}) == ""


def test_a_judge_that_failed_the_probes_is_not_to_be_trusted() -> None:
    probed = Probed(passed=5, asked=24, failed="read 5 of 24 known answers right")
    found = _health(both("a", 1.0, 1.0), Known(lengths={}, probed=probed))
    assert (found.probes_passed, found.probes) == (5, 24)
    assert found.untrusted == ("j: read 5 of 24 known answers right",)


def test_a_jury_has_its_agreement_and_its_leave_one_out() -> None:
    rng = np.random.default_rng(4)
    lengths = lengths_of(rng, 50)
    words = {name: plain(judged_by(rng, lengths, centre=0.8), name) for name in ("a", "b", "c")}
    found = jury_health([one for said in words.values() for one in said])
    table = np.array([_utilities(said) for said in words.values()])
    assert found is not None
    assert found.alpha == pytest.approx(krippendorff_alpha(table, "interval"))
    kappas = [cohen_kappa(table[i], table[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.kappa == pytest.approx(np.mean([one for one in kappas if one is not None]))
    assert found.without["a"] == pytest.approx(table[1:].mean())
    assert found.without.keys() == words.keys()


def _utilities(said: Sequence[Judgement]) -> list[float]:
    """Each sample's, by hand: ½ unless both orders say the same."""
    pairs = zip(said[::2], said[1::2], strict=True)
    return [float(a.value or 0) if a.value == b.value else 0.5 for a, b in pairs]


def test_a_jury_of_ratings_is_left_one_out_by_the_difference_of_the_arms() -> None:
    said = []
    for judge, lift in (("a", 1.0), ("b", 0.0)):
        for i in range(6):
            said.append(rating(f"s{i}", "base", 2.0 + i % 3, judge=judge))
            said.append(rating(f"s{i}", "tuned", 2.0 + i % 3 + lift, judge=judge))
    found = jury_health(said)
    assert found is not None
    assert found.without == {"a": pytest.approx(0.0), "b": pytest.approx(1.0)}
    assert found.kappa is not None
    assert 0 < found.kappa < 1


def test_one_judge_is_no_jury() -> None:
    assert jury_health(both("a", 1.0, 1.0)) is None
