"""Checkpoints that all processes write, each its pieces, while training goes on.

    update-00000012/rows-00003-000.safetensors  process 3's rows of tensors that are shared out
    update-00000012/whole-00003-000.safetensors tensors that all have, of which it writes these
    update-00000012/receipt-<attempt>-00003     that these are written, and what they hold
    update-00000012/state.json                  values, and which file has what
    update-00000012/MANIFEST.json               the last one: it makes the checkpoint whole

A save copies the pieces to main memory; writing and uploading go on behind the training, one
checkpoint at a time. What fails there is raised at the next save or at the end. The main process
waits for the receipts of all, so nothing is committed of which a piece is missing. Older
checkpoints are deleted only after that, so whenever a process dies a whole one is left.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from torch import Tensor

from uae.errors import TrainingError
from uae.fingerprints import file_sha256
from uae.training import messages
from uae.training.areas import HIDDEN, MANIFEST, Area
from uae.training.checkpoint import Checkpoints, Snapshot
from uae.training.distribution import World
from uae.training.piece_files import begin, write_pieces
from uae.training.pieces import Index, Pieces, joined, own_pieces

FORMAT = "pieces-2"
_PREFIX = "update-"
_MEETING = "meeting"
_POLL_SECONDS = 0.2
_CLOSE_SECONDS = 10.0  # for what is nearly written when training fails
_LAST_RECEIPTS_SECONDS = 2.0  # for those of processes that may be gone


class CheckpointKeeper:
    """The checkpoints of a stage, for one of its processes; the newest whole one is kept."""

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        """Prepare to read and write; nothing of another process is touched.

        Args:
            checkpoints: Where they go.
            world: The processes that call this together.
        """
        self._area, self._world = checkpoints.area, world
        self._scratch = checkpoints.scratch
        self._own = self._scratch / f"{HIDDEN}process-{world.rank}"
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
            TrainingError: If it is damaged, or of another kind; or if the processes do not see
                the same place.
            StoreError: If the store fails.
        """
        self._require_one_place()
        name: str | None = self._world.of_main(self._clear_up() if self._world.is_main else None)
        if name is None:
            return None
        files = self._read(f"{name}/{MANIFEST}")["files"]
        checked: dict[str, Path] = {}

        def fetch(file: str) -> Path:
            if file not in checked:
                path = self._area.fetch(f"{name}/{file}", self._own)
                if file_sha256(path) != files[file]["sha256"]:
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
        self._written = written = begin(lambda: self._write(pieces, folder, attempt))
        if self._world.is_main:
            values = json.dumps(snapshot.values)  # now: training goes on to change them
            self._committed = begin(lambda: self._commit(written, values, folder, attempt))

    def settle(self) -> None:
        """Wait until the checkpoint that is being written is whole; all processes call it.

        Raises:
            TrainingError: If it could not be written. The one before it stays.
            StoreError: If the store refused it.
        """
        if self._written is None:
            return
        written, self._written = self._written, None
        _wait_for(written)
        self._world.wait()  # or another one's failure
        if self._committed is not None:
            _wait_for(self._committed)
        self._world.wait()

    def note(self, name: str, value: Any) -> None:
        """Leave a value beside the checkpoints."""
        self._area.put_json(name, value)

    def close(self) -> None:
        """Give up what is not settled: after an error the other processes may be gone."""
        if self._written is not None:
            wait([self._written], _CLOSE_SECONDS)
        if self._committed is not None:
            wait([self._committed], _LAST_RECEIPTS_SECONDS)
            self._stopped.set()
            wait([self._committed], _CLOSE_SECONDS)
        shutil.rmtree(self._own, ignore_errors=True)

    def _write(self, pieces: Mapping[str, Pieces], folder: str, attempt: str) -> None:
        receipt = write_pieces(pieces, self._world.rank, self._area, folder, self._own)
        self._area.put_json(f"{folder}/{_receipt(attempt, self._world.rank)}", receipt)

    def _commit(self, written: Future[None], values: str, folder: str, attempt: str) -> None:
        """Write the manifest when all receipts are there, then remove older checkpoints."""
        written.result()  # where it failed there is no use in waiting for the others
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
        for other in _folders(self._area.names()):
            if other < folder:
                self._area.delete(other)

    def _receipts(self, folder: str, attempt: str) -> list[dict[str, Any]]:
        names = [f"{folder}/{_receipt(attempt, rank)}" for rank in range(self._world.size)]
        deadline = time.monotonic() + self._world.patience.total_seconds()
        while missing := set(names) - set(self._area.names()):
            if self._stopped.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                raise TrainingError(f"{folder} is not whole, {', '.join(sorted(missing))} missing")
        return [self._read(name) for name in names]

    def _require_one_place(self) -> None:
        if self._world.size == 1:
            return
        token = self._world.of_main(f"{_MEETING}/{time.time_ns():x}.json")
        if self._world.is_main:
            self._area.put_json(token, None)
        self._world.wait()
        blind = self._world.exchange(token not in self._area.names())
        if self._world.is_main:
            self._area.delete(_MEETING)
        if any(blind):
            raise TrainingError(
                f"process {blind.index(True)} does not see the place where process 0 keeps the "
                "checkpoints: give all of them the same folder or bucket"
            )

    def _clear_up(self) -> str | None:
        """Remove unfinished checkpoints and return the newest whole one's name."""
        for left_over in self._scratch.glob(f"{HIDDEN}process-*"):
            if int(left_over.name.rpartition("-")[2]) >= self._world.size:  # nobody's
                shutil.rmtree(left_over, ignore_errors=True)
        names = self._area.names()
        whole = _whole(names)
        for name in _folders(names) - whole:
            if f"{name}/state.safetensors" in names:  # whole, in an older form
                raise _of_another_kind(name)
            self._area.delete(name)
        return max(whole, default=None)

    def _read(self, name: str) -> Any:
        return json.loads(self._area.fetch(name, self._own).read_text(encoding="utf-8"))


def newest_checkpoint(area: Area) -> str | None:
    """Return the name of the newest whole checkpoint."""
    return max(_whole(area.names()), default=None)


def _folders(names: list[str]) -> set[str]:
    return {name.partition("/")[0] for name in names if name.startswith(_PREFIX)}


def _whole(names: list[str]) -> set[str]:
    return {folder for folder in _folders(names) if f"{folder}/{MANIFEST}" in names}


def _wait_for(work: Future[None]) -> None:
    """Return when it is done; a process that writes for long does not hang."""
    while wait([work], timeout=1.0).not_done:
        messages.note_progress()
    work.result()


def _of_another_kind(name: str) -> TrainingError:
    return TrainingError(
        f"checkpoint {name} was written by another version of uae: remove it to start anew"
    )


def _receipt(attempt: str, rank: int) -> str:
    return f"receipt-{attempt}-{rank:05d}.json"
