"""Run folders whose notes were judged, with the judgements beside their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.compare import compare
from evalkit.judges.health import Known, health_of, jury_health
from evalkit.judges.preferences import preferences, utilities
from evalkit.records import Judgement, Judging, Metric, Run, Score
from evalkit.store.judgements import JUDGEMENTS, write_judgements
from evalkit.store.runs import write_comparisons, write_run
from tests.reports.dashboard.runfolders import HOSTILE, SUITES, manifest, results
from tests.reports.judgings import RUBRIC, words

NOTES = SUITES[1]
JUDGED = Metric(name=f"judge.{RUBRIC}", least=0.0, most=1.0)
COUNT = 24


def make_judged(root: Path, *, judges: Sequence[str] = ("alpha", "bravo")) -> Path:
    """Two arms' notes and what these judges said of them; the second one goes by the place.

    Two of the notes are flagged, one judge wrote something hostile, and two samples have no word
    of the last judge.
    """
    said = [_said(name, place) for place, name in enumerate(judges)]
    every = [one for mine in said for one in mine]
    runs = []
    for arm in ("base", "tuned"):
        told = replace(manifest(arm, {"max_missing": 0.2}), suites=(NOTES,))
        told = replace(told, config={**told.config, "judge": _declared(judges)})
        mine = [one for one in results(arm) if one.sample.suite == NOTES.name]
        runs.append(write_run(root / told.run_id, told, mine))
    folder = root / "compare" / "judged"
    base, tuned = (_scored(run, every) for run in runs)
    comparison = replace(compare(base, tuned), judgings=(_judging(said),))
    write_comparisons(folder, [comparison])
    write_judgements(folder, every)
    return folder


def _declared(judges: Sequence[str]) -> dict[str, object]:
    members = [{"kind": "recorded", "name": name, "path": f"/{name}.jsonl"} for name in judges]
    return {"judges": members, "max_missing": 0.2}


def _said(judge: str, place: int) -> list[Judgement]:
    made = words(judge, COUNT, quality=0.6, place=1.6 * place, silent=2 * place)
    renamed = [
        replace(one, sample_id=f"note-{one.sample_id[-3:]}", suite=NOTES.name) for one in made
    ]
    return [
        replace(one, rationale=HOSTILE, level="<b>better</b>")
        if one.sample_id == "note-001" and one.order == "base_first" and not one.stripped
        else one
        for one in renamed
    ]


def _scored(run: Run, said: Sequence[Judgement]) -> Run:
    """The run as a comparison sees it: with the judges' preference as one more score, gated."""
    found = {key[2]: one.value for key, one in utilities(preferences(said)).items()}
    base = run.manifest.name == "smollm2"
    scored = []
    for one in run.results:
        value = found[one.sample.id]
        own = None if value is None else 1 - value if base else value
        score = Score(sample_id=one.sample.id, scorer=JUDGED.name, value=own)
        scored.append(replace(one, scores=(*one.scores, score)))
    info = replace(
        NOTES,
        metric=JUDGED.name,
        metrics=(JUDGED, *NOTES.metrics),
        rubrics=(RUBRIC,),
        policy="superiority",
        margin=0.05,
    )
    return replace(run, manifest=replace(run.manifest, suites=(info,)), results=tuple(scored))


def _judging(said: Sequence[Sequence[Judgement]]) -> Judging:
    sizes = {f"note-{i:03}": (30, 70 + i) for i in range(COUNT)}
    known = Known(lengths=sizes)
    return Judging(
        suite=NOTES.name,
        rubric=RUBRIC,
        metric=JUDGED.name,
        protocol="pairwise",
        judges=tuple(
            health_of(mine[0].judge, f"someone/{mine[0].judge}", "3f9a1c0e77aa", mine, known)
            for mine in said
        ),
        jury=jury_health([one for mine in said for one in mine]),
        flagged={"tuned": {"note-003": ("speaks to the <judge>",), "note-004": ("the same text",)}},
        file=JUDGEMENTS,
    )
