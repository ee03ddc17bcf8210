"""A step ends when the command that started the run is gone, and when that command says so.

`uae run` starts its steps through a shell, so a step cannot ask the kernel to be told of its
grandparent's death. It watches the process id that it was given instead. Ctrl-C in a terminal
reaches both: the step leaves it to the command, which asks the step to end with SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

PARENT_VARIABLE = "UAE_PARENT"  # "<pid>:<seconds since the epoch at which it started>"
POLL_SECONDS = 0.5
EXIT_CODE = 137  # as if killed: there is nobody left to tell


def announce_parent() -> dict[str, str]:
    """Return the environment that makes steps end with this process."""
    started = psutil.Process().create_time()
    return {PARENT_VARIABLE: f"{os.getpid()}:{started:.2f}"}


def follow_parent() -> None:
    """Start watching the announced parent; do nothing where none was announced."""
    announced = os.environ.get(PARENT_VARIABLE)
    if announced is None:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    pid, _, started = announced.partition(":")
    if _is_running(int(pid), float(started)):
        arguments = (int(pid), float(started))
        threading.Thread(target=_watch, args=arguments, name="follow-parent", daemon=True).start()
    else:
        _end()


def _watch(pid: int, started: float) -> None:
    while _is_running(pid, started):
        time.sleep(POLL_SECONDS)
    _end()


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 1  # the number may have been given again
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end() -> None:
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(EXIT_CODE)
