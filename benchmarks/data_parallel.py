"""Seconds of one update with one process and with several, one thread each.

    python -m benchmarks.data_parallel --updates 5 --processes 1 2

The real stage functions run under torchrun on the real model and data; only the number of updates
and of threads is changed, and held-out measurements come at the ends alone. The first update is
not counted. In brackets: a process's processor time of an update, the largest of all processes,
which other work on the machine changes less. The machine needs a core for each process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)
_NUM_WARM_UP = 1  # first calls compile and allocate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="starter", help="name or .yaml file")
    parser.add_argument("--data", default="starter", help="data set, as for `uae run`")
    parser.add_argument("--updates", type=int, default=5, help="updates timed for each stage")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # in torchrun's processes
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments, arguments.train)
        return
    with TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Print a line for each stage."""
    from uae.data.validate import validate_data
    from uae.recipe_files import load_recipe

    validate_data(load_recipe(arguments.recipe), arguments.data, folder / "data", folder / "d.html")
    counts = arguments.processes
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print("seconds per update".ljust(30), *(f"{count} processes".rjust(16) for count in counts))
    seconds = {count: dict(timed(arguments, folder, count)) for count in counts}
    for stage in arguments.stages:
        shown = [
            f"{wall:.2f} ({processor:.2f})"
            for wall, processor in (seconds[count][stage] for count in counts)
        ]
        print(stage.ljust(30), *(text.rjust(16) for text in shown))


def timed(
    arguments: argparse.Namespace, folder: Path, count: int
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Train in `count` processes; yield each stage's median seconds and processor time."""
    given = ["--recipe", arguments.recipe, "--updates", str(arguments.updates)]
    given += ["--processes", str(count), "--stages", *arguments.stages, "--train", str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *torchrun, "-m", "benchmarks.data_parallel", *given]
    subprocess.run(command, check=True, stderr=subprocess.PIPE)
    for stage in arguments.stages:
        lines = (folder / f"{stage}-{count}" / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        wall = statistics.median(row["seconds"] for row in rows[_NUM_WARM_UP:])
        files = (folder / f"{stage}-{count}").glob("processor-*.json")
        processor = max(statistics.median(json.loads(file.read_text())) for file in files)
        yield stage, (wall, processor)


def train(arguments: argparse.Namespace, folder: Path) -> None:
    """Be one of the processes."""
    from uae.models.bundle import resolve_base
    from uae.recipe_files import load_recipe
    from uae.training.distribution import join_world

    (count,) = arguments.processes
    recipe = shortened(load_recipe(arguments.recipe), arguments.updates, arguments.stages)
    base = resolve_base(recipe.models.base)
    with join_world(count) as world:
        for stage in arguments.stages:
            out, log_dir = folder / f"{stage}-model", folder / f"{stage}-{count}"
            module = import_module(f"uae.stages.{stage}")
            with processor_times() as times:
                module.train(recipe, folder / "data", base, out, log_dir=log_dir)
            (log_dir / f"processor-{world.rank}.json").write_text(json.dumps(times))


@contextmanager
def processor_times() -> Iterator[list[float]]:
    """Collect the processor time of each update but the first, held-out measurements left out."""
    from uae.training.loop import Run

    plain_steps, plain_record = Run.steps, Run.record
    times: list[float] = []
    started = 0.0

    def steps(run: Run) -> Iterator[int]:
        nonlocal started
        for step in plain_steps(run):
            started = time.process_time()
            yield step

    def record(run: Run, *arguments: Any, **settings: Any) -> None:
        if run.next_step >= _NUM_WARM_UP:
            times.append(time.process_time() - started)
        plain_record(run, *arguments, **settings)

    with mock.patch.object(Run, "steps", steps), mock.patch.object(Run, "record", record):
        yield times


def shortened(recipe: Any, num_updates: int, stages: Sequence[str]) -> Any:
    """Return the recipe with few updates and one thread."""
    values = recipe.model_dump(mode="json")
    values["models"]["num_threads"] = 1
    for stage in stages:
        count = num_updates + _NUM_WARM_UP
        values[stage] |= {"num_updates": count, "checkpoint_every": count}
        if "early_stopping" in values[stage]:
            values[stage]["early_stopping"] = None
    return type(recipe).model_validate(values)


if __name__ == "__main__":
    main()
