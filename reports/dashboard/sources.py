"""What the pages read: the comparisons and runs below one folder, opened once and kept."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from evalkit.config import GateConfig
from evalkit.errors import EvalkitError, StoreError
from evalkit.gate import decide
from evalkit.records import Comparison, Manifest, SuiteInfo, Verdict
from evalkit.store.query import PairedRuns
from evalkit.store.runs import (
    COMPARISON,
    MANIFEST,
    find_run,
    read_comparisons,
    read_manifest,
)
from reports.dashboard import markup


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


def open_pairs(opened: Opened, comparison: Comparison) -> PairedRuns | None:
    """The pairs of both run folders; says which folder is missing where one is."""
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
    shared = tuple(info for info in comparison.base.suites if info.name in theirs)
    try:
        times = tuple((folder / MANIFEST).stat().st_mtime_ns for folder in folders)
        return _pairs(folders[0], folders[1], times, shared)
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
) -> PairedRuns:
    return PairedRuns(base, tuned, _suites)
