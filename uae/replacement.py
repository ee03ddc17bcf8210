"""Files and folders that take their place only when they are whole.

Whoever is cut off while writing, by a full disk or a kill, leaves what was there before. What a
killed process left beside it, `.<name>.<pid>.partial` or `.old`, is cleared up by the next writer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

PARTIAL = "partial"  # what is being written
OLD = "old"  # what was there, while the new folder takes its place


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; it takes `path`'s place only when all went well."""
    _clear_up(path)
    partial = _beside(path, PARTIAL)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_atomically(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes `folder`'s place only when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(folder)
    partial, old = _beside(folder, PARTIAL), _beside(folder, OLD)
    partial.mkdir()
    try:
        yield partial
        for path in partial.rglob("*.safetensors"):
            path.chmod(0o644)  # the library makes them private, and steps may run as other users
        if folder.exists():
            folder.rename(old)  # removing it takes long: a kill would leave neither
        partial.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _beside(path: Path, kind: str) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.{kind}"


def _clear_up(path: Path) -> None:
    """Bring back what a killed process had put aside, and remove what it had begun."""
    start = f".{path.name}."
    for left in path.parent.glob(f"{escape(start)}*"):
        pid, _, kind = left.name.removeprefix(start).partition(".")
        if not pid.isdecimal() or kind not in (PARTIAL, OLD) or _is_running(int(pid)):
            continue
        if kind == OLD and not path.exists():
            left.rename(path)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    """Return whether another process has this id."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
