"""One process at a time works on a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uae.errors import RunError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder until the block ends; the kernel lets go of it if we are killed.

    Raises:
        RunError: If another process holds it, naming that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunError(
                f"run {folder.name} is held by process {holder}: wait for its end, or stop it "
                f"with `kill {holder}`"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)
