"""One update of every stage at full size with random weights, beside what `uae plan` predicts.

    python -m benchmarks.gpu                                   # on a GPU
    python -m benchmarks.gpu --dry-run                         # the same with tiny models, on a CPU
    python -m benchmarks.gpu --plan-only                       # the predictions alone

Weights and pictures are made in --place and used again by the next call. Each stage trains in a
process of its own, by the stage's own function; its first update is not counted.
"""

import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.options import PLACE, read_options
from uae.errors import UaeError


def main(words: list[str] | None = None) -> int:
    """Return the exit code: 0, 1 if a stage failed, 2 if nothing could be measured."""
    from benchmarks.gpu.measuring import run  # imports torch, which the processes do not need

    given = sys.argv[1:] if words is None else words
    options = read_options(given)
    command = shlex.join(["python", "-m", "benchmarks.gpu", *given])
    try:
        if options.dry_run and options.place is None:
            with TemporaryDirectory() as folder:
                return run(options, Path(folder) / "gpu", command)
        return run(options, options.place or PLACE, command)
    except UaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
