"""Ctrl-C and SIGTERM while a pipeline runs: the step checkpoints and ends, then we do.

The first signal asks the running step to end; its output is still read, so that it can finish its
update and store a checkpoint. The second one, or a step that takes too long, kills it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

from uae.errors import StoreError
from uae.launch.processes import is_alive, step_processes

GRACE_SECONDS = 90.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Context in which signals end the running step first."""

    def __init__(self, spared: int | None) -> None:
        """Prepare the handlers.

        Args:
            spared: Process id of the store's server, which the step still needs.
        """
        self.number: int | None = None
        self._spared = spared
        self._before: dict[signal.Signals, Any] = {}
        self._timer = threading.Timer(GRACE_SECONDS, self._signal_steps, [signal.SIGKILL])
        self._timer.daemon = True

    @property
    def noted(self) -> bool:
        """Whether a signal has arrived."""
        return self.number is not None

    def raise_if_due(self) -> None:
        """Raise once the pipeline must not go on.

        Raises:
            KeyboardInterrupt: With a signal's number, if one arrived and no step runs any more.
            StoreError: If the store's server has ended; the running step is killed.
        """
        if self.noted and not step_processes(self._spared):
            raise KeyboardInterrupt(self.number)
        if self._spared is not None and not is_alive(self._spared):
            self._signal_steps(signal.SIGKILL)
            raise StoreError("the embedded store ended in the middle of the run")

    def kill_step(self) -> None:
        """Kill the running step, for a pipeline that cannot go on and would wait for its end."""
        self._signal_steps(signal.SIGKILL)

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if kind is not None:
            self._signal_steps(signal.SIGKILL)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again = self.noted
        self.number = number
        self._signal_steps(signal.SIGKILL if again else signal.SIGTERM)
        if not again:
            self._timer.start()

    def _signal_steps(self, number: signal.Signals) -> None:
        for process in step_processes(self._spared):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
                process.send_signal(number)
