"""Which way a metric counts where its log does not say: more is better, unless a user says less."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from evalkit.errors import UsageError
from evalkit.imports.base import Imported
from evalkit.records import SuiteInfo

_GOOD = frozenset({
    "acc", "accuracy", "answer", "bleu", "choice", "chrf", "correct", "em", "exact", "f1", "graded",
    "includes", "match", "mean", "pass", "pattern", "rouge", "rouge1", "rouge2", "rougel", "score",
    "win",
})  # fmt: skip
"""Words in the names of metrics of which more is better, unless another word says otherwise."""
_BAD = frozenset({
    "cer", "cost", "error", "errors", "fail", "failed", "failure", "failures", "hallucination",
    "latency", "loss", "perplexity", "ppl", "refusal", "ter", "toxic", "toxicity", "wer", "wrong",
})  # fmt: skip


def directed(found: Sequence[Imported], lower: Collection[str]) -> list[Imported]:
    """The same with less for better in the metrics named in `lower`, and what is assumed noted.

    UsageError for a name that no suite has a metric of.
    """
    names = {one.name for each in found for suite in each.suites for one in suite.metrics}
    unknown = [name for name in lower if name not in names]
    if unknown:
        raise UsageError(
            f"--lower-is-better: there is no metric {unknown[0]!r}. The log has "
            f"{', '.join(sorted(names))}."
        )
    return [_turned(one, lower) for one in found]


def _turned(imported: Imported, lower: Collection[str]) -> Imported:
    suites = tuple(_suite(one, lower) for one in imported.suites)
    setups = {name: dict(setup) for name, setup in imported.setups.items()}
    assumed = []
    for suite in suites:
        turned = [one.name for one in suite.metrics if one.name in lower]
        if turned:
            setups[suite.name]["lower_is_better"] = ", ".join(turned)
        unclear = [
            one.name for one in suite.metrics if one.name not in lower and not _is_good(one.name)
        ]
        if unclear:
            assumed.append(
                f"{suite.name}: more counts as better in {', '.join(unclear)}, which the log does "
                "not say; --lower-is-better NAME turns it round"
            )
    return replace(
        imported,
        suites=suites,
        setups=setups,
        notes=(*imported.notes, *assumed),
        lower=tuple(sorted(lower)),
    )


def _suite(suite: SuiteInfo, lower: Collection[str]) -> SuiteInfo:
    """Another suite by its fingerprint, too: two runs must not be judged in opposite ways."""
    turned = sorted(one.name for one in suite.metrics if one.name in lower)
    if not turned:
        return suite
    identity = "\n".join([suite.fingerprint, *turned])
    return replace(
        suite,
        metrics=tuple(
            replace(one, higher_is_better=False) if one.name in lower else one
            for one in suite.metrics
        ),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
    )


def _is_good(name: str) -> bool:
    """Whether more of it is better by its name alone."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return bool(words & _GOOD) and not words & _BAD
