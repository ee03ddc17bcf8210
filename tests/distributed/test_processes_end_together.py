"""Whatever happens to one process, all end, soon, and say why."""

import re
import signal
import time
from datetime import timedelta

import pytest
from distributed import engine_program
from distributed.engine_program import train, twelve_samples
from distributed.processes import run_torchrun, run_world
from stage_world import rows

from uae.training.checkpoint import LocalCheckpoints
from uae.training.keeper import newest_checkpoint


def run_two(folder, what, where=1, **more):
    return run_world(engine_program.main, 2, folder, 2, what, where, *more.values())


def newest(folder):
    return newest_checkpoint(LocalCheckpoints(folder / "checkpoints").area)


def test_sigterm_to_one_ends_all_after_the_same_update(tmp_path):
    ended = run_two(tmp_path, "terminated")
    assert [one.code for one in ended] == [-signal.SIGTERM] * 2
    assert newest(tmp_path) == "update-00000004"  # of the update that the signal came in
    assert [row["step"] for row in rows(tmp_path / "log")] == [0, 1, 2, 3]
    alone = train(twelve_samples(), tmp_path / "whole")
    resumed = train(twelve_samples(), tmp_path)
    assert all((resumed[name] - alone[name]).abs().max() < 1e-6 for name in alone)


def test_ctrl_c_to_the_main_process_ends_all_with_a_checkpoint(tmp_path):
    ended = run_two(tmp_path, "interrupted", where=0)
    assert all("KeyboardInterrupt" in one.output for one in ended)
    assert newest(tmp_path) == "update-00000004"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("fail", "picture-7.png is no picture"),
        ("break-down", "ZeroDivisionError: by zero"),
    ],
)
@pytest.mark.parametrize("where", [0, 1])
def test_a_failure_of_one_is_everyone_s_error(tmp_path, what, where, text):
    ended = run_two(tmp_path, what, where)
    assert [one.code for one in ended] == [1, 1]
    assert text in ended[where].output
    told = f"OtherProcessFailed: process {where} of 2 failed: {text}"
    assert told in ended[1 - where].output
    assert newest(tmp_path) == "update-00000003"


def test_a_process_that_is_killed_ends_the_other(tmp_path):
    ended = run_two(tmp_path, "killed")
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert "process 1 of 2 is gone or stopped; it was at " in ended[0].output
    assert "another process has ended without a word" in ended[0].output


def test_torchrun_ends_the_rest_when_one_is_killed(tmp_path):
    ended = run_torchrun("distributed.engine_program", 2, tmp_path, 2, "killed", 1)
    assert ended.code == 1
    assert "SIGKILL" in ended.output


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("other-recipe", "the processes differ in stage, recipe, data set or model"),
        ("drift", "the processes differ in trained weights"),
    ],
)
def test_processes_that_do_not_train_the_same_are_refused(tmp_path, what, text):
    ended = run_two(tmp_path, what)
    assert [one.code for one in ended] == [1, 1]
    assert all(text in one.output for one in ended)


def test_processes_that_do_not_see_one_place_for_checkpoints_are_refused(tmp_path):
    ended = run_two(tmp_path, "no-checkpoint")
    text = "process 1 does not see the place where process 0 keeps the checkpoints"
    assert all(text in one.output for one in ended)


@pytest.mark.parametrize("where", [0, 1])
def test_a_process_that_hangs_is_named_with_its_place(tmp_path, where):
    started = time.monotonic()
    ended = run_two(tmp_path, "hang", where, patience=timedelta(seconds=4))
    assert ended[1 - where].code == 1
    expected = rf"process {where} of 2 has not come; it is at .*engine_program.py line \d+ in hang"
    assert re.search(expected, ended[1 - where].output)
    assert time.monotonic() - started < 60  # the hanging one sleeps for 20 seconds
