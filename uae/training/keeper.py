"""Checkpoints that all processes write, each its pieces, while training goes on.

    opened/000003-9f31c2ab.json    the world that has the place, see `uae.training.attempts`
    update-00000012/000003-9f31c2ab/     what it writes after update 12
        rows-00003-000.safetensors       process 3's rows of tensors that are shared out
        whole-00003-000.safetensors      tensors that all have, of which it writes these
        receipt-00003.json               that these are written, and what they hold
        state.json                       values, and which file has what
        MANIFEST.json                    the last one: it makes the checkpoint whole

A save copies the pieces to main memory; writing and uploading go on behind the training, one
checkpoint at a time. What fails there is raised at the next save or at the end. The main process
waits for the receipts of all, so nothing is committed of which a piece is missing. Only after that
it deletes checkpoints, all but the two newest: whenever a process dies a whole one is left, and
where it turns out to be damaged, one before it.
"""

import hashlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from torch import Tensor

from uae.errors import TrainingError
from uae.training import messages
from uae.training.areas import HIDDEN, MANIFEST
from uae.training.attempts import (
    Attempt,
    Hold,
    attempts,
    newest_checkpoint,
    open_place,
    strays,
    whole,
)
from uae.training.checkpoint import Checkpoints, Snapshot
from uae.training.distribution import World
from uae.training.piece_files import begin, write_pieces
from uae.training.pieces import Index, Pieces, own_pieces
from uae.training.reading import FORMAT, Damaged, of_another_kind, read_checkpoint

__all__ = ["CheckpointKeeper", "newest_checkpoint"]

NUM_KEPT = 2  # whole checkpoints: where the newest is damaged there is one before it
_POLL_SECONDS = 0.2
_CLOSE_SECONDS = 10.0  # for what is nearly written when training fails
_LAST_RECEIPTS_SECONDS = 2.0  # for those of processes that may be gone


class CheckpointKeeper:
    """The checkpoints of a stage, for one of its processes; the two newest whole ones are kept."""

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        """Open the place, which another world has no more from then on.

        Args:
            checkpoints: Where they go.
            world: The processes that call this together.

        Raises:
            TrainingError: If the processes do not see the same place.
            StoreError: If the store fails.
        """
        self._area, self._world = checkpoints.area, world
        self._stopped = threading.Event()
        self._written: Future[None] | None = None
        self._committed: Future[None] | None = None
        self._damaged: set[Attempt] = set()
        opening: str = world.of_main(open_place(self._area) if world.is_main else None)
        self._hold = Hold(self._area, opening)
        self._own = checkpoints.scratch / f"{HIDDEN}{opening}-{world.rank:05d}"
        for left_over in checkpoints.scratch.glob(f"{HIDDEN}*"):
            if left_over.name < f"{HIDDEN}{opening}":  # of a world that has no place any more
                shutil.rmtree(left_over, ignore_errors=True)
        self._require_one_place()

    def latest(self, like: Callable[[str], Tensor | None]) -> Snapshot | None:
        """Read the newest whole checkpoint: this process's part of it; None if there is none.

        What earlier worlds have left unfinished is removed. Where the newest one is damaged, the
        one before it is read by all, and the log says so.

        Args:
            like: Gives for a tensor's name one that is shared out as it is to be.

        Raises:
            TrainingError: If all are damaged, or one is of another kind.
            StoreError: If the store fails.
        """
        found = self._world.of_main(self._clear_up() if self._world.is_main else None)
        damage: list[str] = []
        for attempt in [Attempt(*one) for one in reversed(found)]:
            snapshot, fault = self._try(attempt, like)
            faults = self._world.exchange(fault)
            shutil.rmtree(self._own, ignore_errors=True)
            if not any(faults):
                self._say(damage, attempt)
                return snapshot
            self._damaged.add(attempt)
            rank, fault = next((rank, fault) for rank, fault in enumerate(faults) if fault)
            damage.append(f"checkpoint {attempt.folder} is damaged (process {rank}: {fault})")
        if damage:
            raise TrainingError(
                f"{'; '.join(damage)}; there is no other one to go on from: bring its files back, "
                "or remove it to train from the start"
            )
        return None

    def save(self, snapshot: Snapshot, step: int) -> None:
        """Begin to write the checkpoint after `step` updates; all processes call it.

        Raises:
            TrainingError: If the one before could not be written.
            OtherProcessFailed: If another world has opened the place since.
            StoreError: If the store refused it.
        """
        self.settle()
        attempt = Attempt(self._hold.opening, step)
        pieces = own_pieces(snapshot.tensors, self._world.rank, self._world.size)
        self._written = written = begin(lambda: self._write(pieces, attempt.folder))
        if self._world.is_main:
            values = json.dumps(snapshot.values)  # now: training goes on to change them
            self._committed = begin(lambda: self._commit(written, values, attempt))

    def settle(self) -> None:
        """Wait until the checkpoint that is being written is whole; all processes call it.

        Raises:
            TrainingError: If it could not be written. The one before it stays.
            OtherProcessFailed: If another world has opened the place since.
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
        """Leave a value beside the checkpoints.

        Raises:
            OtherProcessFailed: If another world has opened the place since.
        """
        self._hold.require()
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

    def _write(self, pieces: Mapping[str, Pieces], folder: str) -> None:
        receipt = write_pieces(pieces, self._world.rank, self._area, folder, self._own)
        self._area.put_json(f"{folder}/{_receipt(self._world.rank)}", receipt)

    def _commit(self, written: Future[None], values: str, attempt: Attempt) -> None:
        """Write the manifest when all receipts are there, then remove older checkpoints."""
        written.result()  # where it failed there is no use in waiting for the others
        receipts = self._receipts(attempt.folder)
        files = {name: found for one in receipts for name, found in one["files"].items()}
        index: dict[str, Index] = {name: i for one in receipts for name, i in one["index"].items()}
        state = {"format": FORMAT, "values": json.loads(values), "files": index}
        text = json.dumps(state).encode()
        self._own.mkdir(parents=True, exist_ok=True)
        path = self._own / "state.json"
        path.write_bytes(text)
        files["state.json"] = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
        self._area.put_file(f"{attempt.folder}/state.json", path)
        self._hold.require()  # a newer world has deleted pieces of what was not whole
        self._area.put_json(f"{attempt.folder}/{MANIFEST}", {"files": files})
        self._prune(attempt)

    def _receipts(self, folder: str) -> list[dict[str, Any]]:
        wanted = {f"{folder}/{_receipt(rank)}" for rank in range(self._world.size)}
        deadline = time.monotonic() + self._world.patience.total_seconds()
        while missing := wanted - set(names := self._area.names()):
            self._hold.require(names)  # nobody may come any more
            if self._stopped.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                raise TrainingError(f"{folder} is not whole, {', '.join(sorted(missing))} missing")
        return [self._read(name) for name in sorted(wanted)]

    def _prune(self, newest: Attempt) -> None:
        """Delete all but the newest checkpoints, as long as this world has the place."""
        names = self._area.names()
        kept = [one for one in whole(names) if one not in self._damaged][-NUM_KEPT:]
        for other in sorted(attempts(names)):
            if other < newest and other not in kept and self._hold.has_left(other):
                self._hold.require()
                self._area.delete(other.folder)

    def _require_one_place(self) -> None:
        blind = self._world.exchange(not self._hold.is_seen()) if self._world.size > 1 else []
        if any(blind):
            raise TrainingError(
                f"process {blind.index(True)} does not see the place where process 0 keeps the "
                "checkpoints: give all of them the same folder or bucket"
            )

    def _clear_up(self) -> list[Attempt]:
        """Remove what earlier worlds left unfinished; return whole ones, the oldest first."""
        names = self._area.names()
        for name in strays(names):  # files right below an update's folder
            folder, _, file = name.partition("/")
            if file in (MANIFEST, "state.safetensors"):  # whole, in an older form
                raise of_another_kind(folder)
        found = whole(names)
        unfinished = [one for one in attempts(names) if one not in found]
        left = [one.folder for one in unfinished if self._hold.has_left(one)]
        for name in [*left, *strays(names)]:
            self._area.delete(name)
        return found

    def _try(
        self, attempt: Attempt, like: Callable[[str], Tensor | None]
    ) -> tuple[Snapshot | None, str | None]:
        """Return this process's part of a checkpoint, or in what it is damaged."""
        try:
            return read_checkpoint(self._area, attempt.folder, self._own, like), None
        except Damaged as damage:
            return None, str(damage)

    def _say(self, damage: list[str], taken: Attempt) -> None:
        """Print what was damaged and what it costs; once for all processes."""
        if damage and self._world.is_main:
            lost = max(one.step for one in self._damaged) - taken.step
            print(
                f"WARNING: {'; '.join(damage)}. Training goes on from {taken.folder}: what "
                f"{lost} later updates had done is lost, and they are made again. What is damaged "
                "is deleted when the next checkpoint is whole",
                file=sys.stderr,
                flush=True,
            )

    def _read(self, name: str) -> Any:
        return json.loads(self._area.fetch(name, self._own).read_text(encoding="utf-8"))


def _wait_for(work: Future[None]) -> None:
    """Return when it is done; a process that writes for long does not hang."""
    while wait([work], timeout=1.0).not_done:
        messages.note_progress()
    work.result()


def _receipt(rank: int) -> str:
    return f"receipt-{rank:05d}.json"
