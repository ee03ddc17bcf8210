"""A worker with troubles: `python -m distributed.troubled_worker agent ...` starts its agent.

A trouble is a file `<what>-<update>-<rank>` in the folder of the variable TROUBLES. It comes when
that process ends that update, once:

    kill    the process is killed
    lose    it says so by a file `lost`, and hangs until its host is lost
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from uae.launch import agent, worker

TROUBLES = "TROUBLES"


def train() -> int:
    from uae.training.loop import Run

    folder, record = Path(os.environ[TROUBLES]), Run.record

    def troubled(run: Run, *arguments: Any, **settings: Any) -> None:
        when = f"{run.next_step}-{run.share.world.rank}"
        if taken(folder / f"kill-{when}"):
            os.kill(os.getpid(), signal.SIGKILL)
        if taken(folder / f"lose-{when}"):
            (folder / "lost").touch()
            time.sleep(600)
        record(run, *arguments, **settings)

    Run.record = troubled  # type: ignore[method-assign]
    return worker.main(sys.argv[1:])


def taken(file: Path) -> bool:
    there = file.exists()
    file.unlink(missing_ok=True)
    return there


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent.WORKER = "distributed.troubled_worker"
        sys.argv[1:] = sys.argv[2:]
        sys.exit(agent.main())
    sys.exit(train())
