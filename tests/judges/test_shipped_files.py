"""What is no Python, and is needed all the same, is in the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_prompts_rubrics_and_signs_are_in_the_wheel() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    included = wheel.WheelBuilder(str(ROOT)).recurse_included_files()
    paths = {Path(file.path).relative_to(ROOT) for file in included}
    needed = [
        file.relative_to(ROOT)
        for file in (ROOT / "evalkit" / "judges").rglob("*")
        if file.suffix in {".yaml", ".jsonl"}
    ]
    assert len(needed) >= 18
    assert set(needed) <= paths
