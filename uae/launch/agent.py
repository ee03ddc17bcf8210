"""torchrun as `python -m uae.launch.agent ARGUMENTS`: its arguments, and fewer last words.

After a failure torchrun itself prints forty lines about its own frames. The last lines of a log are
what a person is shown, and they should be those of the process that failed.
"""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run torchrun with this process's arguments; return its exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"rank {rank} {_ending(failure.exitcode)}", file=sys.stderr)
        return 1
    except SignalException as error:
        print(f"stopped by {error.sigval.name}", file=sys.stderr)
        return 128 + error.sigval
    return 0


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


if __name__ == "__main__":
    sys.exit(main())
