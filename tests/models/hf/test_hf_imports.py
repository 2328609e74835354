"""What is stored is found again without the libraries that run a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from tests.models.hf.tiny_models import Tiny

CODE = """
import json, sys
from evalkit.config import HFModel
from evalkit.models.hf import open_hf
from evalkit.records import Request

base = {"kind": "hf", "path": sys.argv[1], "device": "cpu", "dtype": "float32"}
arms = {"base": HFModel(**base), "tuned": HFModel(**base, adapter=sys.argv[2])}
engine = open_hf(arms, offline=True)
asked = {"suite": "s", "sample_id": "1", "kind": "loglikelihood", "prompt": "a"}
prepared = engine.prepare([Request(arm=arm, continuation=" b", **asked) for arm in arms])
engine.outline(engine.batches(prepared))
heavy = ("transformers.modeling_utils", "peft", "bitsandbytes", "torch._dynamo")
before = [name for name in heavy if name in sys.modules]
list(engine.complete(engine.batches(prepared)[0]))
print(json.dumps([before, [name for name in heavy if name in sys.modules]]))
"""


def test_a_plan_loads_nothing_that_runs_a_model(tiny: Callable[..., Tiny]) -> None:
    model = tiny("llama")
    command = [sys.executable, "-c", CODE, str(model.model), str(model.adapter)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert before == []
    assert "transformers.modeling_utils" in after
    assert "peft" in after
