"""One measured number, its target, and how a table and a JSON file show it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """A number with its unit; `at_most` or `at_least` where a target was set."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.value >= self.at_least if self.at_least is not None else None


def print_table(measurements: Sequence[Measurement]) -> None:
    table = Table("measured", "value", "unit", "target", "met")
    for found in measurements:
        met = {None: "", True: "yes", False: "NO"}[found.is_met]
        table.add_row(found.name, f"{found.value:.4g}", found.unit, found.target, met)
    Console().print(table)


def write_json(path: Path, measurements: Sequence[Measurement], settings: dict[str, Any]) -> None:
    """Write the numbers with the machine and the versions that they belong to."""
    content = {
        "format": FORMAT,
        "settings": settings,
        "machine": {
            "processor": _processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg()[0],
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "diffusers", "kfp")},
        },
        "measurements": [{**asdict(found), "met": found.is_met} for found in measurements],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
