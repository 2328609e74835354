"""Several sampled answers to one question: pass@k and the vote of the majority."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from evalkit.scorers.generated import Value


def pass_at(k: int, correct: Sequence[bool]) -> float:
    """The chance that one of k answers drawn from n is right: 1 − C(n−c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (arXiv:2107.03374), c of n being right. n ≥ k.
    """
    n = len(correct)
    assert n >= k
    return 1.0 - math.comb(n - sum(correct), k) / math.comb(n, k)


def majority_at(k: int, answers: Sequence[Hashable | None], right: Sequence[bool]) -> Value:
    """Whether the most frequent of the first k answers is right (Wang et al. 2022).

    An answer of None does not vote. Among answers that are as frequent one is drawn by lot, so the
    value is the share of them that are right.
    """
    votes = Counter(one for one in answers[:k] if one is not None)
    if not votes:
        return Value(0.0, "not extracted: no answer votes")
    most = max(votes.values())
    verdict = {one: ok for one, ok in zip(answers[:k], right[:k], strict=True) if one is not None}
    best = [one for one, count in votes.items() if count == most]
    return Value(sum(verdict[one] for one in best) / len(best))
