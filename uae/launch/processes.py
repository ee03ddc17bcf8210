"""The processes below a command that runs a pipeline: ending them, and what they use."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from uae.replacement import replaced_file

SAMPLE_SECONDS = 0.5
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends first, such as a shell's child.

    Without it a step could not be found any more once Ctrl-C has ended the shell above it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def step_processes(spared: int | None) -> list[psutil.Process]:
    """Return all descendants but the spared process, the store's server, and what is below it."""
    found = psutil.Process().children(recursive=True)
    kept = {spared}
    for process in found:  # parents come before their children
        if process.pid not in kept and _parent(process) in kept:
            kept.add(process.pid)
    return [process for process in found if process.pid not in kept and is_alive(process.pid)]


def is_alive(pid: int) -> bool:
    """Say whether a process exists and has not ended."""
    try:
        alive: bool = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return alive


def _parent(process: psutil.Process) -> int | None:
    try:
        pid: int | None = process.ppid()
    except psutil.NoSuchProcess:
        return None
    return pid


class Usage:
    """Wall time and peak memory of this process and all below it, kept in a file.

    Memory is the largest sum of resident sizes seen; a page shared by two processes counts twice.
    A resumed run adds its time to what the file says and keeps the larger peak. While the file
    cannot be written, as on a full disk, it stays as it is: no run ends for a sample's sake.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        before: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self._started: float = time.monotonic() - before.get("wall_seconds", 0.0)
        self.peak_memory_bytes: int = before.get("peak_memory_bytes", 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="usage", daemon=True)

    @property
    def wall_seconds(self) -> float:
        """Time since the start, with that of earlier executions."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            total = 0
            for process in [me := psutil.Process(), *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue  # it ended since we listed it
            self.peak_memory_bytes = max(self.peak_memory_bytes, total)
            self._write()

    def _write(self) -> None:
        values = {
            "wall_seconds": round(self.wall_seconds, 1),
            "peak_memory_bytes": self.peak_memory_bytes,
        }
        with contextlib.suppress(OSError), replaced_file(self._path) as fresh:
            fresh.write_text(json.dumps(values), encoding="utf-8")
