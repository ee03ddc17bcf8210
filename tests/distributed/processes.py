"""Start the processes of a world, as torchrun does, and wait for all of them."""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 300  # of a test that hangs

_server = multiprocessing.get_context("forkserver")
# Imported once for all tests: the stages, and what an adapter and an optimizer step import late.
_STAGES = ("cold_start", "generation_for_understanding", "understanding_for_generation")
_LATE = ("peft.mapping", "peft.tuners.lora", "torch._dynamo")
_server.set_forkserver_preload([*(f"uae.stages.{stage}" for stage in _STAGES), *_LATE])


class Ended(NamedTuple):
    code: int | None
    output: str


def run_world(
    program: Callable[..., None], size: int, *arguments: object, stopped: int | None = None
) -> list[Ended]:
    """Call a function in `size` processes of a world; return how each ended, by rank.

    torchrun would end the other processes as soon as one has failed; here they end by themselves,
    but for one that is `stopped` and hears no signal: it is killed after the others.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, f"{rank}.txt") for rank in range(size)]
        processes = [
            _server.Process(target=_run, args=(rank, size, port, outputs[rank], program, arguments))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        for rank, process in sorted(enumerate(processes), key=lambda one: one[0] == stopped):
            process.join(0 if rank == stopped else PATIENCE_SECONDS)
            process.kill()
            process.join()
        return [Ended(p.exitcode, o.read_text()) for p, o in zip(processes, outputs, strict=True)]


def _run(
    rank: int, size: int, port: int, output: Path, program: Callable[..., None], arguments: tuple
) -> None:
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in variables.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    program(*arguments)
