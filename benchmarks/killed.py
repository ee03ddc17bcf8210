"""Kill a run with -9 in every trained stage, resume it, and compare it with one left alone.

    python -m benchmarks.killed runs/RUN_ID       # a finished run

The reference says recipe and data, and how long each stage takes; the moment in a stage is
drawn at random. Who is killed goes round: the step alone, the command that runs it, the whole
process group. Exit code 0 means that every weight of the exported model is the reference's, to the
bit, that no process was left after a kill, and that finished steps were not made again.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from uae.export.run_folder import TRAINED_STAGES

PATIENCE = 30.0  # seconds until every process of a killed run is gone
_START_SECONDS = 4.0  # of imports, when nothing is lost by a kill


class Victim:
    """A run in a process group of its own, and what can be killed of it."""

    def __init__(self, root: Path, options: list[str]) -> None:
        self.root, self._options = root, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def run_id(self) -> str:
        return next(self.root.glob("*/request.json")).parent.name

    @property
    def log(self) -> str:
        return (self.root / self.run_id / "logs/pipeline.log").read_text(encoding="utf-8")

    def start(self) -> None:
        """Start the run, or resume it."""
        resumed = any(self.root.glob("*/request.json"))
        options = ["--resume", self.run_id] if resumed else self._options
        command = [str(Path(sys.executable).with_name("uae")), "run", *options]
        with (self.root / "console.txt").open("ab") as console:
            self._process = subprocess.Popen(
                [*command, "--run-root", str(self.root)],
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def wait_for(self, stage: str) -> psutil.Process:
        """Return the process that trains the stage, once there is one."""
        while self.ended() is None:
            for process in self.processes():
                words = process.cmdline()
                if "kfp.dsl.executor_main" in words and stage in words:
                    return process
            time.sleep(0.1)
        sys.exit(f"the run ended before {stage}; see {self.root / 'console.txt'}")

    def processes(self) -> list[psutil.Process]:
        """Return every live process with the root on its command line."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = " ".join(process.info["cmdline"] or ())
            alive = process.info["status"] != psutil.STATUS_ZOMBIE
            if alive and process.pid != os.getpid() and str(self.root) in words:
                found.append(process)
        return found

    def kill(self, kill: Callable[[int, int], None]) -> float:
        """Kill the command or its group, and return after how long no process was left."""
        assert self._process is not None
        kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        start = time.monotonic()
        while left := self.processes():
            if time.monotonic() - start > PATIENCE:
                sys.exit(f"processes were left after {PATIENCE:.0f} s: {left}")
            time.sleep(0.1)
        return time.monotonic() - start

    def ended(self) -> int | None:
        """Return the exit code, None while it runs."""
        assert self._process is not None
        return self._process.poll()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reference", type=Path, help="folder of a finished run, left alone")
    parser.add_argument("--root", type=Path, default=Path("runs/killed"), help="a new folder")
    parser.add_argument("--draw", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    root = options.root.resolve()
    if root.exists():
        parser.error(f"{root} exists: remove it or give another --root")
    root.mkdir(parents=True)
    request = json.loads((options.reference / "request.json").read_text(encoding="utf-8"))
    metrics = json.loads((options.reference / "metrics.json").read_text(encoding="utf-8"))
    (root / "recipe.yaml").write_text(request["recipe"], encoding="utf-8")
    victim = Victim(root, ["--recipe", str(root / "recipe.yaml"), "--data", request["data"]])
    try:
        _kill_in_every_stage(victim, metrics["seconds"], random.Random(options.draw))
    finally:
        if victim.ended() is None:
            victim.kill(os.killpg)
    return _compare(options.reference / "model", root / victim.run_id / "model")


def _kill_in_every_stage(victim: Victim, seconds: dict[str, float], draw: random.Random) -> None:
    victim.start()
    for number, stage in enumerate(TRAINED_STAGES):
        step = victim.wait_for(stage)
        moment = draw.uniform(_START_SECONDS, max(_START_SECONDS, 0.9 * seconds[stage]))
        time.sleep(moment)
        who = ("step", "command", "group")[number % 3]
        print(f"{stage}: {who} killed after {moment:.0f} of {seconds[stage]:.0f} s", flush=True)
        if who == "step":
            step.kill()  # the run tries it again
            continue
        after = victim.kill(os.kill if who == "command" else os.killpg)
        finished = re.findall(r'"succeeded", "step": "([^"]+)"', victim.log)
        print(f"  nothing left {after:.1f} s later; finished: {', '.join(finished)}", flush=True)
        victim.start()
    while victim.ended() is None:
        time.sleep(1)
    log = victim.log
    again = [s for s in TRAINED_STAGES if log.count(f'"succeeded", "step": "{s}"') > 1]
    if victim.ended() != 0 or again:
        sys.exit(f"exit code {victim.ended()}; made again: {again}; see {victim.root}")


def _compare(reference: Path, model: Path) -> int:
    names = sorted(path.relative_to(reference) for path in reference.rglob("*.safetensors"))
    differing = [n for n in names if (reference / n).read_bytes() != (model / n).read_bytes()]
    print(f"{len(names)} weight files, {len(differing)} differ: {[str(n) for n in differing]}")
    return 1 if differing or not names else 0


if __name__ == "__main__":
    sys.exit(main())
