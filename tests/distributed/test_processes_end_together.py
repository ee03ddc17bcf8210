"""Whatever happens to one process, all end, soon, and say why."""

import json
import re
import shutil
import signal
import time
from datetime import timedelta

import pytest
from distributed import engine_program
from distributed.engine_program import train, twelve_samples
from distributed.processes import run_world
from safetensors.torch import load_file
from stage_world import rows

from uae.training import watchdog
from uae.training.checkpoint import LocalCheckpoints
from uae.training.keeper import newest_checkpoint


def run_two(folder, what, where=1, **more):
    return run_world(engine_program.main, 2, folder, 2, what, where, *more.values())


def newest(folder):
    return newest_checkpoint(LocalCheckpoints(folder / "checkpoints").area)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(twelve_samples(), tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def terminated(tmp_path_factory):
    """How two processes ended, one of which got SIGTERM, and what they left."""
    folder = tmp_path_factory.mktemp("terminated")
    return run_two(folder, "terminated"), folder


def test_sigterm_to_one_ends_all_with_the_updates_before(terminated, alone, tmp_path):
    ended, left = terminated
    assert [one.code for one in ended] == [-signal.SIGTERM] * 2
    assert newest(left) == "update-00000003"  # nothing had moved in the one that it came in
    assert [row["step"] for row in rows(left / "log")] == [0, 1, 2]
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)
    resumed = train(twelve_samples(), tmp_path)
    assert all((resumed[name] - alone[name]).abs().max() < 1e-6 for name in alone)


def test_ctrl_c_to_the_main_process_ends_all_with_a_checkpoint(tmp_path):
    ended = run_two(tmp_path, "interrupted", where=0)
    assert all("KeyboardInterrupt" in one.output for one in ended)
    assert newest(tmp_path) == "update-00000003"


@pytest.mark.parametrize(
    ("what", "where", "text"),
    [
        ("fail", 1, "picture-7.png is no picture"),
        ("break-down", 0, "ZeroDivisionError: by zero"),
    ],
)
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


@pytest.mark.parametrize(
    ("what", "where", "place"),
    [
        ("hang", 0, r"has not come; it is at .*engine_program.py line \d+ in hang"),
        ("spin", 1, r"has not come; it is at .*engine_program.py line \d+ in spin"),
        ("stopped", 1, r"is gone or stopped; it was at .*engine_program.py line \d+ in stop"),
    ],
)
def test_a_process_that_hangs_is_named_with_its_place(tmp_path, what, where, place):
    started = time.monotonic()
    stopped = where if what == "stopped" else None
    patience = timedelta(seconds=3)
    ended = run_world(engine_program.main, 2, tmp_path, 2, what, where, patience, stopped=stopped)
    assert ended[1 - where].code == 1
    assert re.search(f"process {where} of 2 {place}", ended[1 - where].output)
    assert time.monotonic() - started < 40  # patience, to ask for the place, and to start
    if what == "spin":  # nobody ends it but itself
        assert ended[where].code == watchdog.EXIT_CODE


def test_a_process_that_waits_where_nothing_times_out_is_ended_by_its_watchdog(tmp_path):
    ended = run_world(engine_program.wait_elsewhere, 2, tmp_path, 2, 1)
    assert [one.code for one in ended] == [watchdog.EXIT_CODE] * 2
    expected = r"has been at .* for \d s. process 1 of 2 has not come; it is at .* in spin"
    assert re.search(expected, ended[0].output)
    assert re.search(expected, (tmp_path / "0.txt").read_text())
    assert "in spin" in (tmp_path / "1.txt").read_text()


def test_a_process_alone_that_hangs_is_ended_by_its_watchdog(tmp_path):
    (ended,) = run_world(engine_program.wait_elsewhere, 1, tmp_path, 1, 1)
    assert ended.code == watchdog.EXIT_CODE, ended.output
    expected = r"this process has been at .*threading.py line \d+ in wait.* for \d s\.$"
    assert re.search(f"^ConnectionLost: {expected}", ended.output, re.M)
    assert re.search(expected, (tmp_path / "0.txt").read_text())


def test_what_is_not_finite_in_one_process_is_skipped_in_all(tmp_path):
    broken = (3, "sample-2")  # begins a pass of the second of two, and of three
    alone = train(twelve_samples(), tmp_path / "alone", broken=broken)
    ended = run_world(engine_program.fit_with_broken, 2, tmp_path / "two", 2, broken)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    two = load_file(tmp_path / "two/weights.safetensors")
    assert all((two[name] - alone[name]).abs().max() < 1e-6 for name in alone)
    for how in ("alone", "two"):
        (skipped,) = json.loads((tmp_path / how / "log/skipped.json").read_text())
        assert (skipped["update"], skipped["kind"]) == (3, "loss")
        assert "sample-2" in skipped["samples"]
        counts = [row["skipped_updates"] for row in rows(tmp_path / how / "log")]
        assert counts == [0, 0, 0, 1, 1, 1, 1, 1]


def test_resumed_with_three_processes_instead_of_two_goes_on(terminated, alone, tmp_path):
    shutil.copytree(terminated[1], tmp_path, dirs_exist_ok=True)
    ended = run_world(engine_program.fit_with_broken, 3, tmp_path, 3, None)
    assert [one.code for one in ended] == [0] * 3, "\n".join(one.output for one in ended)
    three = load_file(tmp_path / "weights.safetensors")
    assert all((three[name] - alone[name]).abs().max() < 1e-6 for name in alone)
    assert [row["step"] for row in rows(tmp_path / "log")] == list(range(8))
