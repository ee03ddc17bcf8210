"""What a run on this machine leaves in its folder, and what the person is told at its end."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uae.launch.events import Event
from uae.launch.processes import Usage
from uae.launch.reporting import STEP
from uae.replacement import replaced_atomically, replaced_file
from uae.store.s3 import Store


def collect(store: Store, folder: Path) -> None:
    """Bring what the person came for from the store into the run's folder."""
    artifacts = f"runs/{folder.name}/artifacts"
    for name, key in {
        "report.html": f"{artifacts}/{STEP}/report",
        "metrics.json": f"{artifacts}/{STEP}/numbers",
        "data-report.html": f"{artifacts}/validate_data/report",
    }.items():
        if store.exists(key):
            with replaced_file(folder / name) as fresh:
                store.get_file(key, fresh)
    exported = f"{artifacts}/export_model/exported"
    if store.exists(f"{exported}/MANIFEST.json"):
        with replaced_atomically(folder / "model") as fresh:
            store.get_folder(exported, fresh)


def finish_metrics(folder: Path, usage: Usage, records: list[dict[str, Any]]) -> None:
    """Put what is known only at the very end into metrics.json."""
    path = folder / "metrics.json"
    if not path.is_file():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    values["wall_seconds"] = round(usage.wall_seconds, 1)
    values["peak_memory_bytes"] = usage.peak_memory_bytes
    for record in records:
        if record["seconds"] is not None:
            values["seconds"][record["step"]] = record["seconds"]
    values["import_seconds"] = round(sum(record["import_seconds"] for record in records), 1)
    inside = sum(values["seconds"].values())
    values["outside_steps_seconds"] = round(values["wall_seconds"] - inside, 1)
    with replaced_file(path) as fresh:
        fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def explain_failure(
    folder: Path, records: Sequence[Mapping[str, Any]], event: Event | None, otherwise: str
) -> str:
    """Say which steps failed and why, and how to go on.

    Args:
        folder: The run's folder.
        records: Records of all steps that started.
        event: The last failure that a step told of; counts where no record could be written.
        otherwise: What is said if there is neither.
    """
    failed = {r["step"]: r["error"]["message"] for r in records if r["status"] == "failed"}
    if not failed and event is not None:
        failed = {event.step: event.facts["error"]["message"]}
    lines = [f"{step} failed: {message}" for step, message in failed.items()] or [otherwise]
    lines.append(f"log: {folder / 'logs' / 'pipeline.log'}")
    if (folder / "report.html").is_file():
        lines.append(f"report: {folder / 'report.html'}")
    lines.append(how_to_resume(folder))
    return "\n".join(lines)


def how_to_resume(folder: Path) -> str:
    """Return the command that goes on with a run, as it can be typed where this one was."""
    command = ["run", "--resume", folder.name, "--run-root", str(folder.parent)]
    return f"resume with: {shlex.join([*_program(), *command])}"


def _program() -> list[str]:
    """Return how this program was started: `uae` alone may not be on the PATH."""
    started = sys.argv[0]
    return [started] if Path(started).name == "uae" else [sys.executable, "-m", "uae.cli"]


def summarise(folder: Path) -> str:
    """Say what a finished run reached, and where its report is."""
    values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lines = []
    for stage, found in values["stages"].items():
        bench = found["unified_bench"]
        low, high = bench["interval"]
        scores = f"{bench['overall']:6.2f}  [{low:.2f}, {high:.2f}]"
        lines.append(f"  Unified-Bench after {stage:<30}{scores}")
    gibibytes = values["peak_memory_bytes"] / 2**30
    gate = values["gate"]
    lines.append(f"  gate: {gate['decision']}")
    if gate["decision"] == "reject":
        lines += [f"    {reason}" for reason in gate["reasons"]]
    wall = values["wall_seconds"]
    lines.append(
        f"  {wall:.0f} s, of that {values['import_seconds'] / wall:.1%} imports and "
        f"{values['outside_steps_seconds'] / wall:.1%} outside the steps (kfp, processes, store); "
        f"{gibibytes:.1f} GiB at most"
    )
    lines.append(f"model:  {folder / 'model'}")
    lines.append(f"report: {folder / 'report.html'}")
    return "\n".join(lines)
