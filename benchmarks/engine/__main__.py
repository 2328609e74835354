"""Time evalkit's engine against lm-eval and write docs/results/engine.json and engine.md.

    python -m benchmarks.engine [--rows fewshot,letters] [--repeat 3] [--questions 40] …

Rows: fewshot letters zeroshot generation rolling (against lm-eval), adapters second floor memory
growth again (evalkit alone); with --device cuda also those of large models, and the files are
engine-gpu.json and engine-gpu.md. A later run of some rows replaces only those. --resume goes on
where a run of the same code in this checkout was stopped, by what it noted in build/bench; what the
repository says was measured elsewhere is measured anew. --page renders the page from the JSON and
measures nothing. The exit code is 1 where a row failed or misses what it must reach.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from benchmarks.engine.bench import Bench, NotRun, Sizes
from benchmarks.engine.page import missed, page, shown, table
from benchmarks.engine.results import Results, place_of
from benchmarks.engine.rows import BOTH, BY_KEY, DType, Row
from benchmarks.engine.tools import RunFailed, Tools
from benchmarks.machine import vector_extensions

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
RECIPE = "examples/rednote/qlora.yaml"
NOTED = Path("build/bench")
"""What was measured in this checkout; not in the repository."""


def parser() -> argparse.ArgumentParser:
    """The options; every size can be made smaller for a slow machine."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--rows", help="these rows only, separated by commas")
    add("--dtype", help="float32, bfloat16 or both, separated by a comma")
    add("--repeat", type=int, default=1, help="times each process is run; medians count")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=2, help="threads of each process")
    add("--questions", type=int, default=200, help="of fewshot and of the rows that use its work")
    add("--letters", type=int, default=200, help="questions of letters")
    add("--second", type=int, default=600, help="questions of second, which are those of letters")
    add("--zeroshot", type=int, default=200, help="questions of zeroshot")
    add("--prompts", type=int, default=100, help="texts of generation")
    add("--new-tokens", type=int, default=128, help="at most, of each text")
    add("--documents", type=int, default=50, help="of rolling")
    add("--growth", default="100,1000,10000,40000", help="how many requests; three or more")
    add("--again", type=int, default=10_000, help="samples of again")
    add("--batch", default="search", help="lm-eval's batch size, instead of searching for it")
    add("--search", type=int, default=32, help="requests of each trial of it; of texts all")
    add("--data", type=Path, default=Path("../shared/data/cmmlu"), help="folder of CMMLU")
    add("--adapter", type=Path, help=f"a trained adapter; else {RECIPE} is trained (not timed)")
    add("--keep", type=Path, help="leave all that was run in this folder")
    add("--output", type=Path, default=Path("docs/results"), help="where JSON and page go")
    add("--resume", action="store_true", help="leave what this checkout and code measured before")
    add("--page", action="store_true", help="only render the page from the JSON")
    return made


def main() -> None:
    """Measure the rows, each written as soon as it is done, then render the page."""
    options = parser().parse_args()
    name = "engine" if options.device == "cpu" else "engine-gpu"
    results = Results.read(options.output / f"{name}.json")
    noted = Results.read(NOTED / f"{name}.json")
    failed = False
    rows = _rows(options)
    pairs = [(row, dtype) for row in rows for dtype in row.dtypes]
    done: list[tuple[Row, DType]] = []
    if not options.page:
        with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as place:
            done, failed = _measure_all(options, results, noted, rows, Path(place).resolve())
    rendered = page(results, options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{name}.md").write_text(rendered, encoding="utf-8")
    print("\n".join(table(results, pairs)))
    short = missed(results, done)
    for line in short:
        print(f"missed: {line}")
    sys.exit(1 if failed or short else 0)


def _rows(options: argparse.Namespace) -> list[Row]:
    known = shown(options.device)
    if not options.rows:
        return known
    wanted = [key.strip() for key in options.rows.split(",")]
    names = [row.key for row in known]
    if unknown := [key for key in wanted if key not in names]:
        sys.exit(f"No row {unknown[0]!r} on {options.device}. There are: {', '.join(names)}.")
    return [BY_KEY[key] for key in wanted]


def _dtypes(options: argparse.Namespace) -> dict[DType, str]:
    """Every dtype, with the reason why it is left out; empty for those that are measured."""
    if options.dtype:
        wanted = options.dtype.split(",")
        if unknown := [one for one in wanted if one not in BOTH]:
            sys.exit(f"--dtype is float32, bfloat16 or both, not {unknown[0]!r}.")
        return {one: "" if one in wanted else "not asked for with --dtype" for one in BOTH}
    fast = options.device != "cpu" or "avx512_bf16" in vector_extensions()
    reason = "" if fast else "this processor has no avx512_bf16: bfloat16 is slow on it"
    return {"float32": "", "bfloat16": reason}


def _measure_all(
    options: argparse.Namespace, results: Results, noted: Results, rows: list[Row], work: Path
) -> tuple[list[tuple[Row, DType]], bool]:
    """Every row in every dtype: those that were measured, and whether one failed, which does not
    stop the rest.

    What is measured is put in the results and `noted`, by which a later process goes on.
    """
    dtypes = _dtypes(options)
    work.mkdir(parents=True, exist_ok=True)
    bench = _bench(options, work)
    place, asked = place_of(options.device, options.threads), _asked(options)
    done: list[tuple[Row, DType]] = []
    failed = False
    for row, dtype in _pairs(rows, list(dtypes)):
        if dtypes[dtype]:
            results.leave_out(row.key, dtype, dtypes[dtype])
            continue
        if options.resume and noted.is_current(row.key, dtype, place, asked):
            results.adopt(noted, row.key, dtype)
            print(f"{row.key}, {dtype}: measured already", flush=True)
            done.append((row, dtype))
            continue
        print(f"{row.key}, {dtype}", flush=True)
        try:
            record = bench.measure(row, dtype)
        except NotRun as reason:
            results.leave_out(row.key, dtype, str(reason))
            print(f"  not run: {reason}", flush=True)
        except RunFailed as error:
            failed = True
            for each in (results, noted):
                each.fail(row.key, dtype, str(error))
            print(f"  {error}", flush=True)
        else:
            results.put(row.key, dtype, record, place)
            noted.put(row.key, dtype, {**record, "asked": asked}, place)
            print(f"  {record['value']:.3g} {row.unit}", flush=True)
            done.append((row, dtype))
    return done, failed


def _asked(options: argparse.Namespace) -> str:
    """What a record's numbers hang on beside the code and the machine."""
    others = {name: getattr(options, name) for name in ("repeat", "batch", "data", "adapter")}
    told = {**asdict(_sizes(options)), **others}
    return " ".join(f"{name}={value}" for name, value in told.items())


def _pairs(rows: list[Row], dtypes: list[DType]) -> Iterator[tuple[Row, DType]]:
    for dtype in dtypes:
        for row in rows:
            if dtype in row.dtypes:
                yield row, dtype


def _bench(options: argparse.Namespace, work: Path) -> Bench:
    """The model found, the adapter trained: what none of the rows times."""
    tools = Tools(work=work, threads=options.threads)
    base = _fetched()
    adapter = options.adapter.resolve() if options.adapter else _trained(tools)
    return Bench(
        tools=tools,
        sizes=_sizes(options),
        repeats=options.repeat,
        device=options.device,
        data=options.data,
        batch=options.batch,
        base=base,
        adapter=adapter,
    )


def _sizes(options: argparse.Namespace) -> Sizes:
    return Sizes(
        questions=options.questions,
        letters=options.letters,
        second=options.second,
        zeroshot=options.zeroshot,
        prompts=options.prompts,
        new_tokens=options.new_tokens,
        documents=options.documents,
        search=options.search,
        again=options.again,
        growth=tuple(int(each) for each in options.growth.split(",")),
    )


def _fetched() -> Path:
    """Where the model is. Fetched in a process of its own: converting it would load torch here."""
    from evalkit.models.weights import find_model

    subprocess.run([sys.executable, "-m", "evalkit", "fetch", "--quiet", MODEL], check=True)
    return find_model(MODEL, offline=True).resolve()


def _trained(tools: Tools) -> Path:
    folder = tools.place("train")
    print(f"training {RECIPE} (not timed)", flush=True)
    home = tools.fresh_home(folder)
    command = ["train", RECIPE, "--fresh", "--set", f"output={folder / 'run'}"]
    tools.evalkit(command, home, folder / "log.txt")
    return folder / "run" / "adapter"


if __name__ == "__main__":
    main()
