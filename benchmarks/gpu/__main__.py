"""One update of every stage at full size with random weights, beside what `uae plan` predicts.

    python -m benchmarks.gpu                                   # on a GPU
    python -m benchmarks.gpu --dry-run                         # the same with tiny models, on a CPU
    python -m benchmarks.gpu --plan-only                       # the predictions alone

Weights and pictures are made in --place and used again by the next call. Each stage trains in a
process of its own, by the stage's own function; its first update is not counted.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.measuring import Options, run
from uae.errors import UaeError
from uae.planning.gpus import DEFAULT_GPU, GPUS
from uae.planning.planner import STAGES

RECIPE = "uae-qwen2.5-vl-3b-sd3.5-large-one-gpu"
PLACE = Path("runs/gpu")


def main(words: list[str] | None = None) -> int:
    given = sys.argv[1:] if words is None else words
    options = _parser().parse_args(given)
    command = shlex.join(["python", "-m", "benchmarks.gpu", *given])
    names = [field for field in Options.__dataclass_fields__ if field not in ("command", "place")]
    settings = {name: getattr(options, name) for name in names}
    try:
        if options.dry_run and options.place is None:
            with TemporaryDirectory() as folder:
                return run(Options(**settings, command=command, place=Path(folder) / "gpu"))
        return run(Options(**settings, command=command, place=options.place or PLACE))
    except UaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except json.JSONDecodeError as error:
        print(
            f"error: {options.out} is not JSON, so nothing can be added: {error}", file=sys.stderr
        )
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__.split("\n")[0])
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


if __name__ == "__main__":
    sys.exit(main())
