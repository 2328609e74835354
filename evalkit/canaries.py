"""Checks without which a comparison would mean nothing; they need two runs and no model.

What only the open model can tell (an adapter that changes no logit, weights that are not
numbers, a foreign base) is checked where it is opened, in `models`, and comes here with the
run's manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os.path import commonprefix

from evalkit.errors import CanaryError
from evalkit.records import Check, Completion, Pair, Result, Run

_IDENTITY_KEYS = ("kind", "endpoint", "model", "weights", "config", "adapter", "dtype",
                  "quantization", "recording")  # fmt: skip


def check_arms(base: Run, tuned: Run, pairs: Sequence[Pair]) -> tuple[Check, ...]:
    """All canaries, in the order of the report; CanaryError where going on would mislead."""
    return (
        _different_models(base, tuned),
        *(one for one in base.manifest.checks if one.status != "ok"),
        *tuned.manifest.checks,
        _answers_differ(base, tuned, pairs),
        _same_prompts(base, tuned, pairs),
        _same_template(base, tuned),
        _untruncated(pairs),
        _no_errors(pairs),
    )


def _different_models(base: Run, tuned: Run) -> Check:
    mine, theirs = base.manifest.fingerprints, tuned.manifest.fingerprints
    changed = [key for key in _IDENTITY_KEYS if mine.get(key) != theirs.get(key)]
    if not changed and any(mine.get(key) for key in _IDENTITY_KEYS):
        raise CanaryError(
            f"{base.manifest.name!r} and {tuned.manifest.name!r} are the same model: "
            f"{_what_is_same(mine)} in the two files."
        )
    risky = [key for key in changed if key in ("dtype", "quantization")]
    if risky:
        names = " and ".join(risky)
        return Check(
            name="models differ",
            status="warning",
            message=f"the arms differ in {names} too, so the difference is not the tuning's alone",
        )
    if not changed:
        told = "not known: neither run tells which model gave its answers"
        return Check(name="models differ", status="warning", message=told)
    return Check(name="models differ", status="ok", message=f"they differ in {', '.join(changed)}")


def _what_is_same(fingerprints: Mapping[str, str]) -> str:
    """What two arms have in common that must differ, and the keys that say so."""
    if fingerprints.get("recording"):
        return "one recording. Check `model.path`"
    if fingerprints.get("endpoint"):
        return "same address, same model name. Check `model.base_url` and `model.model`"
    return "same weights, same adapter, same precision. Check `model.path` and `model.adapter`"


def _answers_differ(base: Run, tuned: Run, pairs: Sequence[Pair]) -> Check:
    if not pairs:
        raise CanaryError(
            f"{base.manifest.name!r} and {tuned.manifest.name!r} have no sample in common. "
            "Evaluate both with the same suites, --limit and seed."
        )
    told = [pair for pair in pairs if pair.base.completions and pair.tuned.completions]
    if not told:
        message = "not known: at least one arm does not tell its answers"
        return Check(name="tuned changes answers", status="ok", message=message)
    different = answers_that_differ(told)
    if not different:
        raise CanaryError(
            f"{tuned.manifest.name!r} answers all {len(told)} samples exactly as "
            f"{base.manifest.name!r} does, to the last digit. The tuning changes nothing, or "
            "was not applied: check `model` in the two files. This is an error, not a result."
        )
    return Check(
        name="tuned changes answers",
        status="ok",
        message=f"{different} of {len(told)} samples are answered differently",
    )


def answers_that_differ(pairs: Sequence[Pair]) -> int:
    """The number of samples that the arms answer differently, be it in the last digit."""
    return sum(_said(p.base.completions) != _said(p.tuned.completions) for p in pairs)


def _said(completions: Sequence[Completion]) -> list[tuple[str, tuple[float, ...]]]:
    return [(one.text, one.logprobs) for one in completions]


def _same_prompts(base: Run, tuned: Run, pairs: Sequence[Pair]) -> Check:
    """The arms must have been asked the same: the same text, and the same tokens."""
    name = "same prompts"
    seen = [
        (b, t)
        for pair in pairs
        for b, t in zip(_first_turns(pair.base), _first_turns(pair.tuned), strict=False)
        if b.prompt_hash and t.prompt_hash
    ]
    if not seen:
        # Nobody can tell it of a recording: a warning there would only teach to overlook warnings.
        recorded = any(arm.manifest.fingerprints.get("recording") for arm in (base, tuned))
        return _same_texts(name, pairs, recorded=recorded)
    differ = [(b, t) for b, t in seen if b.prompt_hash != t.prompt_hash]
    if not differ:
        start = ", ".join(map(str, seen[0][0].prompt_start))
        shown = f"; the first begins {start} …" if start else ""
        return Check(
            name=name,
            status="ok",
            message=f"all {len(seen)} prompts have the same token ids{shown}",
        )
    if any(b.prompt_text != t.prompt_text for b, t in differ):
        return _other_texts(name, differ, len(seen))
    return Check(
        name=name,
        status="warning",
        message=f"{len(differ)} of {len(seen)} prompts have the same text in other tokens",
    )


def _first_turns(result: Result) -> Sequence[Completion]:
    """A later turn follows the arm's own answer, and so differs where the answers do."""
    turns = 1 + len(result.sample.then)
    return result.completions[: math.ceil(len(result.completions) / turns)]


def _same_texts(name: str, pairs: Sequence[Pair], *, recorded: bool) -> Check:
    """The same by the prompts' texts alone: other tools' logs tell no tokens."""
    told = [
        (b, t)
        for pair in pairs
        for b, t in zip(_first_turns(pair.base), _first_turns(pair.tuned), strict=False)
        if b.prompt_text and t.prompt_text
    ]
    if not told:
        whose = "a recording does not" if recorded else "at least one arm does not"
        return Check(
            name=name,
            status="ok" if recorded else "warning",
            message=f"not known: {whose} tell the tokens it saw",
        )
    if any(b.prompt_text != t.prompt_text for b, t in told):
        return _other_texts(name, told, len(told))
    return Check(
        name=name,
        status="ok",
        message=f"all {len(told)} prompts have the same text; their tokens are not known",
    )


def _other_texts(name: str, seen: Sequence[tuple[Completion, Completion]], asked: int) -> Check:
    differ = [(b, t) for b, t in seen if b.prompt_text != t.prompt_text]
    base, tuned = _around_difference(*(one.prompt_text for one in differ[0]))
    return Check(
        name=name,
        status="failed",
        message=(
            f"{len(differ)} of {asked} prompts differ in their text; where the first differs it "
            f"reads {base!r} against {tuned!r}"
        ),
    )


def _around_difference(base: str, tuned: str) -> tuple[str, str]:
    """Sixty characters of two texts, from a little before they part."""
    shared = commonprefix([base, tuned])  # noqa: RUF071, characters are meant
    start = max(0, len(shared) - 20)
    return base[start : start + 60], tuned[start : start + 60]


def _same_template(base: Run, tuned: Run) -> Check:
    mine = base.manifest.fingerprints.get("template", "")
    theirs = tuned.manifest.fingerprints.get("template", "")
    if not mine or not theirs:
        return Check(name="chat template", status="ok", message="none in use")
    if mine == theirs:
        return Check(name="chat template", status="ok", message=f"the same for both ({mine[:12]})")
    return Check(
        name="chat template",
        status="warning",
        message=f"differs: {mine[:12]} for the base, {theirs[:12]} for the tuned",
    )


def _untruncated(pairs: Sequence[Pair]) -> Check:
    cut = sum(
        any(one.truncated for one in (*pair.base.completions, *pair.tuned.completions))
        for pair in pairs
    )
    if cut:
        message = f"{cut} of {len(pairs)} prompts were cut from the left to fit the context"
        return Check(name="prompts fit", status="warning", message=message)
    return Check(name="prompts fit", status="ok", message="no prompt was truncated")


def _no_errors(pairs: Sequence[Pair]) -> Check:
    lacking = [_lacking(pair) for pair in pairs]
    broken = sum(bool(one) for one in lacking)
    if not broken:
        message = "every sample was completed in both arms"
        return Check(name="no errors", status="ok", message=message)
    message = f"{broken} of {len(pairs)} samples have no completion in one arm"
    several = max(_answers(pair) for pair in pairs)
    if several > 1:
        total = sum(2 * _answers(pair) for pair in pairs)
        message = f"{sum(lacking)} of {total} answers are lacking, of {broken} samples"
    return Check(name="no errors", status="warning", message=message)


def _lacking(pair: Pair) -> int:
    return sum(bool(one.error) for one in (*pair.base.completions, *pair.tuned.completions))


def _answers(pair: Pair) -> int:
    """Answers to a question in either arm; a choice is one, made of several completions."""
    return 1 if pair.base.sample.choices else len(pair.base.completions)
