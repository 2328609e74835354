"""Data sets are found by their hub name in a folder, and what is missing is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.data import at_data_root, find_data, find_data_set, parse_name, read_rows
from evalkit.data.layout import lay_out
from evalkit.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path))
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / ".home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def put(root: Path, name: str, text: str = '{"q": "1"}\n') -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["test.jsonl"], {"default": {"test": ("test.jsonl",)}}),
        (["question.jsonl"], {"default": {"train": ("question.jsonl",)}}),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            {
                "default": {
                    "train": (
                        "data/train-00000-of-00002.parquet",
                        "data/train-00001-of-00002.parquet",
                    )
                }
            },
        ),
        (
            ["main/test-00000-of-00001.parquet", "main/auxiliary_train-00000-of-00001.parquet"],
            {
                "main": {
                    "auxiliary_train": ("main/auxiliary_train-00000-of-00001.parquet",),
                    "test": ("main/test-00000-of-00001.parquet",),
                }
            },
        ),
        (["arts/test/0000.parquet"], {"arts": {"test": ("arts/test/0000.parquet",)}}),
        (
            ["dev/arts.csv", "test/arts.csv"],
            {"arts": {"dev": ("dev/arts.csv",), "test": ("test/arts.csv",)}},
        ),
        (
            ["data/dev/arts_dev.csv", "data/test/arts_test.csv"],
            {"arts": {"dev": ("data/dev/arts_dev.csv",), "test": ("data/test/arts_test.csv",)}},
        ),
        (["train/a.csv", "train/b.csv"], {"default": {"train": ("train/a.csv", "train/b.csv")}}),
        (["test.jsonl", "labels.csv"], {"default": {"test": ("test.jsonl",)}}),
        (["train-first2000.jsonl.gz"], {"default": {"train": ("train-first2000.jsonl.gz",)}}),
        (
            ["mcq.dev.jsonl", "mcq.test.jsonl"],
            {"default": {"dev": ("mcq.dev.jsonl",), "test": ("mcq.test.jsonl",)}},
        ),
        (
            ["v1.0-test.jsonl.gz", "v1.0-train.jsonl.gz"],
            {"default": {"test": ("v1.0-test.jsonl.gz",), "train": ("v1.0-train.jsonl.gz",)}},
        ),
        (["test.v2.json"], {"default": {"test": ("test.v2.json",)}}),
        (["dataset_infos.json", ".cache/test.jsonl", "model.bin"], {}),
    ],
)
def test_names_tell_configuration_and_split(
    names: list[str], layout: dict[str, dict[str, tuple[str, ...]]]
) -> None:
    assert lay_out(names) == layout


def test_a_card_decides_over_names() -> None:
    card = (
        "---\nlicense: mit\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n"
        "    path: main/x-*\n- config_name: socratic\n  data_files: 'y/**/*.jsonl'\n---\n# Card\n"
    )
    found = lay_out(["main/x-1.parquet", "main/z.parquet", "y/a.jsonl"], card)
    assert found == {
        "main": {"test": ("main/x-1.parquet",)},
        "socratic": {"train": ("y/a.jsonl",)},
    }


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*.csv", ["a.csv"]),
        ("*/*.csv", ["old/b.csv"]),
        ("**/*.csv", ["a.csv", "old/b.csv", "old/more/c.csv"]),
        ("old/**", ["old/b.csv", "old/more/c.csv"]),
        ("**/more/?.csv", ["old/more/c.csv"]),
        ("old/[bd].csv", ["old/b.csv"]),
    ],
)
def test_a_star_stays_in_its_folder(pattern: str, files: list[str]) -> None:
    names = ["a.csv", "old/b.csv", "old/more/c.csv"]
    card = f"---\nconfigs:\n- config_name: a\n  data_files: '{pattern}'\n---\n"
    assert lay_out(names, card)["a"]["train"] == tuple(files)
    fsspec = pytest.importorskip("fsspec.implementations.memory")  # by which the hub's are found
    memory = fsspec.MemoryFileSystem()
    for name in names:
        memory.pipe(f"/stars/{name}", b"q\n1\n")
    found = [name for name in memory.glob(f"/stars/{pattern}") if memory.isfile(name)]
    assert sorted(found) == [f"/stars/{name}" for name in files]


def test_files_that_are_named_by_a_pattern_are_those_of_one_folder(root: Path) -> None:
    file = put(root, "org/name/a.jsonl")
    put(root, "org/name/old/b.jsonl")
    assert find_data("org/name", files="*.jsonl") == (file,)


def bomb(levels: int) -> str:
    """Aliases that stand for 9 ** levels texts."""
    lines = ["a0: &a0 [x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels + 1)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("front", "told"),
    [
        (f"{bomb(30)}\nconfigs:\n- data_files: {{path: [*a30]}}", "data_files must be a text"),
        (f"{bomb(30)}\nconfigs:\n- {{config_name: *a30, data_files: x}}", "config_name must be"),
        (f"{bomb(30)}\nconfigs:\n- {{data_dir: *a30, data_files: x}}", "data_dir must be a text"),
        ("configs:\n- data_files:\n  - {split: [a], path: x}", "split must be a text"),
        ("a: &a {k: 1}\nb: {<<: *a}\nconfigs: []", "`<<` is not supported"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("x: " + "y" * 2_000_001, "longer than 2,000,000 characters"),
        ("configs:\n- config_name: 2026-13-45\n  data_files: x", "front matter is no YAML"),
    ],
)
def test_a_card_that_would_hang_is_refused(root: Path, front: str, told: str) -> None:
    put(root, "org/name/README.md", f"---\n{front}\n---\n")
    put(root, "org/name/test.jsonl")
    with pytest.raises(DataError, match=rf"README\.md: .*{told}"):
        find_data("org/name", split="test")


@pytest.mark.parametrize("path", ["../../etc/*", "/etc/*"])
def test_a_card_cannot_name_files_outside(root: Path, path: str) -> None:
    card = f"---\nconfigs:\n- config_name: a\n  data_files: '{path}'\n---\n"
    put(root, "org/name/README.md", card)
    put(root, "org/name/test.jsonl")
    with pytest.raises(DataError, match=r"README\.md.*outside the data set"):
        find_data("org/name", split="test")


def test_a_split_is_found_by_another_of_its_names(root: Path) -> None:
    file = put(root, "org/name/dev.jsonl")
    put(root, "org/name/test.jsonl")
    assert find_data("org/name", split="validation") == (file,)
    assert find_data("modelscope:org/name", split="dev") == (file,)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"split": "train"}, r"no split 'train', but test\. Add a file such as train\.jsonl"),
        ({"config": "man", "split": "test"}, r"no configuration 'man', but main, other"),
        ({"split": "test"}, r"several configurations: name main, other"),
        ({"files": "answers.*"}, r"no file 'answers\.\*'"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    root: Path, asked: dict[str, Any], told: str
) -> None:
    put(root, "org/name/main/test.jsonl")
    if asked != {"split": "train"}:
        put(root, "org/name/other/test.jsonl")
    with pytest.raises(DataError, match=told):
        find_data("org/name", **asked)


def test_an_absent_data_set_says_where_to_put_it(root: Path) -> None:
    with pytest.raises(DataError, match=r"openai/gsm8k is not on this machine(?s:.*)--data-root"):
        find_data_set("openai/gsm8k")
    with pytest.raises(DataError, match="no folder"):
        find_data_set("../gsm8k")


def test_a_data_root_that_is_none_is_told(tmp_path: Path) -> None:
    with (
        at_data_root(tmp_path / "absent"),
        pytest.raises(DataError, match=r"EVALKIT_DATA.*absent, which is no folder"),
    ):
        find_data("org/name")


def test_names_that_are_paths_are_no_names() -> None:
    for text in ("../a", "a/../b", "/a/b", "a/b/c", "a b", "modelscope:../a", ".hidden/a", ""):
        assert parse_name(text) is None
    assert str(parse_name("modelscope:org/name")) == "modelscope:org/name"


@pytest.mark.parametrize(
    ("folder", "asked", "rows"),
    [
        ("gsm8k", {"split": "test"}, 1319),
        ("gsm8k", {"split": "train"}, 2000),
        ("cmmlu", {"config": "arts", "split": "validation"}, 5),
        ("agieval", {"files": "sat-en.jsonl"}, 206),
        ("mt_bench", {"files": "question.jsonl"}, 80),
        ("ruozhiba", {"files": "title-good.json"}, 2597),
    ],
)
def test_real_data_sets_are_read_as_they_are(folder: str, asked: dict[str, Any], rows: int) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs the data sets of ../shared/data")
    found = list(read_rows(find_data(str(SHARED / folder), **asked)))
    assert len(found) == rows
    assert "" not in found[0].fields
