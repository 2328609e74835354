"""One pair, laid out for reading: the question, both answers, the scores, the prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import streamlit as st

from evalkit.records import Comparison, Completion, Pair, Result, Score
from evalkit.store.query import PairRow
from reports.dashboard import markup
from reports.dashboard.markup import Markup, tag
from reports.diff import Difference, Segment, difference
from reports.wording import clean, decimals, number, signed

_STOP = {
    "stop": "ended",
    "length": "cut at the limit",
    "scored": "scored",
    "error": "error",
    "thinking": "cut off while thinking",
}
_LONG = 20_000  # characters of a prompt shown at once


def show(comparison: Comparison, pair: Pair, row: PairRow, *, mark: bool) -> None:
    """The open sample, from what was asked to what was scored."""
    show_answers(comparison, pair, row, mark=mark)
    st.html(_scores(comparison, pair))
    _prompts(comparison, pair)


def show_answers(comparison: Comparison, pair: Pair, row: PairRow, *, mark: bool) -> None:
    """What was asked, and what both arms answered."""
    sample = pair.base.sample
    st.html(_heading(pair, row))
    if sample.choices:
        st.html(_choices(comparison, pair))
    elif _is_rolling(pair):
        st.html(_rolling(comparison, pair))
    else:
        place = _choose_answer(comparison, pair, row)
        st.html(_answers(comparison, pair, row, place, mark=mark))
    if sample.targets:
        st.html(tag("div", "ek-tags", *(tag("span", "", f"target: {t}") for t in sample.targets)))


def _heading(pair: Pair, row: PairRow) -> Markup:
    sample = pair.base.sample
    tags = [sample.suite, sample.id, *(f"{key}: {value}" for key, value in sample.slices.items())]
    if sample.cluster:
        tags.append(f"group: {sample.cluster}")
    cut = max((one.truncated for one in _all(pair)), default=0)
    if cut:
        tags.append(f"{cut:,} tokens of the prompt were cut")
    return tag(
        "div",
        "",
        tag("div", "ek-tags", *(tag("span", "", one) for one in tags)),
        _before(sample.asked[: sample.lead or 0].strip()),
        tag("div", "ek-text ek-question", row.question, dir="auto"),
    )


def _before(text: str) -> Markup:
    """Worked examples, folded away: they are the same before many questions."""
    if not text:
        return Markup()
    head = tag("summary", "ek-small", f"What comes before the question, {len(text):,} characters")
    return tag("details", "ek-before", head, tag("div", "ek-text ek-muted", text[-_LONG:]))


def _all(pair: Pair) -> tuple[Completion, ...]:
    return (*pair.base.completions, *pair.tuned.completions)


def _is_rolling(pair: Pair) -> bool:
    """A whole text was scored: nothing was generated and there was nothing to choose."""
    return all(one.stop_reason == "scored" for one in _all(pair)) and bool(_all(pair))


def _count(pair: Pair) -> int:
    """How many answers to the question there are."""
    return max(len(pair.base.completions), len(pair.tuned.completions))


def _choose_answer(comparison: Comparison, pair: Pair, row: PairRow) -> int:
    """Which of several answers is read, from 0; both arms' answers of a number lie side by side.

    It begins with the first that differs, in its score or, where none does, in its words.
    """
    count, sample = _count(pair), pair.base.sample
    if count < 2:
        return 0
    places = range(count)
    scores = [[_own(one, row.metric, i) for i in places] for one in (pair.base, pair.tuned)]
    texts = [[_text(one, i) for i in places] for one in (pair.base, pair.tuned)]
    unlike = _first_unlike(*scores), _first_unlike(*texts)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        # A key of its own: the next sample begins with an answer of its own.
        what = "Turn" if sample.then else "Answer"
        chosen = st.number_input(
            f"{what}, of {count:,}",
            min_value=1,
            max_value=count,
            value=1 + next((i for i in unlike if i is not None), 0),
            key=f"answer {sample.suite} {sample.id}",
            width=160,
        )
        words = "Each with a score of its own; the table below has the means of all."
        if sample.then:
            words = "Each follows the arm's own answer before; the last one is scored."
        st.html(tag("span", "ek-small", words), width="content")
    place = int(chosen) - 1
    if any(one is not None for arm in scores for one in arm):
        names = comparison.base.name, comparison.tuned.name
        st.html(_strip(names, scores, place))
    return place


def _first_unlike(base: Sequence[object], tuned: Sequence[object]) -> int | None:
    return next((i for i, (b, t) in enumerate(zip(base, tuned, strict=True)) if b != t), None)


def _strip(names: Sequence[str], scores: Sequence[Sequence[float | None]], place: int) -> Markup:
    """The score of every answer in both arms; the one read and those that differ are marked."""
    kinds = [
        " ".join(["ek-differs"] * (base != tuned) + ["ek-here"] * (i == place))
        for i, (base, tuned) in enumerate(zip(*scores, strict=True))
    ]
    known = [one for arm in scores for one in arm if one is not None]
    digits = 0 if all(one.is_integer() for one in known) else 2
    head = tag("tr", "", tag("th", ""), *(tag("th", "", i + 1) for i in range(len(kinds))))
    rows = [
        tag(
            "tr",
            "",
            tag("th", "", name),
            *(tag("td", kind, number(one, digits)) for kind, one in zip(kinds, arm, strict=True)),
        )
        for name, arm in zip(names, scores, strict=True)
    ]
    return tag("div", "ek-scroll", tag("table", "ek-strip", tag("tbody", "", head, *rows)))


def _answers(comparison: Comparison, pair: Pair, row: PairRow, place: int, *, mark: bool) -> Markup:
    texts = [_text(pair.base, place), _text(pair.tuned, place)]
    scores = row.base, row.tuned
    if _count(pair) > 1:
        scores = _own(pair.base, row.metric, place), _own(pair.tuned, row.metric, place)
    found = _difference(*texts) if mark else None
    base = found.base if found else (Segment(text=texts[0], changed=False),)
    tuned = found.tuned if found else (Segment(text=texts[1], changed=False),)
    boxes = tag(
        "div",
        "ek-pair",
        _answer("base", comparison.base.name, _at(pair.base, place), scores[0], base),
        _answer("tuned", comparison.tuned.name, _at(pair.tuned, place), scores[1], tuned),
    )
    if texts[0] == texts[1]:
        return Markup(boxes + tag("p", "ek-small", "Both answers are the same, letter by letter."))
    if found and found.unrelated:
        words = "The answers have so little in common that no single change is marked."
        return Markup(boxes + tag("p", "ek-small", words))
    return boxes


@st.cache_data(max_entries=512, show_spinner=False)
def _difference(base: str, tuned: str) -> Difference:
    return difference(base, tuned)


def _at(result: Result, place: int) -> Completion | None:
    return result.completions[place] if place < len(result.completions) else None


def _text(result: Result, place: int) -> str:
    completion = _at(result, place)
    return completion.text if completion else ""


def _own(result: Result, metric: str, place: int) -> float | None:
    """The score of one of several answers; unknown where some of them have none."""
    score = _score(result, metric)
    told = score is not None and len(score.values) == len(result.completions) > place
    return score.values[place] if score is not None and told else None


def _answer(
    arm: str,
    name: str,
    completion: Completion | None,
    score: float | None,
    segments: Sequence[Segment],
) -> Markup:
    facts = "no completion"
    if completion is not None:
        facts = f"{_tokens(completion.tokens_out)}{_STOP[completion.stop_reason]}"
    inside = markup.passage(segments, arm)
    if completion is not None and completion.error:
        inside = tag("div", "ek-text ek-bad", completion.error)
    elif not "".join(one.text for one in segments).strip():
        inside = tag("div", "ek-text ek-muted", "(an empty answer)")
    if completion is not None and completion.thinking:
        inside = Markup(_thinking(completion.thinking) + inside)
    header = tag(
        "header",
        "",
        tag("b", "", name),
        tag("span", "ek-small", f"{arm} · {facts}"),
        tag("span", "ek-score", number(score, decimals(score))),
    )
    return tag("article", f"ek-answer ek-{arm}", header, inside)


def _thinking(text: str) -> Markup:
    """What was thought before the answer, folded away: it is not scored."""
    shown = text[:_LONG]
    more = f"\n… {len(text) - _LONG:,} more characters are not shown" if len(text) > _LONG else ""
    head = tag("summary", "ek-small", f"Thinking, {len(text):,} characters")
    return tag("details", "ek-thinking", head, tag("div", "ek-text ek-muted", shown + more))


def _tokens(count: int) -> str:
    """Recorded answers do not tell how many tokens they were: that is not 0."""
    return f"{count:,} tokens · " if count else ""


def _choices(comparison: Comparison, pair: Pair) -> Markup:
    """Every choice with each arm's log-likelihood; bars show the shares among the choices."""
    sample = pair.base.sample
    sides = [("base", pair.base.completions), ("tuned", pair.tuned.completions)]
    cells = {arm: _choice_cells(arm, found, len(sample.choices)) for arm, found in sides}
    rows: list[list[object]] = []
    for index, choice in enumerate(sample.choices):
        right = tag("b", "ek-good", "✓ right") if index == sample.answer else ""
        shown = tag("div", "ek-text", choice, dir="auto")
        rows.append([shown, right, cells["base"][index], cells["tuned"][index]])
    heads = [
        "Choice",
        "",
        f"{comparison.base.name}: log-likelihood",
        f"{comparison.tuned.name}: log-likelihood",
    ]
    note = (
        "Sums of token log-probabilities in nats; a bar is the share among these choices, ◀ the "
        "likeliest. A metric may weigh the sums by length."
    )
    return Markup(markup.table(heads, rows) + tag("p", "ek-small", note))


def _choice_cells(arm: str, completions: Sequence[Completion], count: int) -> list[Markup]:
    if len(completions) != count or any(one.error for one in completions):
        error = next((one.error for one in completions if one.error), "not scored")
        return [tag("span", "ek-bad", error)] * count
    values = [one.loglikelihood for one in completions]
    largest = max(values)
    weights = [math.exp(value - largest) if math.isfinite(value) else 0.0 for value in values]
    cells = []
    for value, weight in zip(values, weights, strict=True):
        share = weight / (sum(weights) or 1.0)
        bar = tag("span", f"ek-bar ek-{arm}", style=f"width: {share * 7:.2f}rem")
        pick = tag("b", "", " ◀") if value == largest else ""
        cells.append(Markup(f"{bar}{number(value, 3)}{pick}"))
    return cells


def _rolling(comparison: Comparison, pair: Pair) -> Markup:
    """A text whose every token was scored: its log-likelihood in each arm."""
    rows: list[list[object]] = []
    for name, result in ((comparison.base.name, pair.base), (comparison.tuned.name, pair.tuned)):
        for one in result.completions:
            count = len(one.logprobs)
            mean = one.loglikelihood / count if count else None
            rows.append([name, number(one.loglikelihood, 2), f"{count:,}", number(mean, 4)])
    heads = ["Arm", "Log-likelihood, nats", "Tokens", "Nats per token"]
    return markup.table(heads, rows, numeric=(1, 2, 3))


def _scores(comparison: Comparison, pair: Pair) -> Markup:
    names = dict.fromkeys(one.scorer for one in (*pair.base.scores, *pair.tuned.scores))
    rows: list[list[object]] = []
    for name in names:
        base, tuned = _score(pair.base, name), _score(pair.tuned, name)
        values = [one.value if one else None for one in (base, tuned)]
        digits = decimals(*values)
        change = (
            signed(values[1] - values[0], digits)
            if values[0] is not None and values[1] is not None
            else "–"
        )
        rows.append(
            [name, *(number(value, digits) for value in values), change, _reasons(base, tuned)]
        )
    heads = ["Score", comparison.base.name, comparison.tuned.name, "Difference", "Why"]
    return markup.table(heads, rows, numeric=(1, 2, 3))


def _score(result: Result, scorer: str) -> Score | None:
    return next((one for one in result.scores if one.scorer == scorer), None)


def _reasons(base: Score | None, tuned: Score | None) -> str:
    told = [
        f"{arm}: {one.reason}"
        for arm, one in (("base", base), ("tuned", tuned))
        if one and one.reason
    ]
    return " · ".join(told)


def _prompts(comparison: Comparison, pair: Pair) -> None:
    """The prompt with its template, as the tokens said it; both where the arms saw different."""
    seen = [(_prompt(result), _prompt_facts(result)) for result in (pair.base, pair.tuned)]
    same = seen[0] == seen[1]
    with st.expander("The prompt as the model saw it", icon=":material/terminal:"):
        sides = [(comparison.base.name, pair.base), (comparison.tuned.name, pair.tuned)]
        for name, result in [("Both arms", pair.base)] if same else sides:
            st.html(tag("div", "ek-small", f"{name}{_prompt_facts(result)}"))
            _plain(_prompt(result))
    with st.expander("The sample's row", icon=":material/data_object:"):
        _plain(json.dumps(dict(pair.base.sample.fields), ensure_ascii=False, indent=2))


def _prompt_facts(result: Result) -> str:
    """How many tokens it was, and the hash by which the arms' tokens are compared."""
    if not result.completions:
        return ""
    first = result.completions[0]
    known = f"token ids {first.prompt_hash[:12]}" if first.prompt_hash else "token ids not known"
    return f" · {_tokens(first.tokens_in)}{known}"


def _prompt(result: Result) -> str:
    if result.completions and result.completions[0].prompt_text:
        return result.completions[0].prompt_text
    prompt = result.sample.prompt
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in prompt)


def _plain(value: str) -> None:
    shown = clean(value[:_LONG])
    st.code(shown or "(empty)", language=None, wrap_lines=True)
    if len(value) > _LONG:
        st.html(tag("p", "ek-small", f"{len(value) - _LONG:,} more characters are not shown."))
