"""In words: how many answers each question got, and what more of them would bring."""

from __future__ import annotations

import math

from evalkit.records import Delta, Verdict


def answers_text(delta: Delta) -> str:
    """How far more answers to each question could shrink the error; empty where there is one.

    The standard error is √((between + within/K)/n); with answers without end √(between/n) is left
    (Miller 2024, section 3.1). Not told for clusters, whose error has other parts.
    """
    if delta.completions == 1:
        return ""
    text = f"{delta.completions:,} answers to each question"
    if delta.between is None or not delta.standard_error or delta.clusters != delta.n:
        return text
    least = math.sqrt(delta.between / delta.n)
    share = max(0.0, 1 - least / delta.standard_error)
    if share < 0.005:
        return f"{text}; more of them would not shrink the error"
    return f"{text}; more of them would shrink the error by at most {share:.0%}".replace("%", " %")


def repeated(verdict: Verdict) -> list[tuple[str, str]]:
    """Each suite that got several answers to a question, and what more of them would bring."""
    whole = [(one.suite, one.delta) for one in verdict.suites if one.delta and not one.slice]
    told = [(suite, answers_text(delta)) for suite, delta in whole]
    return [(suite, text) for suite, text in told if text]
