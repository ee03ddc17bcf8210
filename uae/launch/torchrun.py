"""Several processes on this machine that train one stage: `torchrun` as a child of the step.

Its output becomes the step's, line by line. SIGTERM is handed on: the processes end their update,
store a checkpoint and end, and the step ends after them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from uae.launch.failures import reason
from uae.launch.parent import announce_parent
from uae.launch.task import StageTask, read_failures, read_result, write_task
from uae.launch.task_places import LocalPlace
from uae.store.caches import CACHES_VARIABLE, caches_folder

WORKER = "uae.launch.worker"
# How long processes may take to end their update and store a checkpoint. After a failure of one of
# them it is also how long the others, who wait for it, are waited for.
SHUTDOWN_SECONDS = 120
SHUTDOWN_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
KILL_AFTER_SECONDS = SHUTDOWN_SECONDS + 30


def train_with_torchrun(task: StageTask, max_restarts: int) -> Mapping[str, Any]:
    """Run the task's processes on this machine and return the stage's summary.

    Args:
        task: The task.
        max_restarts: How often they are started again when one was lost.

    Raises:
        UaeError: As a process raised it.
        ClusterError: If a process was lost; the newest checkpoint is kept.
        KeyboardInterrupt: If SIGTERM came; a checkpoint was stored if training had begun.
    """
    with tempfile.TemporaryDirectory(prefix="uae-") as folder:
        place = LocalPlace(Path(folder))
        write_task(place, task)
        command = agent_command(sys.executable, task.world_size, max_restarts)
        # What is temporary ends with the step, also where processes are killed; caches do not.
        places = {"TMPDIR": folder, CACHES_VARIABLE: str(caches_folder())}
        code = _run([*command, "--standalone", "-m", WORKER, folder], places)
        result = read_result(place, task.identity) if code == 0 else None
        if result is None:
            raise reason(read_failures(place))
        return result.summary


def agent_command(python: str, num_processes: int, max_restarts: int) -> list[str]:
    """Return how torchrun is started on a node, up to what it starts itself."""
    numbers = [f"--nproc-per-node={num_processes}", f"--max-restarts={max_restarts}"]
    return [python, "-m", "uae.launch.agent", *numbers]


def _run(command: list[str], variables: dict[str, str]) -> int:
    """Run a command whose output is ours; return its exit code."""
    given = {SHUTDOWN_VARIABLE: str(SHUTDOWN_SECONDS), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | announce_parent() | given | variables,
        start_new_session=True,  # whoever signals our group does not reach it past us
    )
    try:
        _pass_on(process)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        late = threading.Timer(KILL_AFTER_SECONDS, _kill, [process])
        late.daemon = True
        late.start()
        _pass_on(process)
        process.wait()
        late.cancel()
        raise
    finally:
        _kill(process)


def _pass_on(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)


def _kill(process: subprocess.Popen[str]) -> None:
    """End what is left of a process and all below it."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()
