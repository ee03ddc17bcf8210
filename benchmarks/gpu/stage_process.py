"""One stage's updates in a process of its own, so that the peaks are this stage's.

    python -m benchmarks.gpu.stage_process SETTINGS RESULT

SETTINGS is a JSON file that `benchmarks.gpu` writes. Memory that the allocator has split stays as
training itself would have it: nothing is set that a step of a run does not set.
"""

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu.configuration import shortened
from benchmarks.gpu.timeline import Timeline
from benchmarks.gpu.watching import START, AllMeasured, Watched, watching
from uae.models.bundle import resolve_base
from uae.recipe_files import load_recipe
from uae.training.numerics import training_device

NUM_WARM_UP = 1  # first calls compile and allocate, and compare with the reference


def measure(stage: str, recipe: Path, data: Path, num_updates: int, trace: Path | None) -> Any:
    """Train a stage for a few updates, and return what was measured, ready for JSON.

    Args:
        stage: Its name.
        recipe: File of the whole recipe, on weights that are there.
        data: As the stage is given it.
        num_updates: To be measured; one more comes before them.
        trace: Where the profile of the last update goes.
    """
    total = num_updates + NUM_WARM_UP
    short = shortened(load_recipe(str(recipe)), [stage], total)
    module = import_module(f"uae.stages.{stage}")
    timeline = Timeline(training_device(), START)
    with (
        TemporaryDirectory() as folder,
        watching(timeline, module, trace, total) as watched,
    ):
        try:
            module.train(short, data, resolve_base(short.models.base), Path(folder) / "model")
        except AllMeasured:
            timeline.end()
    return _result(watched, timeline)


def _result(watched: Watched, timeline: Timeline) -> dict[str, Any]:
    peaks = {name: peak._asdict() for name, peak in timeline.peaks.items()}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    return {
        "updates": watched.updates,
        "peaks": peaks if timeline.counts_memory else None,
        "main_memory_bytes": resident,
        "gaps": watched.gaps,
    }


def main() -> None:
    settings, result = map(Path, sys.argv[1:])
    given = json.loads(settings.read_text(encoding="utf-8"))
    trace = given["trace"] and Path(given["trace"])
    places = (Path(given["recipe"]), Path(given["data"]))
    found = measure(given["stage"], *places, given["num_updates"], trace)
    result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
