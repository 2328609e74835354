"""OpenCompass's numbers and evalkit's side by side: docs/results/opencompass.json and .md.

    python -m benchmarks.opencompass MODEL ADAPTER DATA [--limit N] [--work DIR]

Three data sets over the files in DATA (cmmlu, agieval, gsm8k), for the base and a LoRA adapter of
it, in float32: once by OpenCompass's own command with its own Hugging Face model class, once by
`evalkit compare`. OpenCompass lives in the environment that `evalkit harness install opencompass`
makes. Nothing of DATA is copied but the rows that are asked, into --work. Ends with 1 where a
number differs. What OpenCompass finished is kept in --work, for it takes the longest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from benchmarks.opencompass_oracle import Theirs, older, opencompass, write_jsonl, written

ARMS = ("base", "tuned")
SUBJECTS = ("agronomy", "arts")
SETS = {
    "cmmlu": "CMMLU, two subjects, 5-shot, by perplexity of the whole text",
    "sat": "SAT (AGIEval) as custom multiple choice, by perplexity",
    "gsm8k": "GSM8K as custom questions, written answers",
}
NAMES = (*(f"cmmlu-{one}" for one in SUBJECTS), "sat", "gsm8k")
NEW_TOKENS = 64
PACKAGES = ("torch", "transformers", "peft")
RESULT = Path("docs/results/opencompass.json")

TEXT = """\
# OpenCompass's numbers, by OpenCompass and by evalkit

Written by `python -m benchmarks.opencompass`, which also writes `opencompass.json`.
OpenCompass's own command with its `HuggingFaceBaseModel` (of the adapter: of the base with the
adapter taken into its weights), and `evalkit compare` on the same data, in float32. *Answers*
counts the samples for which both chose, or wrote, the same.
"""

CMMLU = """
letters = ["A", "B", "C", "D"]
ask = "题目：{{question}}\\nA. {{A}}\\nB. {{B}}\\nC. {{C}}\\nD. {{D}}\\n答案是: "
hint = "以下是单项选择题。\\n</E>"
datasets = [
    dict(
        type="opencompass.datasets.CMMLUDataset", path="cmmlu", name=name, abbr="cmmlu-" + name,
        reader_cfg=dict(input_columns=["question", "A", "B", "C", "D"], output_column="answer",
                        train_split="dev", test_split="test", test_range="[:{limit}]"),
        infer_cfg=dict(
            ice_template=dict(type="opencompass.openicl.icl_prompt_template.PromptTemplate",
                              template={{one: ask + one + "\\n" for one in letters}}),
            prompt_template=dict(type="opencompass.openicl.icl_prompt_template.PromptTemplate",
                                 template={{one: hint + ask + one for one in letters}},
                                 ice_token="</E>"),
            retriever=dict(type="opencompass.openicl.icl_retriever.FixKRetriever",
                           fix_id_list=[0, 1, 2, 3, 4]),
            inferencer=dict(type="opencompass.openicl.icl_inferencer.PPLInferencer")),
        eval_cfg=dict(evaluator=dict(
            type="opencompass.openicl.icl_evaluator.AccwithDetailsEvaluator")))
    for name in {subjects}
]
"""


def write_sets(work: Path, data: Path, limit: int) -> dict[str, dict[str, str]]:
    """The data sets as files in `work`: what `opencompass.custom` says of each."""
    cmmlu = work / "cmmlu.py"
    cmmlu.write_text(CMMLU.format(limit=limit, subjects=list(SUBJECTS)), encoding="utf-8")
    exam = [_choices(row) for row in _rows(data / "agieval" / "sat-en.jsonl", limit)]
    quiz = [
        {"question": row["question"], "answer": row["answer"].rsplit("####", 1)[-1].strip()}
        for row in _rows(data / "gsm8k" / "test.jsonl", limit)
    ]
    return {
        "cmmlu": {"path": str(cmmlu)},
        "sat": {"path": str(write_jsonl(work / "sat.jsonl", exam)), "infer_method": "ppl"},
        "gsm8k": {"path": str(write_jsonl(work / "gsm8k.jsonl", quiz))},
    }


def _rows(file: Path, limit: int) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, limit)]


def _choices(row: Mapping[str, Any]) -> dict[str, str]:
    """A question of AGIEval with its passage, and its options under their letters."""
    options = {option[1]: option[3:].strip() for option in row["options"]}
    question = f"{row['passage'] or ''}\n{row['question']}".strip()
    return {"question": question, **options, "answer": row["label"]}


def theirs(
    asked: argparse.Namespace, sets: Mapping[str, Mapping[str, str]], models: Mapping[str, Path]
) -> dict[str, dict[str, Theirs]]:
    """What OpenCompass itself makes of the data sets, by arm and data set."""
    from evalkit.harnesses.opencompass.environment import required

    found = {}
    own = [{"abbr": name, **sets[name]} for name in ("sat", "gsm8k")]
    for arm in ARMS:
        model = {
            "type": "opencompass.models.HuggingFaceBaseModel",
            "abbr": "own",
            "path": str(models[arm]),
            "model_kwargs": {"torch_dtype": "torch.float"},
            "max_out_len": NEW_TOKENS,
            "batch_size": 1,
            "run_cfg": {"num_gpus": 0},
        }
        told = Path(sets["cmmlu"]["path"]).read_text(encoding="utf-8")
        config = asked.work / f"{arm}.py"
        wanted = f"{told}datasets += {own!r}\nmodels = [{model!r}]\n"
        done = asked.work / f"{arm}.done"  # what a killed run finished is not run again
        what = _what(asked, wanted)
        if done.is_file() and done.read_text(encoding="utf-8") == what:
            found[arm] = written(asked.work / arm)
            continue
        done.unlink(missing_ok=True)
        config.write_text(wanted, encoding="utf-8")
        shutil.rmtree(asked.work / arm, ignore_errors=True)
        print(f"OpenCompass, {arm}", flush=True)
        found[arm] = opencompass(required(), config, asked.work / arm, asked.data.resolve())
        if set(NAMES) <= set(found[arm]):
            done.write_text(what, encoding="utf-8")
    return found


def _what(asked: argparse.Namespace, config: str) -> str:
    """All that decides what OpenCompass says: its version, its configuration, models and data."""
    from evalkit.harnesses.opencompass.environment import required

    folders = (asked.model.resolve(), asked.adapter.resolve(), asked.data.resolve())
    rows = [(asked.work / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("sat", "gsm8k")]
    return "\n".join([required().version, *map(str, folders), config, *rows])


def ours(asked: argparse.Namespace, sets: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The runs of `evalkit compare`, by arm, from an empty store."""
    from evalkit.store.runs import read_run

    files = []
    for arm in ARMS:
        model = {"kind": "hf", "path": str(asked.model), "dtype": "float32"}
        config: dict[str, Any] = {"name": arm, "model": model}
        if arm == "tuned":
            model["adapter"] = str(asked.adapter.resolve())
        else:
            config |= {
                "suites": [f"opencompass:{name}" for name in SETS],
                "decoding": {"max_new_tokens": NEW_TOKENS},
                "opencompass": {"custom": dict(sets), "data": str(asked.data.resolve())},
                "limit": asked.limit,
            }
        file = asked.work / f"{arm}.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        files.append(str(file))
    runs = asked.work / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    print("evalkit", flush=True)
    command = [sys.executable, "-m", "evalkit", "compare", *files, "-o", str(runs), "--fresh"]
    done = subprocess.run([*command, "--offline", "--quiet"], check=False)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"evalkit compare ended with {done.returncode}")
    folders = [file.parent for file in sorted(runs.glob("*/manifest.json"))]
    return {run.manifest.name: run for run in map(read_run, folders)}


def rows_of(their: Mapping[str, Theirs], run: Any) -> list[dict[str, Any]]:
    """One row for each data set of an arm: both numbers, and how many answers are the same."""
    return [_row(name, their[name], _results(run, name)) for name in NAMES]


def _results(run: Any, name: str) -> list[Any]:
    suite, _, _ = name.partition("-")
    found = [one for one in run.results if one.sample.suite == f"opencompass:{suite}"]
    return [one for one in found if one.sample.slices.get("dataset", name) == name]


def _row(name: str, their: Theirs, mine: Sequence[Any]) -> dict[str, Any]:
    values = [one.scores[0].value for one in mine]
    number = 100 * sum(values) / len(values)
    said = [row["prediction"] for row in their.rows]
    return {
        "set": name,
        "samples": len(their.rows),
        "theirs": f"{their.results['accuracy']:.2f}",
        "ours": f"{number:.2f}",
        "same": sum(one == _answer(result) for one, result in zip(said, mine, strict=True)),
    }


def _answer(result: Any) -> str:
    """What was written, or the letter of the likeliest of the texts that were scored."""
    from evalkit.harnesses.opencompass.likelihoods import perplexity

    if len(result.completions) == 1:
        return str(result.completions[0].text)
    found = [perplexity(one) for one in result.completions]
    return "ABCDEF"[found.index(min(found))]


def page(result: Mapping[str, Any]) -> str:
    """The page, from what opencompass.json holds."""
    lines = [TEXT, "| data set | arm | samples | OpenCompass | evalkit | answers | |"]
    lines.append("|---|---|---:|---:|---:|---:|---|")
    for arm in ARMS:
        for row in result["rows"][arm]:
            mark = "equal" if row["theirs"] == row["ours"] else "**differs**"
            lines.append(
                f"| {row['set']} | {arm} | {row['samples']} | {row['theirs']} | {row['ours']} | "
                f"{row['same']} of {row['samples']} | {mark} |"
            )
    where = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    lines += ["", *(f"- {name}: {told}" for name, told in SETS.items())]
    lines += [f"- {result['model']}; OpenCompass {result['opencompass']}", f"- {packages}"]
    lines += [f"- {where['system']}, {where['cores']} cores ({where['processor']})", ""]
    return "\n".join(lines)


def _models(asked: argparse.Namespace) -> dict[str, Path]:
    """Both arms as OpenCompass's older transformers read them."""
    whole = asked.work / "merged"
    shutil.rmtree(whole, ignore_errors=True)
    # In a process of its own: what is held here counts as the peak of what is started from here.
    told = (
        "from benchmarks.opencompass_oracle import merged; from pathlib import Path; import sys; "
    )
    told += "merged(*map(Path, sys.argv[1:]))"
    line = [sys.executable, "-c", told, str(asked.model), str(asked.adapter), str(whole)]
    subprocess.run(line, check=True)
    made = {}
    for arm, folder in (("base", asked.model), ("tuned", whole)):
        shutil.rmtree(asked.work / f"old-{arm}", ignore_errors=True)
        made[arm] = older(Path(folder), asked.work / f"old-{arm}")
    return made


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path, help="folder of the base")
    parser.add_argument("adapter", type=Path, help="folder of a LoRA adapter of it")
    parser.add_argument("data", type=Path, help="folder with cmmlu, agieval, gsm8k")
    parser.add_argument("--limit", type=int, default=30, help="rows of a data set (30)")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/opencompass"))
    parser.add_argument("--output", type=Path, default=RESULT)
    asked = parser.parse_args(arguments)
    asked.work = asked.work.resolve()
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, write both files; 0 where all numbers are equal."""
    from evalkit.harnesses.opencompass.environment import required

    asked = parsed(arguments)
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    sets = write_sets(asked.work, asked.data, asked.limit)
    runs = ours(asked, sets)
    their = theirs(asked, sets, _models(asked))
    result = {
        "model": asked.model.name,
        "opencompass": required().version,
        "rows": {arm: rows_of(their[arm], runs[arm]) for arm in ARMS},
        "machine": {
            "system": machine.system(),
            "cores": machine.cores(),
            "processor": machine.processor(),
            "packages": machine.versions(PACKAGES),
        },
    }
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    asked.output.with_suffix(".md").write_text(page(result), encoding="utf-8")
    rows = [row for arm in ARMS for row in result["rows"][arm]]
    return 0 if all(row["theirs"] == row["ours"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
