"""Checkpoints: safetensors and JSON in a folder, committed whole or not at all.

A checkpoint holds what the run cannot compute again from the recipe: the trained tensors, the
optimizer's moments, the EMA, the best weights so far and the metrics. No generator is saved, as
every draw is derived from the update's number.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from uae.errors import TrainingError
from uae.training.areas import Area, FolderArea, StoreArea

if TYPE_CHECKING:
    from uae.store.s3 import Store

FORMAT = 1
_PREFIX = "update-"
WRITING = ".writing-"


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint holds."""

    tensors: dict[str, Tensor]  # `<part>/<name>`: parameters, optimizer, ema, best, extra
    values: dict[str, Any]  # JSON: next step, fingerprint, early stopping, metrics

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part without its prefix."""
        start = f"{name}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


class Checkpoints(Protocol):
    """Where checkpoints go. A reader never sees half of one."""

    @property
    def scratch(self) -> Path:
        """Existing local folder in which the next checkpoint is written."""

    def latest(self) -> Path | None:
        """Return a local folder with the newest whole checkpoint, or None."""

    @property
    def area(self) -> Area:
        """The same place, for processes that write together."""

    def commit(self, path: Path, step: int) -> None:
        """Take over the folder at `path` as the checkpoint after `step` updates."""


class LocalCheckpoints:
    """Checkpoints in a local folder; the newest one is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _clear(folder)

    @property
    def scratch(self) -> Path:
        """The folder itself, so that a commit is one rename."""
        return self._folder

    @property
    def area(self) -> Area:
        """The folder, which all processes see."""
        return FolderArea(self._folder)

    def latest(self) -> Path | None:
        """Return the folder of the newest checkpoint, or None."""
        return max(self._folder.glob(f"{_PREFIX}*"), default=None)

    def commit(self, path: Path, step: int) -> None:
        """Rename the written folder into place, then drop older checkpoints."""
        final = self._folder / f"{_PREFIX}{step:08d}"
        if final.exists():
            shutil.rmtree(path)
            return
        path.rename(final)
        sync(self._folder)
        for other in self._folder.glob(f"{_PREFIX}*"):
            if other != final:
                shutil.rmtree(other)


class StoreCheckpoints:
    """Checkpoints below a prefix of an object store; the newest one is kept."""

    def __init__(self, store: "Store", prefix: str, scratch: Path) -> None:
        self._store = store
        self._prefix = prefix.strip("/")
        self._scratch = scratch
        _clear(scratch)

    @property
    def scratch(self) -> Path:
        """Local folder in which checkpoints are written before they are uploaded."""
        return self._scratch

    @property
    def area(self) -> Area:
        """The prefix, which all processes see."""
        return StoreArea(self._store, self._prefix)

    def latest(self) -> Path | None:
        """Download the newest whole checkpoint and return its local folder, or None."""
        names = self._names(whole=True)
        if not names:
            return None
        folder = self._scratch / names[-1]
        if folder.exists():
            shutil.rmtree(folder)
        self._store.get_folder(f"{self._prefix}/{names[-1]}", folder)
        return folder

    def commit(self, path: Path, step: int) -> None:
        """Upload the folder, its manifest last, then drop older checkpoints."""
        name = f"{_PREFIX}{step:08d}"
        self._store.put_folder(path, f"{self._prefix}/{name}")
        shutil.rmtree(path)
        for other in self._names(whole=False):
            if other != name:
                self._store.delete(f"{self._prefix}/{other}")

    def _names(self, *, whole: bool) -> list[str]:
        """Sorted names of checkpoints; those without a manifest are not whole."""
        keys = [key.removeprefix(f"{self._prefix}/") for key in self._store.list(self._prefix)]
        ending = "/MANIFEST.json" if whole else ""
        names = {key.split("/")[0] for key in keys if key.endswith(ending)}
        return sorted(name for name in names if name.startswith(_PREFIX))


def save_snapshot(snapshot: Snapshot, checkpoints: Checkpoints, step: int) -> None:
    """Write a snapshot and commit it as the checkpoint after `step` updates.

    Raises:
        TrainingError: If it cannot be written, for instance on a full disk. The checkpoint
            before it stays.
    """
    folder = Path(tempfile.mkdtemp(prefix=WRITING, dir=checkpoints.scratch))
    try:
        save_file(
            {k: v.detach().contiguous() for k, v in snapshot.tensors.items()},
            folder / "state.safetensors",
        )
        (folder / "state.json").write_text(json.dumps(snapshot.values), encoding="utf-8")
        for file in folder.iterdir():
            sync(file)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise TrainingError(
            f"cannot write the checkpoint after update {step} to {checkpoints.scratch}: {error}; "
            "the one before it is whole: free some space and resume"
        ) from error
    checkpoints.commit(folder, step)


def load_snapshot(folder: Path) -> Snapshot:
    """Read a checkpoint folder.

    Raises:
        TrainingError: If a file is missing or damaged, or its format is another.
    """
    try:
        values = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"cannot read the checkpoint {folder}: {error}; remove it") from error
    if values.get("format") != FORMAT:
        raise TrainingError(
            f"checkpoint {folder} has format {values.get('format')!r}, this version reads "
            f"{FORMAT}; remove it and start the stage again"
        )
    return Snapshot(tensors, values)


def _clear(folder: Path) -> None:
    """Make the folder, and remove what a writer that died left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f"{WRITING}*"):
        shutil.rmtree(left_over)


def sync(path: Path) -> None:
    """Let a file or folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
