"""Files and folders that take their place only when they are whole.

Whoever is cut off while writing, by a full disk or a kill, leaves what was there before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; it takes `path`'s place only when all went well."""
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_atomically(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes `folder`'s place only when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for path in partial.rglob("*.safetensors"):
            path.chmod(0o644)  # the library makes them private, and steps may run as other users
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.partial"
