"""Whenever an evaluation is killed, and however it is shared: the same bytes in the end."""

import random
import signal
import subprocess
import sys
import time

import pytest

from uae.cli import main

FILES = ("results.json", "samples.parquet", "evaluation.json")
MOMENTS = 2  # kills, each as many finished batches later as the seed says


@pytest.fixture(scope="module")
def suite(make_suite):
    # small batches, so that there are many, and scorers that are loaded soon
    return make_suite(slots={"clip": "clip", "dinov2": "ssl"}, without=["dpg_bench"], batch_size=2)


@pytest.fixture(scope="module")
def undisturbed(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert main(["evaluate", "--suite", str(suite), "--out", str(out)]) == 0
    return out


def contents(out):
    paths = sorted(p for p in out.rglob("*") if p.name in FILES or p.suffix == ".png")
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def num_batches(out):
    return len(list(out.glob("*/journal/*/*.json"))) + 4 * len(list(out.glob("*/results.json")))


def test_killed_at_random_moments_it_ends_with_the_same_bytes(suite, undisturbed, tmp_path):
    command = [sys.executable, "-m", "uae.cli", "evaluate", "--suite", str(suite)]
    rng = random.Random(20)
    out, killed = tmp_path / "out", 0
    while killed < MOMENTS:
        before, more = num_batches(out), rng.randint(1, 3)
        with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and num_batches(out) < before + more:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            break
        killed += 1
    assert killed
    assert main(["evaluate", "--suite", str(suite), "--out", str(out)]) == 0
    assert contents(out) == contents(undisturbed)


def test_shared_by_two_processes_it_ends_with_the_same_bytes(suite, undisturbed, tmp_path):
    shared = ["--processes", "2", "--benchmarks", "geneval"]
    assert main(["evaluate", "--suite", str(suite), "--out", str(tmp_path), *shared]) == 0
    whole = {k: v for k, v in contents(undisturbed).items() if k.startswith("geneval/")}
    assert contents(tmp_path) == whole


def test_a_part_alone_leaves_no_scores(suite, tmp_path, capsys):
    part = ["--shard", "0/3", "--benchmarks", "geneval"]
    assert main(["evaluate", "--suite", str(suite), "--out", str(tmp_path), *part]) == 0
    assert "this part is done; the others are not" in capsys.readouterr().out
    assert not (tmp_path / "geneval" / "results.json").exists()


def test_a_process_that_fails_stops_the_evaluation(suite, tmp_path, capsys):
    (tmp_path / "geneval").write_text("a file where the folder should be")
    shared = ["--processes", "2", "--benchmarks", "geneval"]
    assert main(["evaluate", "--suite", str(suite), "--out", str(tmp_path), *shared]) == 2
    assert "of 2 ended with exit code 2" in capsys.readouterr().err
