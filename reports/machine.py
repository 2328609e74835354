"""JSON for programs: stable keys, a schema version, numbers not rounded, null where unknown.

comparison_json (`evalkit compare --json`, report.json):

    schema_version  1; raised when a key changes its meaning or goes away, not when one is added
    verdict         pass | fail | inconclusive: that of the arm that decides, which is the one
                    hardest to ship; of checkpoints of one training run the best alone counts
    deciding_arm    its name
    exit_code       what the process ends with: 0 | 1 | 3
    base            {name, run_id, path}
    arms            one for each tuned model, in the order of the command:
        name, run_id, path, verdict, exit_code, advice
        departures  how the gate that decided is another than the base declares; [] where it is not
        step        of a checkpoint that --checkpoints found: its training step; else null
        suites      the gate's word on each: {suite, slice, verdict, reason, ground, policy, margin,
                    floor, ceiling, low, high (the bounds that decided, one-sided at the gate's
                    alpha, of the benefit or, absolute, of the tuned score), samples_needed,
                    reachable, delta}
        checks      {name, status: ok | warning | failed, message}: the canaries
        deltas      every metric and slice of every suite:
            suite, metric, slice ("" = the whole suite), unit, higher_is_better (null: described
            only), kind, base, tuned, difference (tuned − base), low, high, level, boot_low,
            boot_high, standard_error, p_value, interval (tango | t | wild | bootstrap |
            sequence: it holds at every look | corrected: by people's labels | none),
            tails (one-sided bounds that cannot be had again from the rest: {alpha, low, high}),
            method, tuned_error (standard error of the tuned score), tuned_tails (its bounds, kept
            with a sequence), skewness, tuned_skewness (of the differences and of the tuned
            scores; they and the standard errors are null where planned is not null),
            adjusted_p (of a slice among all slices, Benjamini–Hochberg), changed (choices:
            wrong in both arms, but differently), divergence (choices: mean KL divergence of base
            from tuned, nats), ratio, ratio_low, ratio_high (perplexity: tuned/base and its
            interval), n, planned (samples there would have been; null without --sequential),
            clusters,
            missing (pairs without a score in at least one arm), missing_base, missing_tuned,
            gained, lost (null where no flips are counted: of scores, and of several answers),
            completions (answers averaged for each sample), between, within_base,
            within_tuned (their variances: of the differences between samples, of one answer), note
        unpaired    by suite, the ids that only one of the two runs holds
        extractions {suite, metric, n, lost_base, lost_tuned (shares of answers not extracted),
                    both (samples extracted in both arms), both_base, both_tuned (the metric over
                    those), changed_format (far fewer are extracted, and the score fell)}
        truncations {suite, base, of_base, tuned, of_tuned}: answers cut off while thinking
        judgings    what judges said, one for each suite and rubric: {suite, rubric, metric (the
                    delta's, where difference = 2 · win rate − 1), protocol, win_rate (of all
                    judges together), judges (of each: judge, model, prompt_hash, n, win_rate,
                    ratings, first_wins, flips, ties, wavered, longer_wins, length_coefficient,
                    length_controlled, stripped, missing, missing_by_arm, same_family,
                    probes_passed, probes, calls, tokens_in, tokens_out, cost, corrected,
                    warnings, untrusted), jury {alpha, kappa, without}, corrected {method, labels,
                    rate, agreement, kappa, ceiling}, flagged (by arm and sample), untrusted (why
                    the results are not trustworthy, [] where they are), notes, file}; a rate is
                    {value, low, high, n, level}
    saved           with --sequential: {samples, planned_samples, requests, planned_requests},
                    how many were not asked for, and how many were planned; else null
    profile         with --profile alone: one for each engine, see reports/profile.py

A suite's `delta` is null where the tuned model was not evaluated on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evalkit.records import Comparison, Delta, Manifest, Run, SuiteVerdict, Verdict
from reports.flips import uncounted
from reports.formats import changed_format
from reports.judging.machine import judging_row
from reports.plan import add_up
from reports.power import power_table
from reports.profile import profile_rows
from reports.steps import deciding, training_step
from reports.summary import LEVEL, summarise
from reports.wording import fixed_n_hidden, saved

if TYPE_CHECKING:
    from evalkit.config import GateConfig
    from evalkit.evaluate import SuitePlan
    from evalkit.judging.foreseen import Foreseen
    from evalkit.models.base import Outline
    from evalkit.power import SuitePower
    from evalkit.sequential import Schedule

SCHEMA_VERSION = 1


def comparison_json(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], *, profiled: bool = False
) -> str:
    """Verdict, arms and all deltas; the keys are described above."""
    arm, last = deciding(comparisons, verdicts)
    base = comparisons[0]
    manifests = [base.base, *(one.tuned for one in comparisons)]
    return _dump(
        {
            "verdict": last.outcome,
            "exit_code": int(last.exit_code),
            "deciding_arm": arm.tuned.name,
            "base": _run(base.base, base.base_path),
            "arms": [_arm(c, v) for c, v in zip(comparisons, verdicts, strict=True)],
            "saved": found._asdict() if (found := saved(comparisons)) else None,
            **({"profile": profile_rows(manifests)} if profiled else {}),
        }
    )


def run_json(run: Run, *, profiled: bool = False) -> str:
    """One arm alone: {schema_version, run, counts, metrics: [{suite, metric, gated, value, …}],
    notes: [what a reader should know, as what was left out]}.

    With `profiled` also `profile`, as in a comparison.
    """
    extra = {"profile": profile_rows([run.manifest])} if profiled else {}
    return _dump({**_alone(run), **extra})


def runs_json(runs: Sequence[Run]) -> str:
    """Arms that came out of one file: {schema_version, runs: [{run, counts, metrics, notes}]}."""
    return _dump({"runs": [_alone(run) for run in runs]})


def _alone(run: Run) -> dict[str, Any]:
    metrics = [
        {
            "suite": row.suite,
            "metric": row.metric.name,
            "unit": row.metric.unit,
            "higher_is_better": row.metric.higher_is_better,
            "gated": row.gated,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "level": LEVEL,
            "n": row.n,
            "missing": row.missing,
        }
        for row in summarise(run)
    ]
    return {
        "run": _run(run.manifest, run.path),
        "counts": dict(run.manifest.counts),
        "metrics": metrics,
        "notes": list(run.manifest.notes),
    }


def power_json(rows: Sequence[SuitePower], gate: GateConfig) -> str:
    """What the gate can decide: {schema_version, alpha, power, suites}, see reports/power.py."""
    return _dump(power_table(rows, gate))


def plan_json(
    costs: Sequence[SuitePlan],
    outlines: Sequence[Outline],
    power: Sequence[SuitePower] = (),
    gate: GateConfig | None = None,
    schedules: Sequence[Schedule] = (),
    judges: Sequence[Foreseen] = (),
) -> str:
    """A dry run: {schema_version, parts: [{arm, suite, samples, …}], engines: [Outline], totals}.

    `parts` count all that is asked, `engines` and the totals' tokens what is not stored yet. Of a
    comparison there is `gate` too: what it can decide, as from `power_json`. With
    --sequential all that is the most it can be, and `sequential` has {suite, blocks: [samples in
    each], whole: why it is one, else ""}. Where answers are judged, `judges` has {arm, judge,
    calls, stored, tokens_in, tokens_out, cost}.
    """
    parts = [asdict(one) for one in costs]
    sums = {
        name: sum(part[name] for part in parts)
        for name in ("requests", "tokens", "new_tokens", "stored")
    }
    work = add_up(outlines)
    totals = {
        **sums,
        "tokens_asked": work.tokens,
        "unique_tokens": work.unique_tokens,
        "read_tokens": work.read_tokens,
        "packets": work.packets,
        "seconds": work.seconds,
    }
    document = {"parts": parts, "engines": [asdict(one) for one in outlines], "totals": totals}
    blocks = [
        {"suite": one.info.name, "blocks": list(one.sizes), "whole": one.whole} for one in schedules
    ]
    told: dict[str, Any] = {"gate": power_table(power, gate)} if power and gate else {}
    if blocks:
        told["sequential"] = blocks
    if judges:
        told["judges"] = [{"arm": one.arm, **asdict(one.judge)} for one in judges]
    return _dump({**document, **told})


def _arm(comparison: Comparison, verdict: Verdict) -> dict[str, Any]:
    step = training_step(comparison.tuned)
    return {
        **_run(comparison.tuned, comparison.tuned_path),
        "step": step.number if step else None,
        "verdict": verdict.outcome,
        "exit_code": int(verdict.exit_code),
        "advice": verdict.advice,
        "departures": list(verdict.departures),
        "suites": [_suite(one) for one in verdict.suites],
        "checks": [asdict(check) for check in verdict.checks],
        "deltas": [_delta(delta) for delta in comparison.deltas],
        "unpaired": {suite: list(ids) for suite, ids in comparison.unpaired.items()},
        "extractions": [
            {**asdict(one), "changed_format": changed_format(comparison, one)}
            for one in comparison.extractions
        ],
        "truncations": [asdict(one) for one in comparison.truncations],
        "judgings": [judging_row(comparison, one) for one in comparison.judgings],
    }


def _run(manifest: Manifest, path: str) -> dict[str, Any]:
    return {"name": manifest.name, "run_id": manifest.run_id, "path": path}


def _suite(one: SuiteVerdict) -> dict[str, Any]:
    return {
        "suite": one.suite,
        "slice": one.slice,
        "verdict": one.outcome,
        "reason": one.reason,
        "ground": one.ground,
        "policy": one.policy,
        "margin": one.margin,
        "floor": one.floor,
        "ceiling": one.ceiling,
        "low": one.low,
        "high": one.high,
        "samples_needed": one.samples_needed,
        "reachable": one.reachable,
        "delta": _delta(one.delta) if one.delta else None,
    }


def _delta(delta: Delta) -> dict[str, Any]:
    """Flat: the metric's own fields stand beside the numbers."""
    row = asdict(fixed_n_hidden(delta)) | uncounted(delta)
    metric = row.pop("metric")
    head = {"suite": row.pop("suite"), "metric": metric.pop("name"), "slice": row.pop("slice")}
    return {**head, **metric, **row}


def _dump(document: Mapping[str, Any]) -> str:
    """Pure ASCII, so that it survives any pipe; NaN and infinities, which JSON lacks, are null."""
    whole = {"schema_version": SCHEMA_VERSION, **document}
    return json.dumps(_finite(whole), allow_nan=False, indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
