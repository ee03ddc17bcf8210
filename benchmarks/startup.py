"""What a user waits for before anything is computed: imports, `uae --help`, compilation."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from measurement import Measurement

_MODULES = (
    "uae.cli",
    "kfp",
    "torch",
    "great_expectations",
    "uae.data.validate",
    "uae.models.autoencoder",
    "uae.rewards.reconstruction",
    "uae.stages.generation_for_understanding",
)
_REPEATS = 3


def measure() -> Iterator[Measurement]:
    """Time every command in fresh processes; the fastest of three counts, files being warm."""
    uae = str(Path(sys.executable).with_name("uae"))
    yield Measurement("uae --help", _fastest([uae, "--help"]), "s", at_most=0.5)
    with TemporaryDirectory() as folder:
        package = str(Path(folder) / "uae.yaml")
        command = [uae, "compile", "--out", package]
        yield Measurement("uae compile", _fastest(command), "s", at_most=3)
    bare = _fastest([sys.executable, "-c", "pass"])
    for module in _MODULES:
        seconds = _fastest([sys.executable, "-c", f"import {module}"]) - bare
        yield Measurement(f"import {module}", seconds, "s")


def _fastest(command: Sequence[str]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return min(seconds)
