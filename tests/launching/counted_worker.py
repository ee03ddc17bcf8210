"""What stands for a process of a job: each try takes the next ending of a list.

It is started with the folder of its task, which has `endings-<node>.json`: exit codes, or the
negative number of a signal that it sends itself. A node's tries are counted in `tries-<node>`. The
processes of several nodes wait for each other; one that ends for good leaves word of it.
"""

import json
import os
import sys
import time
from pathlib import Path

from uae.errors import DataError
from uae.launch.failures import FINAL, WorkerFailure
from uae.launch.task import write_failure
from uae.launch.task_places import LocalPlace

if __name__ == "__main__":
    folder, node = Path(sys.argv[1]), int(os.environ["GROUP_RANK"])
    tries = folder / f"tries-{node}"
    number = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (number + 1))
    while not (folder / f"tries-{(node + 1) % int(os.environ['GROUP_WORLD_SIZE'])}").exists():
        time.sleep(0.05)
    ending = json.loads((folder / f"endings-{node}.json").read_text())[number]
    if ending == FINAL:
        write_failure(LocalPlace(folder), WorkerFailure.of(DataError("no split heldout"), node))
    if ending < 0:
        os.kill(os.getpid(), -ending)
    sys.exit(ending)
