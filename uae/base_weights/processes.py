"""Several processes on one machine that train one model together."""

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

PATIENCE = timedelta(hours=1)  # one process measures while the others wait


def in_processes(count: int, work: Callable[[int, Path], None], folder: Path) -> None:
    """Call `work(rank, folder)` in `count` processes of one thread each, on gloo.

    Raises:
        ProcessRaisedException: If one failed; the others are ended.
    """
    with tempfile.TemporaryDirectory() as meeting:
        address = f"file://{meeting}/rendezvous"
        arguments = (count, address, work, folder)
        spawn(_run, arguments, nprocs=count)  # type: ignore[no-untyped-call]


def _run(
    rank: int, count: int, address: str, work: Callable[[int, Path], None], folder: Path
) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=count, timeout=PATIENCE
    )
    try:
        work(rank, folder)
    finally:
        distributed.destroy_process_group()


def end_with_parent() -> None:
    """Watch the process that started this one, and end when it is gone, killed with -9 even."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
