"""The exit handler: what a run tells when it is over, however it ended.

The pipeline says only whether it succeeded. Everything else is read from the records in the store.
Whoever is to be told is told also where the store is gone or the report cannot be written.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.launch.announcement import Ending
from uae.launch.ending import (
    REPORTING,
    describe_success,
    main_numbers,
    step_failures,
    wall_seconds,
)
from uae.launch.location import RunLocation, current_job, run_location
from uae.launch.notification import notify
from uae.recipe_files import parse_recipe
from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.store.s3 import Store

STEP = REPORTING
USAGE_VARIABLE = "UAE_USAGE"  # file in which `uae run` keeps wall time and peak memory so far
SHOWN_SUFFIXES = {".json", ".jsonl", ".parquet", ".png", ".jpg", ".webp"}
PACKAGES = ("uae", "torch", "transformers", "diffusers", "peft", "open_clip_torch", "kfp")


def run_reporting(
    run_id: str,
    endpoint: str,
    bucket: str,
    *,
    succeeded: bool,
    message: str,
    ui_url: str,
    report: Artifact,
    numbers: Artifact,
    metrics: MetricsArtifact,
) -> None:
    """Report a run and tell how it ended.

    Args:
        run_id: Name of the run; empty takes the execution's own id.
        endpoint: Address of the object store.
        bucket: Bucket of the run.
        succeeded: Whether every step before this one succeeded.
        message: What the pipeline itself says of a failure.
        ui_url: Address of the Kubeflow UI, for the link; empty for none.
        report: HTML report.
        numbers: metrics.json.
        metrics: Where the run's main numbers are shown.

    Raises:
        StoreError: If the store cannot be read.
        DataError: If a stored result is not valid.
    """
    job = current_job()
    ending = Ending(run_id or job, job, succeeded=succeeded, pipeline_message=message)
    inputs = {"job": job, "succeeded": succeeded}
    outputs = {"report": report, "numbers": numbers}
    run, store = "", None
    try:
        run = run_location(run_id, endpoint, bucket)
        with step(STEP, run, inputs=inputs, outputs=outputs, metrics=metrics) as work:
            store = work.store
            delete_left_jobs(run, store, job)
            work.log_metrics(_report(work, ending, Path(report.path), Path(numbers.path)))
    except Exception as error:
        ending.trouble = f"{type(error).__name__}: {error}"
        if run and store is None:
            delete_left_jobs(run, None, job)
        notify(ending, ui_url, store=store)
        raise
    notify(ending, ui_url, store=store)


def delete_left_jobs(run: str, store: Store | None, job: str) -> None:
    """Delete TrainJobs that steps of this execution have left, if any. It raises nothing."""
    try:
        location = RunLocation.parse(run)
        store = store or location.connect()
        if not store.list(f"{location.prefix}/jobs/"):
            return
        from uae.launch.trainjob import delete_orphans

        for name in delete_orphans(run, store, job):
            print(f"deleted TrainJob {name}, which its step had left")
    except Exception as error:  # the run has ended as it has, and is to be reported
        print(
            f"TrainJobs that are left were not deleted: {type(error).__name__}: {error}; each ends "
            "by itself when no step has followed it for a while"
        )


def _report(work: Step, ending: Ending, report: Path, numbers: Path) -> dict[str, float]:
    """Write report and numbers, put what they say into `ending`, and return the main numbers."""
    with work.imports():
        from uae.export.metrics import write_metrics
        from uae.report.run_report import write_report
    store, prefix = work.store, work.location.prefix
    fail_unfinished(store, prefix, ending.job)
    records = read_records(store, prefix)
    ending.failures = [] if ending.succeeded else step_failures(records, ending.job)
    ending.seconds = wall_seconds(records, ending.job)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fetch_run(store, prefix, folder)
        describe_run(
            folder,
            work.location.run_id,
            succeeded=ending.succeeded,
            message=ending.pipeline_message,
            seconds=ending.seconds,
        )
        found = write_metrics(folder, numbers)
        if ending.succeeded:
            describe_success(ending, records, found)
        write_report(folder, report)
    failed = sum(record["status"] == "failed" for record in records)
    return main_numbers(found) | {"failed_steps": failed, "promoted": bool(ending.promoted)}


def fail_unfinished(store: Store, prefix: str, job: str) -> None:
    """Mark steps whose record says that they still run: they died without a word.

    Args:
        store: The run's store.
        prefix: Of the run.
        job: The execution that is over: steps of another one may be running. Empty where no other
            one lives, or nobody says which is which: every step.
    """
    for record in read_records(store, prefix):
        own = not job or record["job"] == job
        if own and record["status"] == "running" and record["step"] != STEP:
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


def describe_run(
    folder: Path,
    run_id: str,
    *,
    succeeded: bool,
    message: str = "",
    seconds: float | None = None,
) -> None:
    """Write run.json beside the fetched records.

    Args:
        folder: Holds what `fetch_run` brought.
        run_id: The run.
        succeeded: Whether it did.
        message: What the pipeline itself says of a failure.
        seconds: How long this execution took, where nobody keeps that.
    """
    recipe = folder / "recipe.yaml"
    records = [json.loads(path.read_text("utf-8")) for path in (folder / "steps").rglob("*.json")]
    values = {
        "format": 1,
        "run_id": run_id,
        "recipe_name": parse_recipe(recipe.read_text("utf-8")).name
        if recipe.exists()
        else "unknown",
        "status": "succeeded" if succeeded else "failed",
        "message": message,
        "started_at": min((record["started_at"] for record in records), default=None),
        "environment": _environment(),
    } | _usage(records, seconds)
    (folder / "run.json").write_text(json.dumps(values, indent=2), encoding="utf-8")


def _usage(records: list[dict[str, Any]], seconds: float | None) -> dict[str, Any]:
    kept = Path(os.environ.get(USAGE_VARIABLE, ""))
    if kept.is_file():
        usage: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return usage
    peaks = [record["peak_memory_bytes"] or 0 for record in records]
    return {"wall_seconds": seconds, "peak_memory_bytes": max(peaks, default=None)}


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        **{package: known for package in PACKAGES if (known := _version(package))},
    }


def _version(package: str) -> str | None:
    """Return a package's version; the image of this step holds no tensor libraries."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
