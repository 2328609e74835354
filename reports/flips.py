"""What moved beneath an average, in words: answers that flipped, and slices that stand out."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.records import Delta, Verdict
from reports.wording import number

_LEAST = 0.001


def better_and_worse(delta: Delta) -> tuple[int, int]:
    """Samples on which a binary metric got better and worse, whichever way is better."""
    if delta.metric.higher_is_better is False:
        return delta.lost, delta.gained
    return delta.gained, delta.lost


def uncounted(delta: Delta) -> dict[str, None]:
    """The counts of a delta that nobody made, to be written over it: unknown is not 0.

    Flips are counted of single right-or-wrong answers; samples are planned with --sequential.
    """
    names = [] if delta.planned else ["planned"]
    single = delta.metric.kind == "binary" and delta.completions == 1
    if not single or delta.difference is None:
        names += ["gained", "lost"]
    return dict.fromkeys(names)


def flips_text(delta: Delta) -> str:
    """How the answers moved, of a binary metric; empty for others and where nothing is known."""
    if delta.metric.kind != "binary" or delta.difference is None:
        return ""
    better, worse = better_and_worse(delta)
    words = ("better", "worse") if delta.divergence is None else ("newly right", "newly wrong")
    text = f"of {delta.n:,}: {better:,} {words[0]}, {worse:,} {words[1]}"
    if delta.changed is not None:
        text += f", {delta.changed:,} wrong in another way"
    if delta.divergence is not None:
        text += f"; the choices' probabilities moved by {nats(delta.divergence)} nats on average"
    return text


def moved(verdict: Verdict) -> list[tuple[str, str]]:
    """Each suite's name and how its gated answers moved, where that can be counted."""
    whole = [(one.suite, one.delta) for one in verdict.suites if one.delta and not one.slice]
    told = [(suite, flips_text(delta)) for suite, delta in whole]
    return [(suite, text) for suite, text in told if text]


def nats(divergence: float) -> str:
    """A divergence to three digits; what rounds to nothing is not said to be nothing."""
    if 0 < divergence < _LEAST:
        return f"less than {_LEAST:g}"
    return number(divergence, 3 if divergence < 1 else 2)


def p_text(p: float | None) -> str:
    """A p value to three digits, and never as 0."""
    return f"< {_LEAST:g}" if p is not None and p < _LEAST else number(p)


def stands_out(delta: Delta) -> bool:
    """Whether a slice differs more than chance explains among as many slices."""
    # 1 − .95 is a little more than .05 in binary; so is not every p of .05.
    return delta.adjusted_p is not None and delta.adjusted_p <= 1 - delta.level + 1e-9


def slices_text(slices: Sequence[Delta]) -> str:
    """How many slices stand out, and what that means."""
    tested = [one for one in slices if one.adjusted_p is not None]
    found = sum(stands_out(one) for one in slices)
    start = (
        "Slices decide only where the gate declares them (must_not_regress), and are for looking "
        "else: with many of them some differ by chance."
    )
    if not tested:
        return start
    share = f"{1 - tested[0].level:.0%}".replace("%", " %")
    count = {0: "none stands out", 1: "1 stands out (★)"}.get(found, f"{found} stand out (★)")
    return f"{start} Of {len(tested)} weighed together (Benjamini–Hochberg, {share}), {count}."
