"""SIGTERM and Ctrl-C during training: come to a place with a checkpoint, then give way.

Between the optimizer steps of an update the weights belong to no update, so the first signal is
only noted, and heeded where they do. A second one does at once what it would do without us.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Context in which the first SIGTERM or SIGINT that is not ignored is noted, not obeyed."""

    def __init__(self) -> None:
        self._noted: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def noted(self) -> int | None:
        """Number of the signal that has arrived, if one has."""
        return self._noted

    def give_way(self, number: int) -> None:
        """Obey a signal as if it arrived now: KeyboardInterrupt, or the end by SIGTERM."""
        self._restore()
        signal.raise_signal(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            heeded = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._noted = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
