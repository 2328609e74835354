"""Two runs, joined sample by sample, become a Comparison. No model is loaded here."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from evalkit.canaries import check_arms
from evalkit.choices import choice_flips
from evalkit.errors import UsageError
from evalkit.estimates import LEVEL, Scored, estimated, grouped
from evalkit.imports import base as imports
from evalkit.readings import extractions, truncation
from evalkit.records import (
    Comparison,
    Delta,
    EarlyStop,
    Extraction,
    Flip,
    Manifest,
    Metric,
    Pair,
    Result,
    Run,
    Score,
    SuiteInfo,
    Truncation,
    is_judged,
)
from evalkit.sequences import followed, in_order, of_slice
from evalkit.stats.multiple import benjamini_hochberg
from evalkit.store.runs import SCHEMA_VERSION

_FLIPS_KEPT = 12


def compare(base: Run, tuned: Run) -> Comparison:
    """Join two runs on suite and sample id and estimate every difference.

    Raises UsageError when the runs share no suite, and CanaryError when they cannot be told
    apart or never saw the same questions.
    """
    common = _common_suites(base, tuned)
    pairs, alone = join(base, tuned, [info.name for info in common])
    unpaired = _asked_only(alone, base, tuned)
    early = {info.name: early_of(base.manifest, tuned.manifest, info.name) for info in common}
    checks = check_arms(base, tuned, pairs)
    deltas: list[Delta] = []
    flips: list[Flip] = []
    read: list[Extraction] = []
    cut: list[Truncation | None] = []
    for info in common:
        mine = [pair for pair in pairs if pair.base.sample.suite == info.name]
        deltas += suite_deltas(info, mine, early[info.name], base.manifest.seed)
        flips += _largest_flips(info, mine)
        read += extractions(info, mine)
        cut.append(truncation(info.name, mine))
    return Comparison(
        schema_version=SCHEMA_VERSION,
        base=base.manifest,
        tuned=tuned.manifest,
        base_path=base.path,
        tuned_path=tuned.path,
        deltas=_among_slices(_with_unpaired(deltas, unpaired, base, tuned)),
        checks=checks,
        unpaired=unpaired,
        flips=tuple(flips),
        extractions=tuple(read),
        truncations=tuple(one for one in cut if one is not None),
    )


def join(
    base: Run, tuned: Run, suites: Iterable[str]
) -> tuple[list[Pair], dict[str, tuple[str, ...]]]:
    """Pairs in the base's order, and by suite the ids that only one of the arms has."""
    wanted = set(suites)
    theirs = {(r.sample.suite, r.sample.id): r for r in tuned.results if r.sample.suite in wanted}
    pairs: list[Pair] = []
    lonely: dict[str, list[str]] = defaultdict(list)
    for result in base.results:
        if result.sample.suite not in wanted:
            continue
        partner = theirs.pop((result.sample.suite, result.sample.id), None)
        if partner is None:
            lonely[result.sample.suite].append(result.sample.id)
        else:
            pairs.append(Pair(base=result, tuned=partner))
    for suite, sample_id in theirs:
        lonely[suite].append(sample_id)
    return pairs, {suite: tuple(sorted(ids)) for suite, ids in lonely.items()}


def suite_deltas(
    info: SuiteInfo, pairs: Sequence[Pair], early: EarlyStop | None = None, seed: int = 0
) -> list[Delta]:
    """A delta for each metric of a suite and, of the gated metric, one for each slice.

    Where the suite was looked at `early`, they have bounds that allow for it; those depend on the
    order in which the samples were asked, which the seed gives again.
    """
    if early is not None:
        places = in_order([pair.base.sample for pair in pairs], seed)
        pairs = [pairs[place] for block in places for place in block]
    asked = {one.name: _asked_for(info, one, pairs) for one in info.metrics}
    deltas = [metric_delta(info.name, one, asked[one.name], early) for one in info.metrics]
    gated = next(metric for metric in info.metrics if metric.name == info.metric)
    slices: dict[str, list[Pair]] = defaultdict(list)
    for pair in asked[gated.name]:
        for name in pair.base.sample.slice_names:
            slices[name].append(pair)
    deltas.extend(
        replace(
            metric_delta(info.name, gated, slices[name], early and of_slice(early, name)),
            slice=name,
        )
        for name in sorted(slices)
    )
    return deltas


def _asked_for(info: SuiteInfo, metric: Metric, pairs: Sequence[Pair]) -> Sequence[Pair]:
    """The pairs that a metric was asked of: a judge may have been given a part of them only, and
    what it was not given is not missing."""
    if not (info.rubrics and is_judged(metric.name)):
        return pairs
    return [pair for pair in pairs if any(one.scorer == metric.name for one in pair.tuned.scores)]


def _with_unpaired(
    deltas: Iterable[Delta], unpaired: Mapping[str, tuple[str, ...]], *runs: Run
) -> list[Delta]:
    """The deltas, each with the number of its samples that only one of the runs has."""
    counts: Counter[tuple[str, str]] = Counter()
    lonely = {suite: set(ids) for suite, ids in unpaired.items()}
    for run in runs:
        for result in run.results:
            sample = result.sample
            if sample.id in lonely.get(sample.suite, ()):
                counts.update((sample.suite, name) for name in ("", *sample.slice_names))
    return [replace(one, unpaired=counts[one.suite, one.slice]) for one in deltas]


def metric_delta(
    suite: str, metric: Metric, pairs: Sequence[Pair], early: EarlyStop | None = None
) -> Delta:
    """Estimate one difference; pairs with a missing score are counted, never filled in."""
    delta, scores = scored_pairs(suite, metric, pairs)
    if scores is None:
        return replace(delta, planned=early.planned) if early else delta
    return followed(delta, scores, early) if early else estimated(delta, scores)


def scored_pairs(suite: str, metric: Metric, pairs: Sequence[Pair]) -> tuple[Delta, Scored | None]:
    """A delta that counts the pairs but estimates nothing yet, and the scores it has to go by."""
    scored = [(_score(pair.base, metric), _score(pair.tuned, metric), pair) for pair in pairs]
    missing_base = sum(base is None for base, _, _ in scored)
    missing_tuned = sum(tuned is None for _, tuned, _ in scored)
    both = [(b, t, p) for b, t, p in scored if b is not None and t is not None]
    empty = Delta(
        suite=suite,
        metric=metric,
        level=LEVEL,
        missing=len(scored) - len(both),
        missing_base=missing_base,
        missing_tuned=missing_tuned,
        note="no sample has a score in both arms",
    )
    if not both:
        return empty, None
    clusters = grouped([pair.base.sample.cluster for _, _, pair in both])
    scores = Scored([base for base, _, _ in both], [tuned for _, tuned, _ in both], clusters)
    moved = choice_flips(metric, [pair for _, _, pair in both])
    several = [(b, t, p) for b, t, p in both if b.values or t.values]
    unscored = math.fsum(max(_unscored(p.base, b), _unscored(p.tuned, t)) for b, t, p in several)
    counted = replace(empty, n=len(both), unscored=unscored, note="")
    if moved:
        counted = replace(counted, changed=moved.changed, divergence=moved.divergence)
    return counted, scores


def _unscored(result: Result, score: Score) -> float:
    """The share of a sample's several answers that has no score."""
    return 1 - len(score.values) / len(result.completions) if score.values else 0.0


def _among_slices(deltas: Sequence[Delta]) -> tuple[Delta, ...]:
    """Each slice's p as one of all slices': many are looked at, and some differ by chance.

    Benjamini & Hochberg (1995), over the slices of all suites that have a p.
    """
    found = list(deltas)
    tested = [(i, one.p_value) for i, one in enumerate(deltas) if one.slice]
    known = [(index, p) for index, p in tested if p is not None]
    adjusted = benjamini_hochberg([p for _, p in known])
    for (index, _), p in zip(known, adjusted, strict=True):
        found[index] = replace(found[index], adjusted_p=float(p))
    return tuple(found)


def early_of(base: Manifest, tuned: Manifest, suite: str) -> EarlyStop | None:
    """How a suite was stopped, in either run; UsageError where its samples cannot be put in order.

    A prefix of one random order is a random part of the suite. What two different orders have in
    common is none.
    """
    found = base.early.get(suite) or tuned.early.get(suite)
    if found is not None and base.seed != tuned.seed:
        raise UsageError(
            f"{suite} was evaluated by --sequential in an order that the seed gives, and the runs "
            f"{base.name!r} and {tuned.name!r} have different seeds: {base.seed} and {tuned.seed}. "
            "Evaluate both with the same seed."
        )
    return found


def _asked_only(
    unpaired: Mapping[str, tuple[str, ...]], base: Run, tuned: Run
) -> dict[str, tuple[str, ...]]:
    """Without the samples that one arm was never asked, for its verdict was settled before.

    They are not missing. Only where both arms were to answer the same: with another --limit, what
    one of them lacks is not known to be such a sample.
    """
    kept = {}
    for suite, ids in unpaired.items():
        sizes = {i.samples for r in (base, tuned) for i in r.manifest.suites if i.name == suite}
        stopped = [run for run in (base, tuned) if suite in run.manifest.early and len(sizes) == 1]
        held = [{r.sample.id for r in run.results if r.sample.suite == suite} for run in stopped]
        left = tuple(one for one in ids if all(one in asked for asked in held))
        if left:
            kept[suite] = left
    return kept


def _common_suites(base: Run, tuned: Run) -> list[SuiteInfo]:
    theirs: Mapping[str, SuiteInfo] = {info.name: info for info in tuned.manifest.suites}
    common = [info for info in base.manifest.suites if info.name in theirs]
    if not common:
        raise UsageError(
            f"The runs {base.manifest.name!r} and {tuned.manifest.name!r} share no suite: "
            f"{_names(base)} against {_names(tuned)}. Evaluate both on the same suites."
        )
    changed = [i.name for i in common if i.fingerprint != theirs[i.name].fingerprint]
    if changed and (differs := imports.changed(base.manifest, tuned.manifest, changed)):
        raise UsageError(
            f"The suites {', '.join(changed)} were not asked alike in the two logs, so their "
            f"answers cannot be paired: {differs}. Run both with the same version and settings of "
            "the tool, and import them again."
        )
    if changed:
        raise UsageError(
            f"The suites {', '.join(changed)} changed between the two runs, so their answers "
            "cannot be paired. Evaluate the older run again with `evalkit run`."
        )
    return common


def _names(run: Run) -> str:
    return ", ".join(info.name for info in run.manifest.suites)


def _score(result: Result, metric: Metric) -> Score | None:
    """The score if it has a usable value; NaN counts as missing, never as a number."""
    for score in result.scores:
        if score.scorer == metric.name:
            usable = score.value is not None and math.isfinite(score.value)
            return score if usable else None
    return None


def _largest_flips(info: SuiteInfo, pairs: Sequence[Pair]) -> list[Flip]:
    """The samples whose gated score got worse most, then those that got better most."""
    metric = next(m for m in info.metrics if m.name == info.metric)
    sign = -1.0 if metric.higher_is_better is False else 1.0
    changed: list[tuple[float, Pair, Score, Score]] = []
    for pair in pairs:
        base, tuned = _score(pair.base, metric), _score(pair.tuned, metric)
        if base is None or tuned is None or base.value == tuned.value:
            continue
        assert base.value is not None
        assert tuned.value is not None
        changed.append((sign * (tuned.value - base.value), pair, base, tuned))
    changed.sort(key=lambda row: (row[0], row[1].base.sample.id))
    worst = [row for row in changed if row[0] < 0][: _FLIPS_KEPT // 2]
    best = [row for row in reversed(changed) if row[0] > 0][: _FLIPS_KEPT // 2]
    return [
        Flip(
            suite=info.name,
            sample_id=pair.base.sample.id,
            metric=metric.name,
            base_score=base.value,
            tuned_score=tuned.value,
            prompt=question(pair.base),
            base_text=answer(pair.base),
            tuned_text=answer(pair.tuned),
            lead=pair.base.sample.lead or 0,
        )
        for _, pair, base, tuned in (*worst, *best)
    ]


def question(result: Result) -> str:
    """What was asked, for reading: the last turn and those after it, or the plain prompt."""
    return "\n\n".join((result.sample.asked, *result.sample.then))


def answer(result: Result) -> str:
    """What the model said, for reading: its text or texts, or the choice it found likeliest."""
    if result.sample.choices and len(result.completions) == len(result.sample.choices):
        if any(one.error for one in result.completions):
            return ""
        likeliest = max(range(len(result.completions)), key=lambda i: _likelihood(result, i))
        return result.sample.choices[likeliest]
    texts = [one.text for one in result.completions]
    if len(texts) > 1:
        return "\n\n".join(f"[{place}] {text}" for place, text in enumerate(texts, start=1))
    return texts[0] if texts else ""


def _likelihood(result: Result, index: int) -> float:
    return result.completions[index].loglikelihood
