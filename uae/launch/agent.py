"""torchrun as `python -m uae.launch.agent ARGUMENTS`: its arguments, and fewer last words.

In a TrainJob it also watches the job's lease. When that is too old it ends its processes as SIGTERM
would: they store a checkpoint first.

After a failure torchrun itself prints forty lines about its own frames. The last lines of a log are
what a person is shown, and they should be those of the process that failed.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial

from uae.launch.lease import LeaseWatch
from uae.launch.torchrun import WORKER
from uae.launch.worker import is_stored, open_place, read_arguments


def main() -> int:
    """Run torchrun with this process's arguments; return its exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    lease = _watch_lease(sys.argv)
    try:
        torchrun()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"rank {rank} {_ending(failure.exitcode)}", file=sys.stderr)
        return 1
    except SignalException as error:
        reason = lease.verdict if lease else ""
        print(reason or f"stopped by {error.sigval.name}", file=sys.stderr)
        return 128 + error.sigval
    return 0


def _watch_lease(words: Sequence[str]) -> LeaseWatch | None:
    """Start to watch the lease of a task in the store; a local task ends with its step anyway."""
    if WORKER not in words:
        return None
    asked = read_arguments(words[words.index(WORKER) + 1 :])
    if not is_stored(asked.task):
        return None
    lease = LeaseWatch(partial(open_place, asked.task, asked.endpoint))
    threading.Thread(target=lease.watch, args=[_stop], name="lease", daemon=True).start()
    return lease


def _stop() -> None:
    """Send SIGTERM to the main thread, which waits for the processes."""
    number = threading.main_thread().ident
    assert number is not None
    signal.pthread_kill(number, signal.SIGTERM)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


if __name__ == "__main__":
    sys.exit(main())
