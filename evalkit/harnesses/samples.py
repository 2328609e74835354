"""Rows to samples, every mistake told with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.harnesses.base import Task
from evalkit.harnesses.material import Material
from evalkit.harnesses.prompts import Examples, Style, Template
from evalkit.harnesses.rows import Mistakes, Row, near
from evalkit.harnesses.suitefile import SuiteConfig
from evalkit.records import Sample

MAX_PROMPT = 1_000_000  # characters; no model reads more
_MAX_ID = 200


def read_samples(
    suite: str,
    material: Material,
    told: SuiteConfig,
    style: Style,
    examples: Examples,
    mistakes: Mistakes,
) -> tuple[Sample, ...]:
    """The samples of the rows in their order; what is wrong is added to `mistakes`."""
    rows, path = material.rows, material.path
    if not rows and not mistakes:
        mistakes.append(f"{path}: the suite is empty; it needs at least one sample.")
    template = told.template
    if not _fields_exist(material, told, mistakes):
        return ()
    samples, places = [], dict[str, Row]()
    for row in rows:
        try:
            sample = _sample(suite, row, told, template, style, examples)
        except ValueError as error:
            mistakes.at(row, str(error))
            continue
        first = places.setdefault(sample.id, row)
        if first is not row:
            same = "id" if "id" in row.fields else "content (give the rows ids if that is meant)"
            mistakes.at(row, f"the same {same} as line {first.line}: {sample.id!r}")
        samples.append(sample)
    return tuple(samples)


def _fields_exist(material: Material, told: SuiteConfig, mistakes: Mistakes) -> bool:
    """A field that no row has was misspelt in suite.yaml: said once, not for every row."""
    wanted = [("prompt", name) for name in told.template.names]
    wanted += [("slices", name) for name in told.slices]
    wanted += [("cluster", told.cluster)] if told.cluster is not None else []
    by = [("fewshot.by", told.fewshot.by)] if told.fewshot and told.fewshot.by else []
    before = len(mistakes)
    _note_unknown(material.told_in, "sample", material.rows, [*wanted, *by], mistakes)
    _note_unknown(material.told_in, "worked example", material.examples, by, mistakes)
    return len(mistakes) == before


def _note_unknown(
    told_in: Path,
    what: str,
    rows: Sequence[Row],
    wanted: Sequence[tuple[str, str]],
    mistakes: Mistakes,
) -> None:
    known = dict.fromkeys(name for row in rows for name in row.fields)
    for key, name in wanted:
        if rows and name not in known:
            hint = near(name, known) or f" They have: {', '.join(known)}."
            mistakes.append(f"{told_in}: {key}: no {what} has a field {name!r}.{hint}")


def _sample(
    suite: str,
    row: Row,
    told: SuiteConfig,
    template: Template,
    style: Style,
    examples: Examples,
) -> Sample:
    question = template.render(row.fields)
    if not question.strip():
        raise ValueError("the prompt is empty")
    if len(question) > MAX_PROMPT:
        raise ValueError(f"a prompt of {len(question):,} characters; at most {MAX_PROMPT:,}")
    shots = examples.before(question, row.fields)
    if len(shots) < examples.count:
        among = any(example.question == question for example in examples.ordered)
        why = "it is among the worked examples, and without it" if among else "for it"
        raise ValueError(
            f"{why} there are only {len(shots)} of the {examples.count} that fewshot.count asks for"
        )
    _check_then(row, told.task, chat=style.chat)
    choices, answer = _choices(row) if told.task == "choice" else ((), None)
    whole = told.task == "perplexity"
    prompt = question if whole else style.of(row.fields).prompt(question, shots)
    asked = prompt if isinstance(prompt, str) else prompt[-1].content
    return Sample(
        id=_id(row),
        suite=suite,
        prompt=prompt,
        targets=_targets(row),
        choices=choices,
        answer=answer,
        cluster=_cluster(row, told.cluster),
        slices={name: str(row.fields[name]) for name in told.slices if name in row.fields},
        fields=row.fields,
        lead=len(asked) - len(question),  # the question always ends it
    )


def _check_then(row: Row, task: Task, *, chat: bool) -> None:
    """The user's later turns: only a text that is written in a chat can be followed by them."""
    turns = row.fields.get("then")
    if turns is None:
        return
    if not isinstance(turns, list) or not all(isinstance(t, str) and t.strip() for t in turns):
        raise ValueError("'then' must be a list of texts: what the user says after each answer")
    if turns and (task != "generate" or not chat):
        raise ValueError("'then' holds later turns of a chat, and this suite is not asked as one")


def _id(row: Row) -> str:
    """The row's own id, or its content's hash: both stay when rows are added or moved."""
    if "id" not in row.fields:
        return row.content_hash()
    given = row.fields["id"]
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ValueError("'id' must be text or a whole number")
    text = str(given)
    if not text or len(text) > _MAX_ID or not text.isprintable():
        raise ValueError(f"'id' must be 1 to {_MAX_ID} printable characters")
    return text


def _choices(row: Row) -> tuple[tuple[str, ...], int]:
    choices, answer = row.fields.get("choices"), row.fields.get("answer")
    if choices is None:
        raise ValueError(f"a choice needs 'choices', a list.{near('choices', row.fields)}")
    if not isinstance(choices, list) or not all(isinstance(each, str) for each in choices):
        raise ValueError("'choices' must be a list of texts")
    if len(choices) < 2 or not all(each.strip() for each in choices):
        raise ValueError("'choices' must hold two or more texts, none of them empty")
    if len(set(choices)) < len(choices):
        raise ValueError("'choices' holds the same text twice")
    if answer is None:
        raise ValueError("a choice needs 'answer', the index of the right one (from 0)")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise ValueError(f"'answer' must be the index of the right choice, not {answer!r}")
    if not 0 <= answer < len(choices):
        raise ValueError(f"'answer' is {answer}, but there are {len(choices)} choices (from 0)")
    return tuple(choices), answer


def _targets(row: Row) -> tuple[str, ...]:
    target = row.fields.get("target")
    if target is None:
        return ()
    targets = target if isinstance(target, list) else [target]
    if not targets or not all(isinstance(each, str) and each.strip() for each in targets):
        raise ValueError("'target' must be a text or a list of texts (numbers in quotes)")
    return tuple(targets)


def _cluster(row: Row, name: str | None) -> str:
    if name is None:
        return ""
    if name not in row.fields:
        raise ValueError(f"the cluster's field {name!r} is missing")
    return str(row.fields[name])
