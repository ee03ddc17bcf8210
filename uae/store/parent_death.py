"""Ending a child process together with its parent, also when the parent is killed with -9."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(parent_pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that started it ends.

    Linux ties the signal to the creating thread, not to its process: start such a child from a
    thread that lives as long as the child may.

    Args:
        parent_pid: The process that started this one, so that a parent which is dead already is
            noticed.
        number: The signal. SIGKILL cannot be ignored or lost in a shutdown that hangs.

    Raises:
        OSError: If the kernel refuses.
        SystemExit: If the parent is dead already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise SystemExit(f"the parent process {parent_pid} has ended")


if __name__ == "__main__":
    # python -I -S parent_death.py PARENT_PID PROGRAM [ARGUMENT...]: the signal survives exec, and
    # a fresh interpreter spares a many-threaded parent from running Python between fork and exec.
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
