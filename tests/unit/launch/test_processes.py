"""A step's life and death beside the command that runs it, with real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from uae.errors import RunError
from uae.launch.lock import run_lock
from uae.launch.parent import PARENT_VARIABLE, announce_parent
from uae.launch.processes import Usage, step_processes

STEP = """
import sys, time
from uae.launch.parent import follow_parent
follow_parent()
print("following", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
from uae.launch.parent import announce_parent
command = ["sh", "-c", 'python3 -c "$0"; true'.replace("python3", sys.executable), sys.argv[1]]
child = subprocess.Popen(command, env=os.environ | announce_parent(), stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
child.wait()
"""


def ends(process: psutil.Process, *, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True


def test_step_ends_when_its_grandparent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, STEP], stdout=subprocess.PIPE)
    parent.stdout.readline()
    below = psutil.Process(parent.pid).children(recursive=True)
    assert len(below) == 2
    parent.kill()
    parent.wait()
    assert all(ends(process, seconds=10) for process in below)


def test_step_ends_at_once_if_its_parent_is_gone_already():
    announced = {PARENT_VARIABLE: "999999999:1.0"}
    done = subprocess.run([sys.executable, "-c", STEP], env=os.environ | announced, timeout=30)
    assert done.returncode == 137


def test_step_leaves_ctrl_c_to_its_parent():
    command = [sys.executable, "-c", STEP]
    step = subprocess.Popen(command, env=os.environ | announce_parent(), stdout=subprocess.PIPE)
    step.stdout.readline()
    step.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert step.poll() is None
    step.kill()
    step.wait()


def test_step_processes_spare_the_server_and_what_is_below_it():
    nested = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    server = subprocess.Popen([sys.executable, "-c", nested])
    step = subprocess.Popen(["sleep", "60"])
    deadline = time.monotonic() + 20
    while not psutil.Process(server.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(server.pid).children()
    try:
        found = {process.pid for process in step_processes(server.pid)}
        assert step.pid in found
        assert not found & {server.pid, *(child.pid for child in children)}
    finally:
        for process in [*children, server, step]:
            process.kill()
        server.wait()
        step.wait()


def test_usage_counts_children_and_earlier_executions(tmp_path: Path):
    path = tmp_path / "usage.json"
    path.write_text('{"wall_seconds": 100.0, "peak_memory_bytes": 1}')
    hungry = "import time; block = bytearray(200_000_000); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", hungry])
    try:
        with Usage(path) as usage:
            deadline = time.monotonic() + 20
            while usage.peak_memory_bytes < 200_000_000 and time.monotonic() < deadline:
                time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    assert usage.peak_memory_bytes > 200_000_000
    assert usage.wall_seconds > 100
    with Usage(path) as again:
        assert again.peak_memory_bytes == usage.peak_memory_bytes


def test_usage_survives_a_file_that_cannot_be_written(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    with Usage(folder / "usage.json") as usage:
        shutil.rmtree(folder)
        usage.peak_memory_bytes = 0
        deadline = time.monotonic() + 20
        while not usage.peak_memory_bytes and time.monotonic() < deadline:
            time.sleep(0.1)
        assert usage.peak_memory_bytes > 0, "the sampler still runs"
        time.sleep(0.6)
    assert not folder.exists()


def test_lock_names_its_holder_and_is_free_again(tmp_path: Path):
    refused = pytest.raises(RunError, match=f"process {os.getpid()}")
    with run_lock(tmp_path), refused, run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass
