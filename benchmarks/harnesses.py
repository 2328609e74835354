"""lm-eval's numbers and evalkit's side by side: docs/results/harnesses.json and .md.

    python -m benchmarks.harnesses MODEL ADAPTER DATA [--limit N] [--work DIR]

Twelve tasks of different kinds (benchmarks/harness_tasks) over the files in DATA, for the base and
an adapter, in float32: once by `--model hf`, once by `--model evalkit`, with one command line. DATA
holds gsm8k, cmmlu, agieval and ruozhiba; nothing of it is copied. What a killed run finished is
kept in --work.

A perplexity is e to a sum of log-likelihoods, whose last bits depend on the shape of the batch:
where what is printed differs, lm-eval is asked once more at another batch size. Ends with 1 where
a number differs that does not differ between lm-eval's own two runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine

TASKS = Path(__file__).with_name("harness_tasks")
PLAIN = ("bench_sat_en", "bench_gaokao_history", "bench_logiqa_en", "bench_logiqa_zh",
         "bench_cmmlu", "bench_gsm8k_answer", "bench_gsm8k_text", "bench_ruozhiba_text",
         "bench_gsm8k", "bench_cmmlu_written")  # fmt: skip
CHAT = ("bench_logiqa_chat", "bench_gsm8k_chat")
WAYS = ("hf", "evalkit")
ARMS = ("base", "tuned")
PACKAGES = ("lm_eval", "torch", "transformers", "peft")
RESULT = Path("docs/results/harnesses.json")

TEXT = """\
# lm-eval's numbers, by lm-eval and by evalkit

Written by `python -m benchmarks.harnesses`, which also writes `harnesses.json`. The same command
line of lm-eval, once with `--model hf` and once with `--model evalkit` (`evalkit lm_eval`), on a
base and on a LoRA adapter of it, in float32, at batch size 1. Numbers are as lm-eval prints them.
*Nats* is the largest difference between the two log-likelihoods of any request of the task,
*texts* how many generated texts are equal. A number that differs stands beside what lm-eval says
itself at batch size {batch}: *rounding* where its own two numbers differ too.
[opencompass.md](opencompass.md) says the same of OpenCompass.
"""

CONTROL_BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process: a way, an arm, and the tasks that go with or without the chat template; of the
    control, some of them."""

    way: str
    arm: str
    chat: bool
    batch: int = 1
    some: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its folder."""
        control = f"-{self.batch}" if self.batch > 1 else ""
        return f"{self.way}{control}-{self.arm}-{'chat' if self.chat else 'plain'}"

    def command(self, asked: argparse.Namespace) -> list[str]:
        """The command line; but for the model's name it is the same for both ways."""
        args = f"pretrained={asked.model},dtype=float32"
        args += f",peft={asked.adapter}" if self.arm == "tuned" else ""
        args += f",max_length={asked.max_length}" if asked.max_length else ""
        wanted = self.some or asked.tasks
        tasks = [name for name in (CHAT if self.chat else PLAIN) if name in wanted]
        return [
            *(sys.executable, "-m", "evalkit", "lm_eval", "run", "--model", self.way),
            *("--model_args", args, "--tasks", ",".join(tasks), "--device", asked.device),
            *("--batch_size", str(self.batch), "--limit", str(asked.limit), "--log_samples"),
            *("--include_path", str(asked.work / "tasks")),
            *("--output_path", str(asked.work / self.name)),
            *(["--apply_chat_template"] if self.chat else []),
        ]


def write_tasks(folder: Path, data: Path) -> None:
    """The tasks, with the paths of the files they read."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(TASKS.glob("*.yaml")):
        text = file.read_text(encoding="utf-8").replace("DATA/", f"{data.resolve()}/")
        (folder / file.name).write_text(text, encoding="utf-8")


def run(job: Job, asked: argparse.Namespace) -> Path:
    """The folder of a job's results; what was finished before by this command is not run again."""
    folder: Path = asked.work / job.name
    done, command = folder / "done.json", job.command(asked)
    if not done.is_file() or json.loads(done.read_text(encoding="utf-8"))["command"] != command:
        shutil.rmtree(folder, ignore_errors=True)
        # A home of its own and empty: the store would otherwise know what was asked before.
        kept = asked.work / f"home-{job.name}"
        shutil.rmtree(kept, ignore_errors=True)
        env = {"EVALKIT_HOME": str(kept), "HF_HUB_OFFLINE": "1"}
        print(job.name, flush=True)
        ended = machine.run_to_end(command, env, asked.work / f"{job.name}.log")
        if ended.exit_code:
            sys.exit(f"{job.name} ended with {ended.exit_code}; see {asked.work / job.name}.log")
        told = {"command": command, "seconds": ended.seconds}
        done.write_text(json.dumps(told), encoding="utf-8")
    return folder


def read(folder: Path) -> dict[str, Any]:
    """A job's metrics by task, its answers by task, and its seconds."""
    (file,) = folder.rglob("results_*.json")
    told = json.loads(file.read_text(encoding="utf-8"))
    answers = {}
    for samples in sorted(folder.rglob("samples_*.jsonl")):
        rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        name = samples.name.removeprefix("samples_").rsplit("_20", 1)[0]
        kind = told["configs"][name]["output_type"]
        answers[name] = {row["doc_id"]: _answers(row, kind) for row in rows}
    return {
        "metrics": {**told["results"], **told.get("groups", {})},
        "answers": answers,
        "seconds": json.loads((folder / "done.json").read_text(encoding="utf-8"))["seconds"],
    }


def printed(value: object) -> str:
    """A number as lm-eval's table has it."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def metric_rows(jobs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each task and metric, its stderr among them: what each way says of each arm."""
    rows = []
    for kind in ("plain", "chat"):
        first = jobs.get(f"hf-base-{kind}", {"metrics": {}})
        for task, metrics in sorted(first["metrics"].items()):
            for name in metrics:
                if "," not in name:  # the task's alias, and the like
                    continue
                said = {
                    f"{way}-{arm}": printed(
                        jobs[f"{way}-{arm}-{kind}"]["metrics"].get(task, {}).get(name)
                    )
                    for arm in ARMS
                    for way in WAYS
                }
                equal = all(said[f"hf-{arm}"] == said[f"evalkit-{arm}"] for arm in ARMS)
                told = {"task": task, "metric": name, "said": said}
                rows.append({**told, "equal": equal, "rounding": False})
    return rows


def ask_control(rows: Sequence[dict[str, Any]], asked: argparse.Namespace) -> None:
    """Ask lm-eval for what differs at another batch size; tell which of it differs there too."""
    for kind in ("plain", "chat"):
        known = CHAT if kind == "chat" else PLAIN  # a group's members are not asked alone
        differing = [row for row in rows if not row["equal"] and row["task"] in known]
        tasks = tuple(sorted({row["task"] for row in differing}))
        for arm in ARMS if tasks else ():
            job = Job(way="hf", arm=arm, chat=kind == "chat", batch=CONTROL_BATCH, some=tasks)
            metrics = read(run(job, asked))["metrics"]
            for row in differing:
                row["said"][f"control-{arm}"] = printed(metrics[row["task"]][row["metric"]])
        for row in differing:
            row["rounding"] = all(_is_rounding(row["said"], arm) for arm in ARMS)


def _is_rounding(said: Mapping[str, str], arm: str) -> bool:
    """Whether evalkit's number of an arm is lm-eval's, or no further off than twice what lies
    between lm-eval's own two."""
    theirs, ours = said[f"hf-{arm}"], said[f"evalkit-{arm}"]
    if theirs == ours:
        return True
    try:
        apart = [abs(float(one) - float(theirs)) for one in (ours, said[f"control-{arm}"])]
    except ValueError:  # one of them is N/A
        return False
    return apart[0] <= 2 * apart[1]


def answer_rows(jobs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each task and arm: how far the answers to its requests are apart."""
    rows = []
    for kind in ("plain", "chat"):
        for arm in ARMS:
            pair = [jobs.get(f"{way}-{arm}-{kind}", {"answers": {}})["answers"] for way in WAYS]
            rows += [
                {"task": task, "arm": arm, **_apart(pair[0][task], pair[1][task])}
                for task in sorted(pair[0])
            ]
    return rows


def _apart(theirs: Mapping[Any, Any], ours: Mapping[Any, Any]) -> dict[str, Any]:
    """How far the answers of two ways to the rows of one task are apart."""
    nats, texts, same = 0.0, 0, 0
    for key, answers in theirs.items():
        for one, other in zip(answers, ours[key], strict=True):
            if isinstance(one, float):
                nats = max(nats, abs(one - other))
            else:
                texts += 1
                same += one == other
    return {"samples": len(theirs), "nats": nats, "texts": texts, "equal_texts": same}


def _answers(row: Mapping[str, Any], kind: str) -> list[float | str]:
    """The log-likelihoods or the texts of a logged row; lm-eval writes either as texts."""
    answers = [one for request in row["resps"] for one in request]
    if kind == "generate_until":
        return [str(one) for one in answers]
    return [float(one[0] if isinstance(one, list) else one) for one in answers]


def page(result: Mapping[str, Any]) -> str:
    """The page, from what harnesses.json holds."""
    heads = [f"{arm}, {way}" for arm in ARMS for way in WAYS]
    lines = [
        TEXT.format(batch=CONTROL_BATCH),
        f"| task | metric | {' | '.join(heads)} | |",
        "|---|---|" + "---:|" * 4 + "---|",
    ]
    for row in result["metrics"]:
        said = " | ".join(row["said"][f"{way}-{arm}"] for arm in ARMS for way in WAYS)
        lines.append(f"| `{row['task']}` | {row['metric']} | {said} | {_mark(row)} |")
    lines += ["", "| task | arm | rows | nats | texts |", "|---|---|---:|---:|---:|"]
    for row in result["answers"]:
        texts = f"{row['equal_texts']} of {row['texts']}" if row["texts"] else ""
        lines.append(
            f"| `{row['task']}` | {row['arm']} | {row['samples']} | {row['nats']:.1e} | {texts} |"
        )
    lines += ["", "| whole processes, s | hf | evalkit |", "|---|---:|---:|"]
    for name, (theirs, ours) in result["seconds"].items():
        lines.append(f"| {name} | {theirs:.0f} | {ours:.0f} |")
    where = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    lines += ["", f"- {result['model']}, up to {result['limit']} rows of a task", f"- {packages}"]
    lines += [f"- {where['system']}, {where['cores']} cores ({where['processor']})", ""]
    return "\n".join(lines)


def _mark(row: Mapping[str, Any]) -> str:
    if row["equal"]:
        return "equal"
    kind = "rounding" if row["rounding"] else "**differs**"
    control = [row["said"][key] for arm in ARMS if (key := f"control-{arm}") in row["said"]]
    return f"{kind} (lm-eval again: {', '.join(control)})" if control else kind


def measured(jobs: Mapping[str, Mapping[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    """All that the page tells."""
    kinds = sorted({name.split("-", 1)[1] for name in jobs})
    seconds = {kind: [jobs[f"{way}-{kind}"]["seconds"] for way in WAYS] for kind in kinds}
    metrics = metric_rows(jobs)
    ask_control(metrics, asked)
    return {
        "model": Path(asked.model).name,
        "limit": asked.limit,
        "metrics": metrics,
        "answers": answer_rows(jobs),
        "seconds": seconds,
        "machine": {
            "system": machine.system(),
            "cores": machine.cores(),
            "processor": machine.processor(),
            "packages": machine.versions(PACKAGES),
        },
    }


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", help="folder or hub id of the base")
    parser.add_argument("adapter", type=Path, help="folder of a LoRA adapter of it")
    parser.add_argument("data", type=Path, help="folder with gsm8k, cmmlu, agieval, ruozhiba")
    parser.add_argument("--limit", type=int, default=50, help="rows of a task (50)")
    parser.add_argument("--tasks", default=",".join((*PLAIN, *CHAT)), help="some of the twelve")
    parser.add_argument("--max-length", type=int, help="of an input, in tokens; the model's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/harnesses"))
    parser.add_argument("--output", type=Path, default=RESULT)
    asked = parser.parse_args(arguments)
    asked.tasks = asked.tasks.split(",")
    unknown = set(asked.tasks) - {*PLAIN, *CHAT}
    if unknown:
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write both files; 0 where all is equal."""
    asked = parsed(arguments)
    write_tasks(asked.work / "tasks", asked.data)
    kinds = [chat for chat, some in ((False, PLAIN), (True, CHAT)) if {*some} & {*asked.tasks}]
    jobs = [Job(way=way, arm=arm, chat=chat) for chat in kinds for arm in ARMS for way in WAYS]
    result = measured({job.name: read(run(job, asked)) for job in jobs}, asked)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    asked.output.with_suffix(".md").write_text(page(result), encoding="utf-8")
    return 0 if all(row["equal"] or row["rounding"] for row in result["metrics"]) else 1


if __name__ == "__main__":
    sys.exit(main())
