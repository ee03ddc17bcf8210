"""`uae run`: the whole pipeline on this machine, in full, failing, resumed, and killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from tiny_run import write_data, write_recipe

pytestmark = pytest.mark.timeout(1500)  # about 90 s each where nothing else runs
UAE = [sys.executable, "-m", "uae.cli"]
STEPS = 15
STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "pairs")


def uae_run(*arguments, root):
    command = [*UAE, "run", *map(str, arguments), "--run-root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=1400)


def processes_of(root):
    """Return every process that has the run's folder on its command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        if str(root) in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found


def step_of(root):
    """Return the Python process of the step that runs, not the shell above it."""
    steps = [p for p in processes_of(root) if "kfp.dsl.executor_main" in p.cmdline()]
    return max(steps, key=lambda p: p.create_time())


def wait_until(condition, *, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.2)


def only_run(root):
    return next(path.parent for path in root.glob("*/request.json"))


def log_of(root):
    logs = list(root.glob("*/logs/pipeline.log"))
    return logs[0].read_text(encoding="utf-8") if logs else ""


@pytest.fixture(scope="module")
def finished(recipe, data, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return uae_run("--recipe", recipe, "--data", data, root=root), root


def test_whole_run_leaves_report_model_and_metrics(finished):
    done, root = finished
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_run(root)
    assert f"report: {folder / 'report.html'}" in done.stdout
    assert f"[{STEPS}/{STEPS}] report_run" in done.stdout
    assert len(done.stdout.splitlines()) < 50, "the console stays calm"
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "model" / "model_index.json").is_file()
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert len(numbers["seconds"]) == STEPS
    assert sum(numbers["seconds"].values()) < numbers["wall_seconds"]
    assert numbers["peak_memory_bytes"] > 200 * 2**20
    assert list(numbers["stages"]) == list(STAGES)
    assert numbers["gate"]["decision"] in {"promote", "reject"}
    assert not (folder / "tmp").exists()
    assert not processes_of(root)


def test_resume_of_a_finished_run_skips_every_step(finished):
    _, root = finished
    folder = only_run(root)
    before = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    done = uae_run("--resume", folder.name, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        done.stdout.count("(done before)") == STEPS - 2
    )  # start and report run in every execution
    after = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert after["stages"] == before["stages"]
    assert after["wall_seconds"] > before["wall_seconds"]


def test_report_is_written_anew(finished):
    _, root = finished
    folder = only_run(root)
    (folder / "report.html").unlink()
    command = [*UAE, "report", folder.name, "--run-root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report.html")
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_failing_step_shows_its_message_and_the_report_is_written(recipe, data, tmp_path):
    rows = (data / "captions.jsonl").read_text().replace("images/003.png", "images/nowhere.png")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "captions.jsonl").write_text(rows)
    (broken / "images").symlink_to(data / "images")
    root = tmp_path / "runs"
    root.mkdir()
    done = uae_run("--recipe", recipe, "--data", broken, root=root)
    folder = only_run(root)
    assert done.returncode == 2
    assert "validate_data failed: " in done.stderr
    assert "scene-003" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert f" run --resume {folder.name}" in done.stderr
    assert "scene-003" in (folder / "data-report.html").read_text(encoding="utf-8")
    assert "scene-003" in (folder / "report.html").read_text(encoding="utf-8")
    assert json.loads((folder / "metrics.json").read_text())["status"] == "failed"
    assert not processes_of(root)
    done = uae_run("--resume", "nobody", root=root)
    assert done.returncode == 2
    assert folder.name in done.stderr, "the runs that can be resumed are named"


@pytest.fixture
def running(recipe, data, tmp_path):
    """A run in the middle of its first trained stage."""
    command = [*UAE, "run", "--recipe", str(recipe), "--data", str(data)]
    log = (tmp_path / "console.txt").open("w")
    process = subprocess.Popen(
        [*command, "--run-root", str(tmp_path)], stdout=log, stderr=log, start_new_session=True
    )
    started = '"started", "step": "pretrain_decoder"'
    wait_until(lambda: started in log_of(tmp_path), seconds=600, what="the stage's start")
    yield process, tmp_path
    process.kill()
    process.wait()


@pytest.mark.parametrize("to_group", [True, False], ids=["ctrl-c", "kill-int"])
def test_interrupt_ends_everything(running, to_group):
    process, root = running
    send = os.killpg if to_group else os.kill
    send(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert not processes_of(root)
    console = (root / "console.txt").read_text()
    assert f" run --resume {only_run(root).name}" in console
    assert "Traceback" not in console


def test_end_of_the_store_ends_the_run_with_a_way_on(running):
    process, root = running
    servers = [p for p in processes_of(root) if "mini" in p.cmdline()]
    assert len(servers) == 1
    servers[0].kill()
    assert process.wait(timeout=600) == 2
    console = (root / "console.txt").read_text()
    assert "store" in console
    assert f" run --resume {only_run(root).name}" in console
    assert "Traceback" not in console
    assert not processes_of(root)


class Killed:
    """A run that is killed in the middle of each stage's training, and resumed."""

    def __init__(self, root):
        self.root, self.holds = root / "runs", root / "holds"
        self.root.mkdir()
        self.holds.mkdir()
        for stage in STAGES:
            (self.holds / stage).touch()
        self.process, self.succeeded = None, []

    def start(self, *arguments):
        command = [*UAE, "run", *map(str, arguments), "--run-root", str(self.root)]
        hooks = {"PYTHONPATH": str(Path(__file__).parent / "holds"), "HOLDS": str(self.holds)}
        self.process = subprocess.Popen(
            command,
            stdout=(self.holds / "console.txt").open("w"),
            stderr=subprocess.STDOUT,
            env=os.environ | hooks,
            start_new_session=True,
        )

    def wait_for(self, stage):
        """Wait until the stage has a checkpoint and updates to make."""
        ended = self.process.poll
        wait_until(
            lambda: not (self.holds / stage).exists() or ended() is not None,
            seconds=900,
            what=f"the first checkpoint of {stage}",
        )
        assert ended() is None, self.console()

    def console(self):
        return (self.holds / "console.txt").read_text(encoding="utf-8")

    def resume(self, *, after, send):
        """Kill what `send` reaches while stage `after` trains, then resume."""
        self.wait_for(after)
        send(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not processes_of(self.root), seconds=30, what="the end of all processes")
        self.succeeded = re.findall(r'"succeeded", "step": "([^"]+)"', log_of(self.root))
        self.start("--resume", only_run(self.root).name)


@pytest.fixture
def killed(tmp_path):
    run = Killed(tmp_path)
    yield run
    run.process.kill()
    run.process.wait()


def weights_of(root):
    model = only_run(root) / "model"
    found = {path.relative_to(model): path.read_bytes() for path in model.rglob("*.safetensors")}
    assert len(found) > 4
    return found


def test_run_that_is_killed_in_every_stage_ends_with_the_same_model(recipe, data, finished, killed):
    killed.start("--recipe", recipe, "--data", data)
    killed.wait_for("pretrain_decoder")
    again = uae_run("--resume", only_run(killed.root).name, root=killed.root)
    assert again.returncode == 2, "a second process on the run is refused"
    assert f"held by process {killed.process.pid}" in again.stderr
    assert killed.process.poll() is None
    step_of(killed.root).kill()  # the step alone: it is tried again
    killed.resume(after="cold_start", send=os.kill)
    killed.resume(after="generation_for_understanding", send=os.killpg)
    killed.resume(after="understanding_for_generation", send=os.kill)
    assert killed.process.wait(timeout=1400) == 0, killed.console()

    assert '"step": "pretrain_decoder", "attempt": 2' in log_of(killed.root)
    assert {"validate_data", *STAGES[:3]} <= set(killed.succeeded)
    restored = re.findall(r"\] (\S+) .*\(done before\)", killed.console())
    before = [step for step in killed.succeeded if step != "start_run"]  # which is always made
    assert sorted(restored) == sorted(before), "what was finished before the last kill"
    commits = Counter((killed.holds / "commits.txt").read_text().split())
    assert commits == dict.fromkeys(STAGES, 2), "no update was made twice"
    assert not processes_of(killed.root)
    assert weights_of(killed.root) == weights_of(finished[1])
