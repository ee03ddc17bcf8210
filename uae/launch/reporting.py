"""The exit handler: what a run tells when it is over, however it ended.

The pipeline says only whether it succeeded. Everything else is read from the records in the store.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.launch.location import RunLocation
from uae.recipe_files import parse_recipe
from uae.records import Artifact, step

if TYPE_CHECKING:
    from uae.store.s3 import Store

STEP = "report_run"
USAGE_VARIABLE = "UAE_USAGE"  # file in which `uae run` keeps wall time and peak memory so far
SHOWN_SUFFIXES = {".json", ".jsonl", ".parquet", ".png", ".jpg", ".webp"}
PACKAGES = ("uae", "torch", "transformers", "diffusers", "peft", "open_clip_torch", "kfp")


def run_reporting(run: str, *, succeeded: bool, report: Artifact, numbers: Artifact) -> None:
    """Write the report and metrics.json of a run.

    Args:
        run: The run's location.
        succeeded: Whether every step before this one succeeded.
        report: HTML report.
        numbers: metrics.json.

    Raises:
        StoreError: If the store cannot be read.
        DataError: If a stored result is not valid.
    """
    location = RunLocation.parse(run)
    inputs = {"job": location.job, "succeeded": succeeded}
    outputs = {"report": report, "numbers": numbers}
    with step(STEP, run, inputs=inputs, outputs=outputs) as work:
        with work.imports():
            from uae.export.metrics import write_metrics
            from uae.report.run_report import write_report
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            fail_unfinished(work.store, location.prefix)
            fetch_run(work.store, location.prefix, folder)
            describe_run(folder, location.run_id, succeeded=succeeded)
            write_metrics(folder, Path(numbers.path))
            write_report(folder, Path(report.path))


def fail_unfinished(store: Store, prefix: str) -> None:
    """Mark steps whose record says that they still run: they died without a word."""
    for record in read_records(store, prefix):
        if record["status"] == "running" and record["step"] != STEP:
            message = "ended without a word: killed, or out of memory"
            record["status"] = "failed"
            record["error"] = {"type": "Killed", "message": message, "retryable": True}
            store.put_json(f"{prefix}/steps/{record['step']}.json", record)


def read_records(store: Store, prefix: str) -> list[dict[str, Any]]:
    """Return the record of every step that started, in order of their start."""
    records = [store.get_json(key) for key in store.list(f"{prefix}/steps/")]
    return sorted(records, key=lambda record: str(record["started_at"]))


def fetch_run(store: Store, prefix: str, folder: Path) -> None:
    """Bring records, results and pictures of a run to a folder; models and data stay."""
    for key in store.list(f"{prefix}/"):
        name = key.removeprefix(f"{prefix}/")
        kind, *parts = name.split("/")
        is_result = kind == "artifacts" and "model" not in parts and STEP not in parts
        is_record = kind == "steps" and parts != [f"{STEP}.json"]
        suffix = Path(name).suffix
        if name == "recipe.yaml" or is_record or (is_result and suffix in SHOWN_SUFFIXES):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(store.get_bytes(key))
    _let_export_decide(folder)


def _let_export_decide(folder: Path) -> None:
    """Put the gate's decision as the export found it, perhaps stale, in place of the gate's own."""
    record, artifacts = folder / "steps" / "export_model.json", folder / "artifacts"
    exported = artifacts / "export_model" / "exported" / "gate.json"
    ended = record.is_file() and json.loads(record.read_text("utf-8"))["status"] == "succeeded"
    if ended and exported.is_file():  # else it may be of an execution before this gate's
        shutil.copy(exported, artifacts / "gate" / "decision" / "gate.json")


def describe_run(folder: Path, run_id: str, *, succeeded: bool) -> None:
    """Write run.json beside the fetched records."""
    recipe = folder / "recipe.yaml"
    records = [json.loads(path.read_text("utf-8")) for path in (folder / "steps").rglob("*.json")]
    values = {
        "format": 1,
        "run_id": run_id,
        "recipe_name": parse_recipe(recipe.read_text("utf-8")).name
        if recipe.exists()
        else "unknown",
        "status": "succeeded" if succeeded else "failed",
        "started_at": min((record["started_at"] for record in records), default=None),
        "environment": _environment(),
    } | _usage(records)
    (folder / "run.json").write_text(json.dumps(values, indent=2), encoding="utf-8")


def _usage(records: list[dict[str, Any]]) -> dict[str, Any]:
    kept = Path(os.environ.get(USAGE_VARIABLE, ""))
    if kept.is_file():
        usage: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return usage
    peaks = [record["peak_memory_bytes"] or 0 for record in records]
    return {"wall_seconds": None, "peak_memory_bytes": max(peaks, default=None)}


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        **{package: version(package) for package in PACKAGES},
    }
