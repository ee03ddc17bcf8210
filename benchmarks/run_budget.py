"""Where a finished run's seconds and bytes went, beside the starter recipe's budget."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measurement import Measurement

# Seconds on two cores. They add up to less than the whole, which holds the rest: kfp, the store.
BUDGET = {
    "start_run and validate_data": 10,
    "pretrain_decoder and cold_start": 90,
    "generation_for_understanding": 200,
    "understanding_for_generation": 300,
    "Unified-Bench, four times": 60,
    "GenEval and DPG-Bench": 30,
    "gate, export and report": 15,
}
WHOLE_SECONDS = 720
PEAK_GB = 6
OUTSIDE_SHARE = 0.05  # kfp's launcher and executor, processes, the store
IMPORT_SHARE = 0.08


def measure(run: Path) -> Iterator[Measurement]:
    """Read a run's metrics.json."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    spent = _grouped(metrics["seconds"])
    for name, most in BUDGET.items():
        yield Measurement(f"run: {name}", spent[name], "s", at_most=most)
    whole = metrics["wall_seconds"]
    yield Measurement("run: whole", whole, "s", at_most=WHOLE_SECONDS)
    yield Measurement(
        "run: peak memory of all processes", metrics["peak_memory_bytes"] / 1e9, "GB",
        at_most=PEAK_GB,
    )  # fmt: skip
    outside, imports = metrics["outside_steps_seconds"], metrics["import_seconds"]
    yield Measurement("run: outside the steps", outside / whole, "share", at_most=OUTSIDE_SHARE)
    yield Measurement("run: imports", imports / whole, "share", at_most=IMPORT_SHARE)


def _grouped(seconds: Mapping[str, Any]) -> dict[str, float]:
    spent = dict.fromkeys(BUDGET, 0.0)
    groups = {
        "start_run": "start_run and validate_data",
        "validate_data": "start_run and validate_data",
        "pretrain_decoder": "pretrain_decoder and cold_start",
        "cold_start": "pretrain_decoder and cold_start",
        "evaluate_geneval": "GenEval and DPG-Bench",
        "evaluate_dpg_bench": "GenEval and DPG-Bench",
        "gate": "gate, export and report",
        "export_model": "gate, export and report",
        "report_run": "gate, export and report",
    }
    for step, value in seconds.items():
        bench = step.startswith("evaluate_unified_bench/")
        spent["Unified-Bench, four times" if bench else groups.get(step, step)] += value
    return spent
