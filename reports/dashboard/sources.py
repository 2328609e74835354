"""What the pages read: the comparisons and runs below one folder, opened once and kept."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from evalkit.config import GateConfig
from evalkit.errors import EvalkitError, StoreError
from evalkit.gate.decide import decide
from evalkit.records import Comparison, Manifest, SuiteInfo, Verdict, metric_name
from evalkit.store.judged import JudgedSamples
from evalkit.store.query import PairedRuns
from evalkit.store.runs import (
    COMPARISON,
    MANIFEST,
    find_run,
    read_comparisons,
    read_manifest,
)
from reports.dashboard import markup
from reports.wording import is_preference

_CORRECTED = ".corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The comparison that is looked at; a folder may hold several tuned arms."""

    file: Path
    time: int
    arms: tuple[Comparison, ...]

    def arm(self, name: str) -> Comparison:
        """The comparison of one tuned arm; the first where the name is not known."""
        return next((one for one in self.arms if one.tuned.name == name), self.arms[0])


def root() -> Path:
    """The folder that holds the runs."""
    return Path(_arguments().runs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--comparison")
    return parser.parse_args(sys.argv[1:])


def choose_comparison() -> Opened | None:
    """Let the reader choose where there are several; says what to do where there is none."""
    files = comparison_files()
    if not files:
        markup.empty(
            "No comparison yet",
            f"Nothing in {root()} compares two models. This makes one:",
            "evalkit compare base.yaml tuned.yaml",
        )
        return None
    names = {_name(file): file for file in files}
    asked = st.query_params.get("comparison")
    if asked and asked not in names:
        markup.note(f"There is no comparison {asked} here any more; this is another.", "warning")
    name: str | None = next(iter(names))
    if len(names) > 1:
        name = st.selectbox(
            "Comparison", list(names), key="comparison", bind="query-params", width=620
        )
    file = names[name or next(iter(names))]
    try:
        time = file.stat().st_mtime_ns
        arms = _comparisons(file, time)
    except (OSError, StoreError) as error:
        markup.note(str(error), "failed")
        return None
    if not arms:
        markup.note(f"{file} holds no tuned arm.", "warning")
        return None
    return Opened(file=file, time=time, arms=arms)


def choose_arm(opened: Opened) -> Comparison:
    """Let the reader choose where the comparison has several tuned arms."""
    names = [arm.tuned.name for arm in opened.arms]
    if len(names) == 1:
        return opened.arms[0]
    chosen = st.selectbox("Tuned arm", names, key="arm", bind="query-params", width=420)
    return opened.arm(chosen or names[0])


def address(opened: Opened) -> dict[str, str]:
    """The query parameters that lead back to this comparison; none where it is the first."""
    first = comparison_files()[0]
    return {} if opened.file == first else {"comparison": _name(opened.file)}


def comparison_files() -> list[Path]:
    """Every comparison.json, the one asked for first, then the newest."""
    found = {file.resolve() for file in below(root(), COMPARISON)}
    ordered = sorted(found, key=_modified, reverse=True)
    asked = _arguments().comparison
    if asked:
        first = Path(asked)
        first = (first / COMPARISON if first.is_dir() else first).resolve()
        ordered = [first, *(file for file in ordered if file != first)]
    return ordered


def below(folder: Path, name: str) -> list[Path]:
    """Files of that name, skipping what cannot be read and what is hidden."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if name in files:
            found.append(Path(parent) / name)
    return found


def verdict(comparison: Comparison) -> Verdict | None:
    """The verdict under the gate the base was run with; says why where there is none."""
    try:
        gate = GateConfig.model_validate(comparison.base.config.get("gate", {}))
        return decide(comparison, gate)
    except (EvalkitError, ValueError) as error:
        markup.note(f"The gate recorded with {comparison.base.name} cannot decide: {error}")
        return None


def open_pairs(
    opened: Opened, comparison: Comparison, judged: JudgedSamples | None = None
) -> PairedRuns | None:
    """The pairs of both run folders, with judged scores; says which folder is missing if one is."""
    folders = []
    for path, manifest in (
        (comparison.base_path, comparison.base),
        (comparison.tuned_path, comparison.tuned),
    ):
        folder = run_folder(opened.file, path, manifest.run_id)
        if folder is None:
            markup.note(
                f"The answers of {manifest.name} are not here: no run folder {manifest.run_id} "
                f"in {root()}. The verdict can still be read; to read the answers, copy the run "
                "folder here or run `evalkit compare` again."
            )
            return None
        folders.append(folder)
    theirs = {info.name for info in comparison.tuned.suites}
    shared = tuple(sampled(info) for info in comparison.base.suites if info.name in theirs)
    try:
        files = [folder / MANIFEST for folder in folders]
        files += [judged.file] if judged is not None else []
        times = tuple(file.stat().st_mtime_ns for file in files)
        return _pairs(folders[0], folders[1], times, shared, judged)
    except (OSError, StoreError) as error:
        markup.note(str(error), "failed")
        return None


def sampled(info: SuiteInfo) -> SuiteInfo:
    """A suite with the metrics of which its samples have scores.

    What people's labels made of a judge's mean is no sample's: there the judge's own word stands.
    """
    set_right = [m.name for m in info.metrics if is_preference(m) and m.name.endswith(_CORRECTED)]
    plain = tuple(one for one in info.metrics if one.name not in set_right)
    if info.metric not in set_right:
        return replace(info, metrics=plain)
    rubric = info.metric.removesuffix(_CORRECTED).partition(".")[2]
    judged = [metric_name(rubric, "pairwise"), metric_name(rubric, "pointwise")]
    names = [one.name for one in plain]
    return replace(info, metrics=plain, metric=next(one for one in judged if one in names))


def open_judged(opened: Opened, comparison: Comparison) -> JudgedSamples | None:
    """What the judges said of a comparison; None where nothing was judged, and says why where it
    was."""
    # A name out of a file must not lead out of its folder.
    names = {Path(one.file).name for one in comparison.judgings if one.file}
    if not names:
        return None
    file = opened.file.parent / min(names)
    try:
        return _judged(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        markup.note(
            f"What the judges said is not here: no {file.name} beside {opened.file.name}. Their "
            "figures can still be read; to read their words, copy that file here or run "
            "`evalkit compare` again."
        )
    except (OSError, StoreError) as error:
        markup.note(str(error), "failed")
    return None


def run_folder(comparison: Path, recorded: str, run_id: str) -> Path | None:
    """A run's folder, even where the runs were moved since: by its path, else by its id."""
    parents = list(comparison.parents)[:3]
    return find_run(recorded, run_id, (root(), *parents))


def manifests() -> tuple[list[tuple[Path, Manifest]], list[str]]:
    """Every complete run below the root, newest first, and what is wrong with the others."""
    good, bad = [], []
    for file in below(root(), MANIFEST):
        if not (file.parent / "results.parquet").is_file():
            continue
        try:
            good.append((file.parent, _manifest(file.parent, file.stat().st_mtime_ns)))
        except (OSError, StoreError) as error:
            bad.append(str(error))
    good.sort(key=lambda pair: pair[1].finished, reverse=True)
    return good, bad


def _name(file: Path) -> str:
    """Short and stable: it stands in the URL."""
    try:
        return file.parent.relative_to(root().resolve()).as_posix()
    except ValueError:
        return str(file.parent)


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


# The times are part of the keys: a run that is made again is read again.
@st.cache_data(max_entries=16, show_spinner=False)
def _comparisons(file: Path, time: int) -> tuple[Comparison, ...]:  # noqa: ARG001
    return read_comparisons(file)


@st.cache_data(max_entries=4096, show_spinner=False)
def _manifest(folder: Path, time: int) -> Manifest:  # noqa: ARG001
    return read_manifest(folder)


@st.cache_resource(max_entries=4, show_spinner="Joining the two runs …")
def _pairs(
    base: Path,
    tuned: Path,
    times: tuple[int, ...],  # noqa: ARG001
    _suites: tuple[SuiteInfo, ...],
    _judged: JudgedSamples | None,
) -> PairedRuns:
    return PairedRuns(base, tuned, _suites, _judged.scores() if _judged is not None else None)


@st.cache_resource(max_entries=4, show_spinner="Reading what the judges said …")
def _judged(file: Path, time: int) -> JudgedSamples:  # noqa: ARG001
    return JudgedSamples(file)
