"""What a scorer says of its scale: every score lies on it, and no bounded scale is left untold."""

from __future__ import annotations

import pytest

from evalkit.records import Metric
from evalkit.scorers.overlap import bleu, chrf
from evalkit.scorers.registry import SCORERS, build
from tests.scorers.examples import make_context, make_sample, make_scorer, values

REFERENCES = {"references": "style/rednote-en"}
OPTIONS = {
    "regex": {"pattern": "(a)"},
    "style_classifier": REFERENCES,
    "style_distance": REFERENCES,
}
TESTED = {"entry_point": "Lima", "test": "assert Lima"}
TEXTS = ("", "a", "Lima", "a a a a a a a a a a", "🙂" * 40, "Title\n\nLima! #one #two\n- a\n- b")


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"memorisation", "number", "choice"}))
def test_no_text_is_scored_outside_of_the_scale(name: str) -> None:
    facts = [["Lima"]]
    sample = make_sample("Lima", "a", required=facts, spot=facts, reference="Lima", **TESTED)
    scorer = build(name, OPTIONS.get(name, {}), make_context(sample))
    scales = {metric.name: metric.scale for metric in scorer.metrics}
    for text in TEXTS if "generate" in scorer.tasks else ():
        for metric, value in values(scorer, sample, text).items():
            scale = scales[metric]
            if value is not None and scale is not None:
                # A hundred may be missed by rounding, as sequences allow.
                assert scale[0] - 1e-7 <= value <= scale[1] + 1e-7, (metric, text)


def test_shares_probabilities_and_percentages_have_a_scale() -> None:
    told = {"0–1": 1.0, "0–100": 100.0, "probability": 1.0, "share": 1.0}
    for name in sorted(set(SCORERS) - {"memorisation"}):
        context = make_context(make_sample("A" if name == "choice" else "7", **TESTED))
        for metric in build(name, OPTIONS.get(name, {}), context).metrics:
            if metric.unit in told and metric.higher_is_better is not None:
                # Over a corpus a score is none of its samples'.
                bounded = metric.kind == "continuous"
                assert metric.scale == ((0.0, told[metric.unit]) if bounded else None), metric.name


def test_a_hit_reaches_the_end_of_its_scale() -> None:
    sample = make_sample("The cat sat on the mat today")
    for factory in (chrf, bleu):
        scorer = factory(make_context(sample))
        assert scorer.metrics[0].most == 100.0
        assert values(scorer, sample, sample.targets[0])[scorer.name] == pytest.approx(100.0)


def test_binary_scores_have_a_scale_by_themselves_and_ratios_have_none() -> None:
    assert make_scorer("exact_match").metrics[0].scale == (0.0, 1.0)
    assert all(metric.scale is None for metric in make_scorer("perplexity").metrics)
    assert Metric(name="x", kind="ratio", least=0.0, most=1.0).scale is None
    assert Metric(name="x", least=0.0).scale is None
