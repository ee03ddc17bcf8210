"""Checkpoints: what one holds, and where they go.

A checkpoint holds what the run cannot compute again from the recipe: the trained tensors, the
optimizer's moments, the EMA, the best weights so far, the metrics and the skipped updates. No
generator is saved, as every draw is derived from the update's number.

`uae.training.keeper` writes and reads them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from uae.training.areas import Area, FolderArea, StoreArea

if TYPE_CHECKING:
    from uae.store.s3 import Store


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
    """Where the checkpoints of one stage go."""

    @property
    def scratch(self) -> Path:
        """Existing local folder, in which processes write before they hand over."""

    @property
    def area(self) -> Area:
        """Where checkpoints are kept; all processes see it."""


class LocalCheckpoints:
    """Checkpoints in a local folder, or one of a file system that all processes see."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    @property
    def scratch(self) -> Path:
        """The folder itself, so that handing over a file is one rename."""
        return self._folder

    @property
    def area(self) -> Area:
        """The folder."""
        return FolderArea(self._folder)


class StoreCheckpoints:
    """Checkpoints below a prefix of an object store."""

    def __init__(self, store: "Store", prefix: str, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._prefix = prefix.strip("/")
        self._scratch = scratch

    @property
    def scratch(self) -> Path:
        """Local folder in which files are written before they are uploaded."""
        return self._scratch

    @property
    def area(self) -> Area:
        """The prefix."""
        return StoreArea(self._store, self._prefix)
