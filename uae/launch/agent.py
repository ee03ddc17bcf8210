"""torchrun as `python -m uae.launch.agent ARGUMENTS`: its arguments, but it restarts with reason.

When a process fails or is killed, those of all nodes meet again and go on from the newest
checkpoint, `--max-restarts` times. Not so where that is in vain: after an error in the recipe or
the data, after SIGTERM, or when an earlier try of the same task has left word that no other one
helps. The exit code says which it was, see `uae.launch.failures`.

In a TrainJob it also watches the job's lease. When that is too old it ends its processes as SIGTERM
would: they store a checkpoint first.

After a failure torchrun itself prints forty lines about its own frames. The last lines of a log are
what a person is shown, and they should be those of the process that failed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Mapping, Sequence
from types import FrameType

from uae.errors import StoreError, UaeError
from uae.launch.failures import FAILED, FINAL, INTERRUPTED, WorkerFailure
from uae.launch.lease import LeaseWatch
from uae.launch.meeting import arrange_meeting
from uae.launch.task import read_end
from uae.launch.task_places import TaskPlace
from uae.launch.torchrun import WORKER
from uae.launch.worker import NODE_FOLDER_VARIABLE, is_stored, open_place, read_arguments

TERMINATED = (INTERRUPTED, -signal.SIGTERM)  # with and without a handler


def main() -> int:
    """Run torchrun with this process's arguments; return its exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.run import get_args_parser

    def terminate(number: int, _: FrameType | None) -> None:
        raise SignalException("while the nodes meet", signal.Signals(number))

    # torchrun heeds it only while processes run. The first process of a container would else
    # ignore it, and be killed when the grace period ends.
    signal.signal(signal.SIGTERM, terminate)
    asked = get_args_parser().parse_args(sys.argv[1:])
    task = _Task(sys.argv)
    lease = None
    try:
        ended = task.end()
        if ended:
            return _say(f"an earlier try ended with {ended}", FINAL)
        lease = task.watch_lease()
        with tempfile.TemporaryDirectory(prefix="uae-node-") as folder:
            os.environ |= arrange_meeting(asked) | {NODE_FOLDER_VARIABLE: folder}
            return _run(asked, task)
    except UaeError as error:
        return _say(str(error), WorkerFailure.of(error, 0).exit_code)
    except SignalException as error:
        if lease and lease.verdict:
            return _say(lease.verdict, FINAL)
        return _say(f"stopped by {error.sigval.name}", 128 + error.sigval)


class _Task:
    """What the processes work on, as far as it is known here."""

    def __init__(self, words: Sequence[str]) -> None:
        known = WORKER in words
        self._asked = read_arguments(words[words.index(WORKER) + 1 :]) if known else None

    def end(self) -> str:
        """Return why no other try helps; empty if one may, or if nobody can say."""
        try:
            return read_end(self._place()) if self._asked else ""
        except (StoreError, OSError) as error:
            print(f"whether an earlier try has ended for good is not known: {error}", flush=True)
            return ""

    def watch_lease(self) -> LeaseWatch | None:
        """Start to watch the lease of a task in the store; a local one ends with its step."""
        if self._asked is None or not is_stored(self._asked.task):
            return None
        lease = LeaseWatch(self._place)
        threading.Thread(target=lease.watch, args=[_stop], name="lease", daemon=True).start()
        return lease

    def may_help(self, codes: Mapping[int, int]) -> bool:
        """Say whether another try may help after processes have ended with these codes."""
        return _verdict(codes) == FAILED and not self.end()

    def _place(self) -> TaskPlace:
        assert self._asked is not None
        return open_place(self._asked.task, self._asked.endpoint)


def _run(asked: Namespace, task: _Task) -> int:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    from uae.training.elastic_agent import run_agent

    def may_help(codes: Mapping[int, int], number: int) -> bool:
        if not task.may_help(codes):
            return False
        lost = ", ".join(f"rank {rank} {_ending(code)}" for rank, code in sorted(codes.items()))
        text = f"{lost}; restart {number} of {asked.max_restarts}: the processes meet again"
        print(text, file=sys.stderr, flush=True)
        return True

    try:
        run_agent(asked, may_help)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        codes = {one: each.exitcode for one, each in error.failures.items()}
        verdict = _verdict(codes)
        if verdict == FAILED and task.end():
            verdict = FINAL
        return _say(f"rank {rank} {_ending(failure.exitcode)}", verdict)
    except RendezvousError as error:  # the others have ended, for this reason or another
        ended, name = task.end(), type(error).__name__
        text = ended or f"the nodes cannot meet: another one has ended ({name} {error})"
        return _say(text, FINAL if ended else FAILED)
    return 0


def _verdict(codes: Mapping[int, int]) -> int:
    if FINAL in codes.values():
        return FINAL
    return INTERRUPTED if set(codes.values()) & set(TERMINATED) else FAILED


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return code


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
