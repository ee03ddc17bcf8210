"""Checkpoints that all processes write, each its pieces, while training goes on.

    update-00000012/rows-00003.safetensors      process 3's rows of tensors that are shared out
    update-00000012/whole-00003.safetensors     tensors that all have, of which it writes these
    update-00000012/receipt-<attempt>-00003     that both are written, and what they hold
    update-00000012/state.json                  values, and which file has what
    update-00000012/MANIFEST.json               the last one: it makes the checkpoint whole

A save copies the pieces to main memory; writing and uploading go on behind the training, one
checkpoint at a time. What fails there is raised at the next save or at the end. The main process
waits for the receipts of all, so nothing is committed of which a piece is missing.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from uae.errors import TrainingError
from uae.training.areas import MANIFEST, Area
from uae.training.checkpoint import WRITING, Snapshot, sync
from uae.training.distribution import PATIENCE, World
from uae.training.pieces import Index, Pieces, joined, own_pieces

FORMAT = "pieces-1"
_PREFIX = "update-"
_POLL_SECONDS = 0.2


class ShardedCheckpoints:
    """The checkpoints of a stage whose processes write together; the newest whole one is kept."""

    def __init__(self, area: Area, scratch: Path, world: World) -> None:
        """Prepare to read and write.

        Args:
            area: Seen by all processes.
            scratch: Folder of this process, or of several.
            world: The processes.
        """
        self._area, self._world = area, world
        self._own = scratch / f"{WRITING}process-{world.rank}"
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._stopped = threading.Event()
        self._written: Future[None] | None = None
        self._committed: Future[None] | None = None
        shutil.rmtree(self._own, ignore_errors=True)

    def latest(self, like: Callable[[str], Tensor | None]) -> Snapshot | None:
        """Read the newest whole checkpoint: this process's part of it; None if there is none.

        What a world that was killed has left unfinished is removed.

        Args:
            like: Gives for a tensor's name one that is shared out as it is to be.

        Raises:
            TrainingError: If it is damaged, or of another kind.
            StoreError: If the store fails.
        """
        name: str | None = self._world.of_main(self._clear_up() if self._world.is_main else None)
        if name is None:
            return None
        files = self._read(f"{name}/{MANIFEST}")["files"]
        checked: dict[str, Path] = {}

        def fetch(file: str) -> Path:
            if file not in checked:
                path = self._area.fetch(f"{name}/{file}", self._own)
                if _sha256(path) != files[file]["sha256"]:
                    raise TrainingError(f"{name}/{file} is damaged: remove this checkpoint")
                checked[file] = path
            return checked[file]

        state = json.loads(fetch("state.json").read_text(encoding="utf-8"))
        if state.get("format") != FORMAT:
            raise _of_another_kind(name)
        keys = {key: None for index in state["files"].values() for key in index}
        tensors = {key: joined(key, like(key), state["files"], fetch) for key in keys}
        shutil.rmtree(self._own, ignore_errors=True)
        return Snapshot(tensors, state["values"])

    def save(self, snapshot: Snapshot, step: int) -> None:
        """Begin to write the checkpoint after `step` updates; all processes call it.

        Raises:
            TrainingError: If the one before could not be written.
            StoreError: If the store refused it.
        """
        self.settle()
        attempt = self._world.of_main(f"{time.time_ns():x}")
        folder = f"{_PREFIX}{step:08d}"
        pieces = own_pieces(snapshot.tensors, self._world.rank, self._world.size)
        self._written = self._pool.submit(self._write, pieces, folder, attempt)
        if self._world.is_main:
            values = json.dumps(snapshot.values)  # now: training goes on to change them
            self._committed = self._pool.submit(self._commit, values, folder, attempt)

    def settle(self) -> None:
        """Wait until the checkpoint that is being written is whole; all processes call it.

        Raises:
            TrainingError: If it could not be written. The one before it stays.
            StoreError: If the store refused it.
        """
        if self._written is None:
            return
        written, self._written = self._written, None
        written.result()
        self._world.wait()  # or another one's failure
        if self._committed is not None:
            self._committed.result()
        self._world.wait()

    def close(self) -> None:
        """Give up what is not settled: after an error the other processes may be gone."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._own, ignore_errors=True)

    def _write(self, found: Mapping[str, Pieces], folder: str, attempt: str) -> None:
        receipt: dict[str, Any] = {"files": {}, "index": {}}
        for kind, pieces in found.items():
            name = f"{kind}-{self._world.rank:05d}.safetensors"
            path = self._own / name
            try:
                self._own.mkdir(parents=True, exist_ok=True)
                save_file(pieces.tensors, path)
                sync(path)
                receipt["files"][name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
                self._area.put_file(f"{folder}/{name}", path)
            except (OSError, SafetensorError) as error:
                raise TrainingError(
                    f"cannot write {folder}/{name} by way of {self._own}: {error}; the checkpoint "
                    "before it is whole: free some space and resume"
                ) from error
            receipt["index"][name] = pieces.entries
        self._area.put_json(f"{folder}/{_receipt(attempt, self._world.rank)}", receipt)

    def _commit(self, values: str, folder: str, attempt: str) -> None:
        """Write the manifest when all receipts are there, then remove older checkpoints."""
        receipts = self._receipts(folder, attempt)
        files = {name: found for one in receipts for name, found in one["files"].items()}
        index: dict[str, Index] = {name: i for one in receipts for name, i in one["index"].items()}
        state = {"format": FORMAT, "values": json.loads(values), "files": index}
        text = json.dumps(state).encode()
        self._own.mkdir(parents=True, exist_ok=True)
        path = self._own / "state.json"
        path.write_bytes(text)
        files["state.json"] = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
        self._area.put_file(f"{folder}/state.json", path)
        self._area.put_json(f"{folder}/{MANIFEST}", {"files": files})
        for other in {name.partition("/")[0] for name in self._area.names()} - {folder}:
            if other.startswith(_PREFIX):
                self._area.delete(other)

    def _receipts(self, folder: str, attempt: str) -> list[dict[str, Any]]:
        names = [f"{folder}/{_receipt(attempt, rank)}" for rank in range(self._world.size)]
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while missing := set(names) - set(self._area.names()):
            if self._stopped.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                raise TrainingError(f"{folder} is not whole, {', '.join(sorted(missing))} missing")
        return [self._read(name) for name in names]

    def _clear_up(self) -> str | None:
        """Remove unfinished checkpoints and return the newest whole one's name."""
        names = self._area.names()
        found = {name.partition("/")[0] for name in names if name.startswith(_PREFIX)}
        whole = {name for name in found if f"{name}/{MANIFEST}" in names}
        for name in found - whole:
            if f"{name}/state.safetensors" in names:
                raise _of_another_kind(name)
            self._area.delete(name)
        return max(whole, default=None)

    def _read(self, name: str) -> Any:
        return json.loads(self._area.fetch(name, self._own).read_text(encoding="utf-8"))


def _of_another_kind(name: str) -> TrainingError:
    return TrainingError(
        f"checkpoint {name} was not made by sharded training: remove it to start anew"
    )


def _receipt(attempt: str, rank: int) -> str:
    return f"receipt-{attempt}-{rank:05d}.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
