"""From judgements to training data: preference pairs in trl's format, each with its provenance."""

from __future__ import annotations

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from evalkit.errors import StoreError, UsageError
from evalkit.judges.matters import Matter, matter_of
from evalkit.judges.preferences import preferences, ratings
from evalkit.judges.votes import Vote
from evalkit.records import Comparison, Judgement, Pair, Preference, Prompt, Side

Source: TypeAlias = Literal["human", "ai"]
Turns: TypeAlias = str | list[dict[str, str]]
_UTILITY = {"base": 0.0, "tie": 0.5, "tuned": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Which of two answers to one prompt is preferred, in the columns that trl reads (prompt,
    chosen, rejected), and where that is from.

    A chat's prompt is its turns, and the answers one turn each; a plain prompt's are texts.
    `confidence` is 2·|u − ½| of the mean utility u over the `voices` (judges, or people): 1 where
    all agree. `consistent`: every judge named this one in both orders, or every person did.
    `flagged`: one of the answers looks like an attempt on the judge.
    """

    prompt: Turns
    chosen: Turns
    rejected: Turns
    source: Source
    suite: str
    sample_id: str
    rubric: str
    judges: list[str]
    voices: int
    consistent: bool
    confidence: float
    flagged: bool
    chosen_arm: Side
    chosen_model: str
    rejected_model: str
    base_run: str
    tuned_run: str
    license: str


class Wanted(NamedTuple):
    """Which pairs are wanted; `min_confidence` from 0 to 1."""

    sources: Collection[Source] = ("human", "ai")
    suites: Collection[str] = ()
    rubrics: Collection[str] = ()
    consistent: bool = False
    min_confidence: float = 0.0
    exclude_flagged: bool = False


class Picked(NamedTuple):
    """The pairs, and of what was judged, how much was left out, by reason."""

    picks: tuple[Pick, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All that is known of one base and one tuned arm; `people` are the judges that are people."""

    comparison: Comparison
    pairs: tuple[Pair, ...]
    judgements: tuple[Judgement, ...]
    votes: tuple[Vote, ...] = ()
    people: frozenset[str] = frozenset()


class _Opinion(NamedTuple):
    """What one source says of one sample by one rubric; None where it says nothing."""

    source: Source
    suite: str
    sample_id: str
    rubric: str
    utility: float | None
    judges: tuple[str, ...]
    voices: int
    consistent: bool


def pick(materials: Iterable[Material], wanted: Wanted) -> Picked:
    """The pairs that are wanted, people's first, without repetitions.

    Of two equal pairs of a source the more confident one stays; where a source prefers one answer
    to a prompt here and the other there (by two rubrics, say), neither does.
    """
    left_out: Counter[str] = Counter()
    found: list[Pick] = []
    for material in materials:
        rated = {one[:3] for one in ratings(material.judgements)}
        left_out["rated one by one, not compared"] += len(rated)
        found += _picks(material, wanted, left_out)
    found.sort(key=lambda one: one.source != "human")
    kept = _settled(found, left_out)
    _check_alike(kept)
    return Picked(tuple(kept), {why: count for why, count in left_out.items() if count})


def write_picks(file: Path, picks: Sequence[Pick]) -> None:
    """Write them as JSONL, one pair a line, whole or not at all; StoreError where that fails."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
            out.writelines(
                json.dumps(asdict(one), ensure_ascii=False, allow_nan=False) + "\n" for one in picks
            )
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(f"{file} cannot be written: {error.strerror or error}.") from error


def _picks(material: Material, wanted: Wanted, left_out: Counter[str]) -> Iterator[Pick]:
    pairs = {(one.base.sample.suite, one.base.sample.id): one for one in material.pairs}
    flagged = _flagged(material.comparison)
    for opinion in _opinions(material):
        if not _is_of(opinion, wanted):
            continue
        pair = pairs.get((opinion.suite, opinion.sample_id))
        matter = matter_of(pair, "en") if pair else None
        attempt = (opinion.suite, opinion.rubric, opinion.sample_id) in flagged
        why = _why_not(opinion, matter, wanted, attempt=attempt)
        if why or pair is None or matter is None:
            left_out[why] += 1
        else:
            yield _pick(material.comparison, pair, matter, opinion, flagged=attempt)


def _opinions(material: Material) -> Iterator[_Opinion]:
    """What people say of each sample, then what judges that are no people say."""
    said: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for vote in material.votes:
        if vote.preferred != "skip":
            said[vote.suite, vote.rubric, vote.sample_id].append(_UTILITY[vote.preferred])
    by_source: dict[bool, list[Judgement]] = {True: [], False: []}
    for one in material.judgements:
        by_source[one.judge in material.people].append(one)
    voted = set(said)  # a judge that is people may have read the same labels
    for one in by_source[True]:
        key = one.suite, one.rubric, one.sample_id
        if one.value is not None and key not in voted:
            said[key].append(one.value)
    for (suite, rubric, sample_id), values in said.items():
        yield _opinion(
            "human", suite, rubric, sample_id, values, ("people",), len(set(values)) == 1
        )
    judged: dict[tuple[str, str, str], list[Preference]] = defaultdict(list)
    for each in preferences(by_source[False]):
        judged[each.suite, each.rubric, each.sample_id].append(each)
    for (suite, rubric, sample_id), told in judged.items():
        values = [one.value for one in told if one.value is not None]
        agreed = {one.outcome for one in told} in ({"tuned"}, {"base"})
        names = tuple(one.judge for one in told if one.value is not None)
        yield _opinion("ai", suite, rubric, sample_id, values, names, agreed)


def _opinion(
    source: Source,
    suite: str,
    rubric: str,
    sample_id: str,
    values: Sequence[float],
    judges: tuple[str, ...],
    consistent: bool,
) -> _Opinion:
    mean = math.fsum(values) / len(values) if values else None
    return _Opinion(source, suite, sample_id, rubric, mean, judges, len(values), consistent)


def _is_of(opinion: _Opinion, wanted: Wanted) -> bool:
    return (
        opinion.source in wanted.sources
        and (not wanted.suites or opinion.suite in wanted.suites)
        and (not wanted.rubrics or opinion.rubric in wanted.rubrics)
    )


def _confidence(opinion: _Opinion) -> float:
    return 0.0 if opinion.utility is None else abs(2 * opinion.utility - 1)


def _why_not(opinion: _Opinion, matter: Matter | None, wanted: Wanted, *, attempt: bool) -> str:
    """Why a sample makes no pair; empty where it makes one."""
    if opinion.utility is None:
        return "without a judgement"
    if matter is None:
        return "without two answers"
    if matter.then:
        return "with several turns, which have no common prompt"
    if matter.base == matter.tuned:
        return "with twice the same answer"
    if not all(text.strip() for text in (*matter.base, *matter.tuned)):
        return "with an empty answer"
    if _confidence(opinion) < 1e-9:
        return "tied"
    if wanted.consistent and not opinion.consistent:
        return "inconsistent"
    if _confidence(opinion) < wanted.min_confidence:
        return f"of a confidence below {wanted.min_confidence:g}"
    return "flagged" if attempt and wanted.exclude_flagged else ""


def _pick(
    comparison: Comparison, pair: Pair, matter: Matter, opinion: _Opinion, *, flagged: bool
) -> Pick:
    assert opinion.utility is not None
    prompt = pair.base.sample.prompt
    base, tuned = (_answer(prompt, text) for text in (matter.base[0], matter.tuned[0]))
    names = comparison.base.name, comparison.tuned.name
    won: Side = "tuned" if opinion.utility > 0.5 else "base"
    info = next((one for one in comparison.base.suites if one.name == opinion.suite), None)
    return Pick(
        prompt=_prompt(prompt),
        chosen=tuned if won == "tuned" else base,
        rejected=base if won == "tuned" else tuned,
        source=opinion.source,
        suite=opinion.suite,
        sample_id=opinion.sample_id,
        rubric=opinion.rubric,
        judges=list(opinion.judges),
        voices=opinion.voices,
        consistent=opinion.consistent,
        confidence=round(_confidence(opinion), 6),
        flagged=flagged,
        chosen_arm=won,
        chosen_model=names[won == "tuned"],
        rejected_model=names[won == "base"],
        base_run=comparison.base.run_id,
        tuned_run=comparison.tuned.run_id,
        license=info.license if info else "",
    )


def _prompt(prompt: Prompt) -> Turns:
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _answer(prompt: Prompt, text: str) -> Turns:
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def _flagged(comparison: Comparison) -> set[tuple[str, str, str]]:
    """Samples of which an answer looks like an attempt on the judge, by suite and rubric."""
    return {
        (judging.suite, judging.rubric, sample_id)
        for judging in comparison.judgings
        for found in judging.flagged.values()
        for sample_id in found
    }


def _settled(found: Sequence[Pick], left_out: Counter[str]) -> list[Pick]:
    """Each pair once in its source, and none that is contradicted in it."""
    best: dict[tuple[str, ...], Pick] = {}
    for one in found:
        key = _content(one, one.chosen, one.rejected)
        known = best.get(key)
        left_out["repeated"] += known is not None
        if known is None or one.confidence > known.confidence:
            best[key] = one
    kept = [one for one in best.values() if _content(one, one.rejected, one.chosen) not in best]
    left_out["contradicted by another pair"] += len(best) - len(kept)
    return kept


def _content(one: Pick, chosen: Turns, rejected: Turns) -> tuple[str, ...]:
    return (one.source, *(json.dumps(part) for part in (one.prompt, chosen, rejected)))


def _check_alike(picks: Sequence[Pick]) -> None:
    """A data set has one format: a column that holds texts here and turns there cannot be read."""
    plain = next((one for one in picks if isinstance(one.prompt, str)), None)
    chat = next((one for one in picks if not isinstance(one.prompt, str)), None)
    if plain and chat:
        raise UsageError(
            f"{plain.suite} asks plain text and {chat.suite} asks a chat: one file cannot hold "
            "both. Export them one after the other, with --suite."
        )
