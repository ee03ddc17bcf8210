"""Several processes on this machine that evaluate one system, each its part of the batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from uae.errors import EvaluationError
from uae.launch.parent import announce_parent

EXIT_INCOMPLETE = 3  # every benchmark ran, but samples have no verdict
POLL_SECONDS = 0.2
STOP_SECONDS = 30


def run_shards(command: Sequence[str], num_processes: int) -> None:
    """Run `uae <command> --shard 0/n` to `(n-1)/n` at once, spread over the GPUs.

    When one of them fails the others are stopped; what they finished is kept.

    Args:
        command: Arguments of the `uae` command.
        num_processes: How many parts.

    Raises:
        EvaluationError: If a process failed, naming it; its own message stands above.
    """
    num_gpus = _count_gpus()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "uae.cli", *command, "--shard", f"{number}/{num_processes}"],
            stdin=subprocess.DEVNULL,
            env=os.environ
            | announce_parent()
            | ({"CUDA_VISIBLE_DEVICES": str(number % num_gpus)} if num_gpus else {}),
        )
        for number in range(num_processes)
    ]
    try:
        _wait(processes)
    finally:
        _stop(processes)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    running = dict(enumerate(processes))
    while running:
        for number, process in list(running.items()):
            try:
                code = process.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            del running[number]
            if code not in (0, EXIT_INCOMPLETE):
                raise EvaluationError(
                    f"process {number} of {len(processes)} ended with exit code {code}; its "
                    f"message stands above. What is done is kept: start the same command again"
                )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
