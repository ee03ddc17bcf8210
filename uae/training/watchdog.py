"""Ends a process whose main thread hangs, or waits where nothing times out.

gloo raises when it has waited for long enough. Elsewhere nothing does: a thread that waits for
tensors on their way through nccl sits in some call on the GPU, and one that hangs sits anywhere. So
a thread looks at the main thread every second. It ends the process where the main thread

- has stood at the same instruction for longer than the patience, with no meeting in between, or
- goes on by itself although another process has given up waiting for it, or
- has for that long been without the process through which all have met.

It says first which process has not come, and where that is.
"""

import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from uae.training.messages import ConnectionLost
from uae.training.register import BEAT_SECONDS, LoneRegister

EXIT_CODE = 75  # "try again": sysexits.h's EX_TEMPFAIL
# Beyond the patience: meetings that time out by themselves end a process in better order.
MARGIN_SECONDS = 5.0
_GIVEN_UP_SECONDS = 15.0  # to end in order, when another process has given up
_TELL_SECONDS = 10.0  # for `on_hang`, which may wait for a store


class Watchdog:
    """Watches the main thread of one process of a world, which may be the only one."""

    def __init__(
        self,
        register: LoneRegister,
        patience: timedelta,
        on_hang: Callable[[ConnectionLost], None],
    ) -> None:
        """Begin to watch.

        Args:
            register: Knows where this process's main thread is, and the others'.
            patience: How long it may stand still.
            on_hang: Is told why this process ends, before it does.
        """
        self._register, self._on_hang = register, on_hang
        self._limit_seconds = patience.total_seconds() + MARGIN_SECONDS
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            given_up = self._register.given_up()
            if given_up is not None and not self._closed.wait(_GIVEN_UP_SECONDS):
                self._end(f"another process has given up waiting: {given_up}")
            if self._register.still_seconds > self._limit_seconds:
                self._end(self._waited())
            if self._register.lost_seconds > self._limit_seconds:
                self._end(f"the process that all met through is gone; {self._own_place()}")

    def _waited(self) -> str:
        """Say for how long this process has waited, and for whom."""
        own, missing = self._own_place(), self._register.missing()
        self._register.give_up(missing)
        return f"{own}. {missing}".rstrip()

    def _own_place(self) -> str:
        still = self._register.still_seconds
        return f"this process has been at {self._register.where()} for {still:.0f} s"

    def _end(self, text: str) -> None:
        if self._closed.is_set():  # the main thread has come back meanwhile
            return
        error = ConnectionLost(text)
        telling = threading.Thread(target=self._on_hang, args=[error], daemon=True)
        telling.start()
        telling.join(_TELL_SECONDS)
        print(f"ConnectionLost: {text}", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)  # the main thread cannot be woken
