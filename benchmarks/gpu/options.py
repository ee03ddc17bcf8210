"""The options of `python -m benchmarks.gpu`. Imported without torch, by every process it starts."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from uae.models.bundle import Stage
from uae.planning.gpus import DEFAULT_GPU, GPUS

RECIPE = "uae-qwen2.5-vl-3b-sd3.5-large-one-gpu"
PLACE = Path("runs/gpu")
STAGES = tuple(name for name in get_args(Stage) if name != "base")


@dataclass(frozen=True)
class Options:
    """See `--help`."""

    recipe: str
    stages: list[str]
    updates: int
    fraction: float
    condition_tokens: int | None
    profile: str | None
    dry_run: bool
    plan_only: bool
    gpu: str
    place: Path | None  # None: a temporary folder in a dry run, else the usual one
    out: Path
    add: bool
    table: Path | None


def read_options(words: list[str]) -> Options:
    """Return the options of a command line, or end with a message about them."""
    return Options(**vars(_parser().parse_args(words)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu",
        description="Measure every stage on a GPU beside what `uae plan` predicts.",
    )
    parser.add_argument("--recipe", default=RECIPE, help="name or .yaml file; default: %(default)s")
    parser.add_argument(
        "--stages", nargs="*", default=list(STAGES), choices=STAGES, help="default: all"
    )
    parser.add_argument(
        "--updates", type=int, default=3, help="measured of each stage; default: %(default)s"
    )
    parser.add_argument(
        "--fraction",
        type=float,
        default=0.4,
        help="share of the GPU's rates that the plan expects; default: %(default)s",
    )
    parser.add_argument(
        "--condition-tokens", type=int, help="of the decoder's condition; default: as published"
    )
    parser.add_argument("--profile", choices=STAGES, help="also profile an update of this stage")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--dry-run", action="store_true", help="tiny models, on any machine")
    kinds.add_argument("--plan-only", action="store_true", help="measure nothing")
    parser.add_argument(
        "--gpu", choices=GPUS, default=DEFAULT_GPU, help="of --plan-only; default: %(default)s"
    )
    parser.add_argument(
        "--place",
        type=Path,
        help=f"folder for weights and pictures; default: {PLACE}, in a dry run a temporary one",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.json"), help="%(default)s")
    parser.add_argument(
        "--add", action="store_true", help="keep what --out says of stages that are not measured"
    )
    parser.add_argument("--table", type=Path, help="page whose table is replaced")
    return parser
