"""Where the processes of a world leave files for one another: a shared folder, or a bucket.

Names are relative, with slashes. A file or value appears whole or not at all.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uae.errors import TrainingError
from uae.replacement import replaced_file

if TYPE_CHECKING:
    from uae.store.s3 import Store

HIDDEN = ".writing-"  # begins the names of folders in which one process writes
MANIFEST = "MANIFEST.json"  # the last file of a group, and the first that is deleted


class Area(Protocol):
    """Files that all processes see."""

    def put_file(self, name: str, path: Path) -> None:
        """Take over a local file, which is gone afterwards."""

    def put_json(self, name: str, value: Any) -> None:
        """Write a value."""

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a local file, which may be a new one below `folder`.

        Raises:
            TrainingError: If there is none.
            StoreError: If the store fails.
        """

    def names(self) -> list[str]:
        """Return the names of all files."""

    def delete(self, name: str) -> None:
        """Delete a file or everything below a name, its manifest first."""


class FolderArea:
    """A folder that all processes see, as on one machine or a shared file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_file(self, name: str, path: Path) -> None:
        """Move the file into the folder, by one rename where both are on one disk."""
        final = self._folder / name
        final.parent.mkdir(parents=True, exist_ok=True)
        _sync(path)
        shutil.move(path, final)

    def put_json(self, name: str, value: Any) -> None:
        """Write a value that a crash of the machine does not undo."""
        final = self._folder / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(final) as partial:
            partial.write_text(json.dumps(value), encoding="utf-8")
            _sync(partial)
        _sync(final.parent)

    def fetch(self, name: str, folder: Path) -> Path:  # noqa: ARG002
        """Return the file where it is."""
        path = self._folder / name
        if not path.is_file():
            raise TrainingError(f"{path} is missing: remove the checkpoint {path.parent}")
        return path

    def names(self) -> list[str]:
        """Return the names of all files, but those that a process is still writing."""
        found = []
        for place, folders, files in os.walk(self._folder, onerror=_raise_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
            found += [Path(place, name).relative_to(self._folder).as_posix() for name in files]
        return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with its manifest first; then folders that are left empty."""
        path = self._folder / name
        if path.is_dir():
            (path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if path.parent != self._folder:
            with suppress(OSError):  # others' files are in it
                path.parent.rmdir()


def _sync(path: Path) -> None:
    """Let a file or folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # another process has deleted it meanwhile
        raise error


class StoreArea:
    """Everything below a prefix of a bucket."""

    def __init__(self, store: "Store", prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def put_file(self, name: str, path: Path) -> None:
        """Upload the file, a large one in several parts at a time, and remove it."""
        self._store.put_file(f"{self._prefix}/{name}", path)
        path.unlink()

    def put_json(self, name: str, value: Any) -> None:
        """Write a value."""
        self._store.put_json(f"{self._prefix}/{name}", value)

    def fetch(self, name: str, folder: Path) -> Path:
        """Download the file."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store.get_file(f"{self._prefix}/{name}", path)
        return path

    def names(self) -> list[str]:
        """Return the names of all files."""
        return [key.removeprefix(f"{self._prefix}/") for key in self._store.list(self._prefix)]

    def delete(self, name: str) -> None:
        """Delete an object or everything below a name, its manifest first."""
        self._store.delete(f"{self._prefix}/{name}")
