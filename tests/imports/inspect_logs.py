"""Logs in inspect_ai's format (version 2), made by hand, and real ones where it is installed."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa


def header(model: str, accuracy: float, samples: int, **eval_fields: Any) -> dict[str, Any]:
    """What a log says of the whole evaluation."""
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "sums",
            "task_version": 0,
            "task_args": {},
            "model": model,
            "dataset": {"samples": samples, "sample_ids": list(range(samples))},
            "scorers": [{"name": "match", "options": {}}],
            "packages": {"inspect_ai": "0.3.285"},
            **eval_fields,
        },
        "plan": {"steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": {
            "total_samples": samples,
            "scores": [{"name": "match", "metrics": {"accuracy": {"value": accuracy}}}],
        },
        "stats": {
            "started_at": "2026-01-01T00:00:00+00:00",
            "completed_at": "2026-01-01T00:01:00+00:00",
        },
    }


def row(number: int, value: Any, text: str, epoch: int = 1, **fields: Any) -> dict[str, Any]:
    """One epoch of one sample."""
    question = f"What is {number} + 1?"
    return {
        "id": number,
        "epoch": epoch,
        "input": question,
        "target": str(number + 1),
        "messages": [
            {"role": "user", "content": question, "source": "input"},
            {"role": "assistant", "content": text, "source": "generate"},
        ],
        "output": {
            "completion": text,
            "choices": [{"message": {"content": text}, "stop_reason": "stop"}],
            "usage": {"input_tokens": 5, "output_tokens": 3},
        },
        "scores": {"match": {"value": value, "answer": text}},
        "metadata": {"topic": "even" if number % 2 == 0 else "odd"},
        **fields,
    }


def write_json(path: Path, told: Mapping[str, Any], rows: Sequence[Any]) -> Path:
    """The .json form."""
    path.write_text(json.dumps({**told, "samples": list(rows)}), encoding="utf-8")
    return path


def write_eval(
    path: Path, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, zstd: bool = False
) -> Path:
    """The .eval form, deflated as older versions write it or packed with Zstandard as newer do."""
    members = {f"samples/{one['id']}_epoch_{one['epoch']}.json": one for one in rows}
    files = {
        name: json.dumps(one).encode() for name, one in {**members, "header.json": told}.items()
    }
    if zstd:
        return _zstd_zip(path, files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _zstd_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip file of method 93, which Python before 3.14 cannot write (APPNOTE.TXT, 4.3 and 4.4)."""
    body, directory = b"", b""
    for name, content in files.items():
        packed = bytes(pa.compress(content, codec="zstd", asbytes=True))
        sizes = (zlib.crc32(content), len(packed), len(content), len(name), 0)
        common = struct.pack("<HHHHHIIIHH", 63, 0, 93, 0, 0x21, *sizes)
        directory += b"PK\x01\x02" + struct.pack("<H", 63) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + common + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path
