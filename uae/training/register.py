"""What each process last said of itself, for when the others miss it.

A thread of each process writes where its main thread is into the store by which the processes have
met, and goes on doing so while the main thread hangs. Who waits in vain reads it, and can say which
process has not come, and where it is instead.
"""

import json
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from torch import distributed

from uae.training import messages

BEAT_SECONDS = 1.0
_ANSWER_SECONDS = 10.0  # how long to wait for the store, whose process may hang itself
_LONG_SECONDS = 10.0
_NUM_NAMED = 8
_GIVEN_UP = "given-up"
_OWN = f"{Path(__file__).parents[1]}/"
_WAITING = "/torch/distributed/"  # a main thread in here waits for the others


class LoneRegister:
    """Where the main thread of a process is, as a thread beside it sees: nobody else asks."""

    def __init__(self) -> None:
        """Begin to look; the calling thread is the main one."""
        self._main = threading.get_ident()
        self._closed = threading.Event()
        self._seen: tuple[int, ...] = ()
        self._moved_at = time.monotonic()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._say()
        self._thread.start()

    def close(self) -> None:
        """Say nothing any more."""
        self._closed.set()
        self._thread.join(_ANSWER_SECONDS)

    @property
    def still_seconds(self) -> float:
        """For how long the main thread has stood at one instruction, with no meeting since."""
        return time.monotonic() - self._moved_at

    @property
    def lost_seconds(self) -> float:
        """For how long the process through which all have met has been gone."""
        return 0.0

    def where(self) -> str:
        """Name the line of the main thread."""
        return _where(sys._current_frames()[self._main])

    def missing(self) -> str:
        """Say which other processes have failed, hang or are gone; empty if that is not known."""
        return ""

    def give_up(self, text: str) -> None:
        """Tell the others, those that hang above all, that this process waits no more."""

    def given_up(self) -> str | None:
        """Return the words of a process that has given up, None if none has."""
        return None

    def _go_on(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            self._say()

    def _say(self) -> None:
        self._look()

    def _look(self) -> FrameType:
        """Return where the main thread is, and note whether it has moved."""
        frame = sys._current_frames()[self._main]
        seen = (id(frame), frame.f_lasti, messages.progress())
        if seen != self._seen:
            self._seen, self._moved_at = seen, time.monotonic()
        return frame


class Register(LoneRegister):
    """The register of a world, as one of its processes sees it."""

    def __init__(self, rank: int, size: int) -> None:
        """Begin to say where this process is. The processes must have met."""
        store = distributed.distributed_c10d._get_default_store()
        self._store = distributed.PrefixStore(  # type: ignore[attr-defined]
            "uae-register", store.clone()
        )
        self._store.set_timeout(timedelta(seconds=_ANSWER_SECONDS))
        self._rank, self._size = rank, size
        self._beats = 0
        self._lost_at: float | None = None
        super().__init__()

    def failed(self, text: str) -> None:
        """Leave word of this process's error."""
        self._store.set(f"failed/{self._rank}", text)

    def give_up(self, text: str) -> None:
        """See `LoneRegister`."""
        with suppress(RuntimeError):
            self._store.set(_GIVEN_UP, f"process {self._rank} of {self._size} says: {text}")

    def given_up(self) -> str | None:
        """See `LoneRegister`."""
        if self._lost_at is not None:
            return None
        try:
            if not self._store.check([_GIVEN_UP]):
                return None
            words: str = self._store.get(_GIVEN_UP).decode()
        except RuntimeError:  # the process that keeps the store is gone
            return None
        return words

    @property
    def lost_seconds(self) -> float:
        """For how long the store of the register has been gone, with the process that keeps it."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def missing(self) -> str:
        """See `LoneRegister`."""
        answer: list[str] = []
        asking = threading.Thread(target=lambda: answer.append(self._missing()), daemon=True)
        asking.start()
        asking.join(_ANSWER_SECONDS)
        return answer[0] if answer else ""

    def _missing(self) -> str:
        try:
            others = [rank for rank in range(self._size) if rank != self._rank]
            failures = [f"failed/{rank}" for rank in others]
            for rank, key in zip(others, failures, strict=True):
                if self._store.check([key]):
                    return f"process {rank} of {self._size} failed: {self._store.get(key).decode()}"
            before = {rank: self._said(rank) for rank in others}
            self._closed.wait(3 * BEAT_SECONDS)
            found = [self._verdict(r, before[r]) for r in others]
            named = [verdict for verdict in found if verdict]
            more = len(named) - _NUM_NAMED
            return "; ".join(named[:_NUM_NAMED]) + (f"; and {more} more" if more > 0 else "")
        except RuntimeError:  # its process is gone, too
            return ""

    def _verdict(self, rank: int, before: dict[str, Any]) -> str:
        now = self._said(rank)
        if now["beats"] == before["beats"]:
            return f"process {rank} of {self._size} is gone or stopped; it was at {now['where']}"
        if now["waits"]:
            return ""
        still = f", for {now['still']:.0f} s" if now["still"] > _LONG_SECONDS else ""
        return f"process {rank} of {self._size} has not come; it is at {now['where']}{still}"

    def _said(self, rank: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._store.get(f"at/{rank}"))
        return found

    def _go_on(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self._say()
            except RuntimeError:  # the process that keeps the store is gone
                self._lost_at = time.monotonic()

    def _say(self) -> None:
        self._beats += 1
        frame = self._look()
        if self._lost_at is not None:
            return
        said = {
            "beats": self._beats,
            "where": _where(frame),
            "waits": _waits(frame),
            "still": self.still_seconds,
        }
        self._store.set(f"at/{self._rank}", json.dumps(said))


def _waits(frame: FrameType) -> bool:
    return _WAITING in frame.f_code.co_filename


def _where(frame: FrameType) -> str:
    """Name the innermost line, and that of ours which led there."""
    inner = _named(frame)
    own: FrameType | None = frame
    while own is not None and not own.f_code.co_filename.startswith(_OWN):
        own = own.f_back
    return inner if own is None or own is frame else f"{inner}, from {_named(own)}"


def _named(frame: FrameType) -> str:
    path = frame.f_code.co_filename.removeprefix(str(Path(_OWN).parent) + "/")
    return f"{path} line {frame.f_lineno} in {frame.f_code.co_name}"
