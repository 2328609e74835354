"""Data sets and models come from a mirror of the hub or from ModelScope, in parts, and checked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("huggingface_hub")
from safetensors.numpy import save_file

from evalkit.cli import app
from evalkit.data import find_data, parse_name, read_rows
from evalkit.data import modelscope as modelscope_module
from evalkit.data.arrive import FetchError
from evalkit.data.loading import local_datasets
from evalkit.errors import DataError, ModelError
from evalkit.models.weights import fetch_model, find_model
from evalkit.progress import Silent
from tests.data.servers import Served, serving


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that both hosts are said to be, with a data set and a model."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EVALKIT_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "served" / "datasets" / "org" / "quiz"
    for config in ("main", "other"):
        (data / config).mkdir(parents=True)
        for split in ("train", "test"):
            frame = pd.DataFrame({"q": [f"{config} {split}"] * 2})
            frame.to_parquet(data / config / f"{split}-00000-of-00001.parquet")
    (data / "README.md").write_text("# A card\n")
    model = tmp_path / "served" / "models" / "org" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "README.md").write_text("# not needed\n")
    save_file({"w": np.arange(4096, dtype=np.float32)}, model / "model.safetensors")
    with serving(tmp_path / "served") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize("name", ["org/quiz", "modelscope:org/quiz"])
def test_only_the_split_that_is_needed_comes_and_then_stays(
    hosts: Served, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = find_data(name, config="main", split="test")
    assert [row.fields["q"] for row in read_rows(files)] == ["main test"] * 2
    assert sum(path.partition("?")[0].endswith(".parquet") or ".parquet" in path
               for path in hosts.sent) == 1  # fmt: skip
    hosts.sent.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_data(name, config="main", split="test") == files
    with pytest.raises(DataError, match=r"main/train-00000-of-00001\.parquet.*\n.*\n.*\n"):
        find_data(name, config="main", split="train")
    assert hosts.sent == []


def test_offline_the_command_that_fetches_is_told_and_works(
    hosts: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError) as raised:
        find_data("org/quiz", config="other", split="test")
    told = str(raised.value)
    assert "data set org/quiz, configuration other, split test" in told
    command = next(line for line in told.splitlines() if line.startswith("  evalkit fetch"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    app(shlex.split(command)[1:], standalone_mode=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EVALKIT_DATA", told.rpartition("--data-root ")[2])
    (file,) = find_data("org/quiz", config="other", split="test")
    assert file.is_relative_to("evalkit-data/org/quiz/other")
    assert next(read_rows([file])).fields == {"q": "other test"}


@pytest.mark.parametrize("name", ["org/quiz", "modelscope:org/quiz"])
def test_a_damaged_file_is_not_used_and_fetched_anew(hosts: Served, name: str) -> None:
    damaged = "main/test-00000-of-00001.parquet"
    hosts.spoils.add(damaged)
    with pytest.raises(DataError, match="damaged on the way and deleted"):
        find_data(name, config="main", split="test")
    hosts.spoils.clear()
    assert len(list(read_rows(find_data(name, config="main", split="test")))) == 2


def test_a_model_comes_from_modelscope_and_goes_on_where_it_broke_off(
    hosts: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hosts.breaks.add("model.safetensors")
    with pytest.raises(ModelError, match=r"ModelScope: model\.safetensors broke off at"):
        find_model("modelscope:org/tiny")
    hosts.breaks.clear()
    found = find_model("modelscope:org/tiny")
    assert found == tmp_path / "home" / "models" / "modelscope--org--tiny"
    assert sorted(file.name for file in found.iterdir()) == ["config.json", "model.safetensors"]
    served = hosts.root / "models" / "org" / "tiny" / "model.safetensors"
    assert (found / "model.safetensors").read_bytes() == served.read_bytes()
    assert hosts.ranges == [f"bytes={served.stat().st_size // 2}-"]


def test_a_model_is_fetched_into_a_data_root(
    hosts: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = parse_name("modelscope:org/tiny")
    assert name is not None
    made = fetch_model(name, revision="v2", root=tmp_path / "bundle", progress=Silent())
    assert made == tmp_path / "bundle" / "org" / "tiny@v2"
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path / "bundle"))
    assert find_model("org/tiny", revision="v2", offline=True) == made


def test_modelscope_says_why_it_gives_nothing(
    hosts: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="has nothing public of that name"):
        find_model("modelscope:org/absent")
    hosts.token = "secret"
    with pytest.raises(ModelError, match="set MODELSCOPE_API_TOKEN"):
        find_model("modelscope:org/tiny")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret")
    assert find_model("modelscope:org/tiny").is_dir()
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9 could not be used.*\n.*MODELSCOPE_END"):
        find_model("modelscope:org/other")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "file:///etc")
    with pytest.raises(ModelError, match="must be an http address"):
        find_model("modelscope:org/other")


def test_the_token_stays_with_the_server_it_is_for(
    hosts: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret")
    with serving(tmp_path / "served") as other:
        hosts.elsewhere = other.url
        assert find_model("modelscope:org/tiny").is_dir()
        assert set(other.secrets) == {""}
    assert set(hosts.secrets) == {"Bearer secret", "m_session_id=secret"}
    hosts.elsewhere, hosts.token = "", "secret"
    with serving(tmp_path / "served") as first:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", first.url)
        first.elsewhere = hosts.url  # which wants the token, and is not given it
        with pytest.raises(ModelError, match="gives it only to some users"):
            find_model("modelscope:org/tiny", revision="v2")


def test_a_connection_that_breaks_is_not_a_full_disk(hosts: Served) -> None:
    hosts.resets.add("model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: http.* broke off \(.*reset"):
        find_model("modelscope:org/tiny")
    hosts.resets.clear()
    assert find_model("modelscope:org/tiny").is_dir()


def test_data_that_somebody_put_there_is_not_hidden_by_a_fetch(
    hosts: Served, tmp_path: Path
) -> None:
    own = tmp_path / "bundle" / "org" / "quiz"
    own.mkdir(parents=True)
    (own / "test.jsonl").write_text('{"q": "ours"}\n')
    with pytest.raises(DataError, match="holds data that no fetch brought there"):
        app(["fetch", "org/quiz", "--data", "--to", "bundle"], standalone_mode=False)
    assert [file.name for file in own.iterdir()] == ["test.jsonl"]


def test_many_files_are_listed_page_by_page(hosts: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelscope_module, "_PAGE", 2)
    found = modelscope_module.list_files("org/quiz", "dataset", None)
    assert len(found.files) == 5


@pytest.mark.parametrize("path", ["../../x", "/etc/x", ""])
def test_a_listing_cannot_name_files_outside(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    listing = [{"Path": path, "Type": "blob", "Size": 1}]
    monkeypatch.setattr(modelscope_module, "_ask", lambda *_: {"Files": listing})
    with pytest.raises(FetchError, match="lists a file with the name"):
        modelscope_module.list_files("org/tiny", "model", None)


def test_a_later_part_is_of_the_revision_that_came_first(hosts: Served, tmp_path: Path) -> None:
    find_data("org/quiz", config="main", split="test")
    note = tmp_path / "home" / "data" / "org--quiz" / ".evalkit_listing.json"
    told = json.loads(note.read_text())
    assert told["source"] == "org/quiz"
    hosts.sent.clear()
    find_data("org/quiz", config="other", split="train")
    assert not any(path.endswith("/api/datasets/org/quiz?blobs=True") for path in hosts.sent)
    assert any(told["revision"] in path for path in hosts.sent)
    note.write_text("{")
    with pytest.raises(DataError, match="is damaged: delete it"):
        find_data("org/quiz", config="main", split="test")


def test_load_dataset_takes_what_modelscope_keeps(
    hosts: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    with local_datasets():
        loaded = datasets.load_dataset("modelscope:org/quiz", "other")
    datasets.enable_progress_bars()
    assert loaded["test"].to_list() == [{"q": "other test"}] * 2
    assert not (tmp_path / "home/data/modelscope--org--quiz/main").exists()
