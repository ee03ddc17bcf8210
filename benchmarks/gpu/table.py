"""The figures as Markdown, for a page, and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.gpu.comparison import TOLERANCE, Pair, StageFigures
from benchmarks.gpu.device import Device
from uae.errors import UaeError
from uae.planning.plan import Plan
from uae.replacement import replaced_file

FORMAT = 1
BEGIN, END = "<!-- gpu: written by benchmarks.gpu -->", "<!-- gpu: end -->"
_GIB, _TERA = 2**30, 1e12
_PACKAGES = ("torch", "transformers", "diffusers", "peft")

Row = dict[str, str | None]


def markdown(
    plan: Plan, stages: Sequence[StageFigures], device: Device | None, command: str
) -> str:
    """Return the tables with what they hold for."""
    parts = [*_head(plan, device, command), "", *_rows([_stage_row(stage) for stage in stages])]
    parts += ["", *_rows([row for stage in stages for row in _phase_rows(stage)])]
    return "\n".join([*parts, *_failures(stages)])


def write_between_marks(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        UaeError: If the page lacks a mark.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UaeError(f"{page} has no lines {BEGIN!r} and {END!r}: put them where the table goes")
    with replaced_file(page) as fresh:
        fresh.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def content(
    plan: Plan, stages: Sequence[StageFigures], device: Device | None, command: str
) -> dict[str, Any]:
    """Return all of it for a JSON file."""
    return {
        "format": FORMAT,
        "command": command,
        "machine": {
            "processor": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "device": device and asdict(device),
        "stages": {stage.name: _stage_content(stage) for stage in stages},
        "plan": plan.model_dump(mode="json"),
    }


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Write readable JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _stage_content(stage: StageFigures) -> dict[str, Any]:
    pairs = {
        name: asdict(pair) | {"deviation": pair.deviation, "is_outside": pair.is_outside}
        for name, pair in stage.pairs().items()
    }
    return {
        "compared": pairs,
        "fraction": stage.fraction,
        "share_of_bfloat16_rate": stage.share,
        "decoder_share_of_bfloat16_rate": stage.decoder_share,
        "phases": [asdict(phase) for phase in stage.phases],
        "targets": [asdict(found) | {"met": found.is_met} for found in stage.targets()],
        "found": stage.found,
    }


def _head(plan: Plan, device: Device | None, command: str) -> list[str]:
    if device is None:
        return [
            f"**Nothing of this is measured.** Predictions of `uae plan` for `{plan.recipe}` on "
            f"{plan.gpu}, by `{command}`. Expected: at {plan.fraction:.0%} of the GPU's rates."
        ]
    if not device.is_gpu:
        where = f"Dry run on a CPU ({device.name}), with tiny models: these numbers mean nothing."
    else:
        where = f"`{plan.recipe}` on {device.name}, driver {device.driver}, CUDA {device.cuda}."
    lines = [
        f"{where} By `{command}`, torch {version('torch')}. Square bfloat16 matrices are "
        f"multiplied at {device.flops / _TERA:.3g} TFLOP/s at best, and memory is copied at "
        f"{device.bytes_per_second / _TERA:.3g} TB/s (read and written): shares are of these. "
        f"Expected: at {plan.fraction:.0%} of the rates of {plan.gpu}. In brackets: how far off "
        f"the prediction is; bold where it is more than {TOLERANCE:.0%}."
    ]
    if not device.is_gpu:
        lines.append("Memory is not measured on a CPU.")
    return lines


def _stage_row(stage: StageFigures) -> Row:
    row: Row = {
        "stage": f"`{stage.name}`",
        "update: floor": _seconds(stage.plan.update_floor_seconds),
        "expected": _seconds(stage.plan.update_seconds),
        "measured": _compared(stage.seconds, _seconds),
        "pictures/s: expected": _number(stage.plan.rollouts_per_second),
        "pictures/s: measured": _compared(stage.rollouts_per_second, _number),
        "GiB: planned": _gib(stage.plan.memory_bytes),
        "GiB: measured": _compared(stage.bytes, _gib),
        "reserved": _if(stage.reserved_bytes, _gib),
        "before and between updates": _if(stage.between_bytes, _gib),
        "main memory": _if(stage.found and stage.found.get("main_memory_bytes"), _gib),
        "share of the nominal rates": _if(stage.fraction, _percent),
        "of the bfloat16 rate": _if(stage.share, _percent),
        "rollout and training differ by": _gaps(stage),
    }
    return row


def _phase_rows(stage: StageFigures) -> list[Row]:
    rows: list[Row] = [
        {
            "stage": f"`{stage.name}`",
            "phase": phase.name,
            "TFLOP": _number(phase.flops / _TERA) if phase.flops else "",
            "floor": _if(phase.floor_seconds, _seconds),
            "measured": _if(phase.seconds, _seconds),
            "share of the rate": _if(phase.share, _percent),
            "GiB: planned": _if(phase.bytes.planned, _gib),
            "GiB: measured": _compared(phase.bytes, _gib),
        }
        for phase in stage.phases
    ]
    if stage.decoder_share is not None:
        rows.append(
            {
                "stage": f"`{stage.name}`",
                "phase": "decoder forward and backward (draw and train)",
                "share of the rate": _percent(stage.decoder_share),
            }
        )
    return rows


def _failures(stages: Sequence[StageFigures]) -> list[str]:
    failed = {s.name: s.found["error"] for s in stages if s.found and s.found.get("error")}
    return [f"\n`{name}` was not measured: {error}" for name, error in failed.items()]


def _gaps(stage: StageFigures) -> str:
    gaps = (stage.found or {}).get("gaps", {})
    return ", ".join(f"`{name}` {_number(value)}" for name, value in gaps.items())


def _rows(rows: Sequence[Row]) -> list[str]:
    """Return a table without the columns that no row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    kept = [name for name in names if any(row.get(name) for row in rows)]
    lines = [f"| {' | '.join(kept)} |", f"|{'---|' * len(kept)}"]
    return lines + [f"| {' | '.join(row.get(name) or '' for name in kept)} |" for row in rows]


def _if(value: Any, form: Any) -> str | None:
    return None if value is None else form(value)


def _compared(pair: Pair, form: Any) -> str | None:
    if pair.measured is None:
        return None
    if pair.deviation is None:
        return str(form(pair.measured))
    text = f"{form(pair.measured)} ({pair.deviation:+.0%})"
    return f"**{text}**" if pair.is_outside else text


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _gib(value: float) -> str:
    return f"{value / _GIB:.2f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"
