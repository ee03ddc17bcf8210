"""Reading a checkpoint: every file against the sha256 in its manifest."""

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from uae.errors import TrainingError
from uae.fingerprints import file_sha256
from uae.training.areas import MANIFEST, Area
from uae.training.checkpoint import Snapshot
from uae.training.pieces import joined

FORMAT = "pieces-3"


class Damaged(Exception):
    """A checkpoint is not what was written; says in what."""


def read_checkpoint(
    area: Area, folder: str, own: Path, like: Callable[[str], Tensor | None]
) -> Snapshot:
    """Read what one process needs of a checkpoint.

    Args:
        area: Where it lies.
        folder: Name of the attempt that it is.
        own: Local folder for files that are downloaded.
        like: Gives for a tensor's name one that is shared out as it is to be.

    Raises:
        Damaged: If a file is missing, or is another one than was written.
        TrainingError: If it is of another kind, or does not fit the model.
        StoreError: If the store fails.
    """
    files = _manifest(area, folder, own)
    checked: dict[str, Path] = {}

    def fetch(file: str) -> Path:
        if file not in checked:
            path = area.fetch(f"{folder}/{file}", own)
            if (found := file_sha256(path)) != files.get(file):
                raise Damaged(f"{file} has sha256 {found}, {files.get(file)} was written")
            checked[file] = path
        return checked[file]

    state = json.loads(fetch("state.json").read_text(encoding="utf-8"))
    if state.get("format") != FORMAT:
        raise of_another_kind(folder)
    keys = {key: None for index in state["files"].values() for key in index}
    tensors = {key: joined(key, like(key), state["files"], fetch) for key in keys}
    return Snapshot(tensors, state["values"])


def of_another_kind(name: str) -> TrainingError:
    """Return the error that a checkpoint is not of this form."""
    return TrainingError(
        f"checkpoint {name} was written by another version of uae: remove it to start anew"
    )


def _manifest(area: Area, folder: str, own: Path) -> dict[str, str]:
    """Return the sha256 of each file, all of which are there."""
    path = area.fetch(f"{folder}/{MANIFEST}", own)
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        found = {name: str(described["sha256"]) for name, described in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{MANIFEST} cannot be read: {error!r}") from error
    names = {f"{folder}/{name}" for name in (*found, "state.json")}
    if missing := sorted(names - set(area.names())):
        raise Damaged(f"missing: {', '.join(missing)}")
    return found
