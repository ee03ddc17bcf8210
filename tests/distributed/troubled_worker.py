"""A worker that can be stopped in the middle: `python -m distributed.troubled_worker agent ...`
starts its agent.

It prints the number of each update that it ends. A file `hang-<update>-<rank>` in the folder of the
variable TROUBLES lets that process hang there, once, until somebody ends it; then it is `hanging`.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from uae.launch import agent, worker

TROUBLES, HANGING = "TROUBLES", "hanging"


def train() -> int:
    from uae.training.loop import Run

    folder, record = Path(os.environ[TROUBLES]), Run.record

    def troubled(run: Run, *arguments: Any, **settings: Any) -> None:
        print(f"ends update {run.next_step}", flush=True)
        trouble = folder / f"hang-{run.next_step}-{run.share.world.rank}"
        if trouble.exists():
            trouble.rename(folder / HANGING)
            time.sleep(600)
        record(run, *arguments, **settings)

    Run.record = troubled  # type: ignore[method-assign]
    return worker.main(sys.argv[1:])


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent.WORKER = "distributed.troubled_worker"
        sys.argv[1:] = sys.argv[2:]
        sys.exit(agent.main())
    sys.exit(train())
