"""A job on two hosts, as a TrainJob's pods run it: one process on each, all through the network."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bucket_server import BucketServer
from distributed import stage_program
from distributed.cases import recipe_of
from distributed.comparison import require_same
from distributed.hosts import Host, connected_hosts, require_namespaces
from distributed.processes import TESTS, run_world
from distributed.troubled_worker import HANGING, TROUBLES
from stage_world import World, weights

from uae.launch.task import StageTask, read_failures, read_result, write_task
from uae.launch.task_places import StoredPlace
from uae.launch.torchrun import agent_command
from uae.recipe_files import dump_recipe

CASE = "pretrain"  # five updates, checkpoints after the second and the fourth
NAMES = ["uae-test-node-0-0.uae-test", "uae-test-node-0-1.uae-test"]  # as JobSet names pods
PORT = "29500"
PATIENCE_SECONDS = 300
WORKER = "distributed.troubled_worker"
OUTPUTS = {"model": "two", "logs": "two-log", "curves": "curves.html"}
FROZEN = "sharded"  # as the trained model


class Cluster(NamedTuple):
    hosts: list[Host]
    server: BucketServer


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_namespaces()
    folder = tmp_path_factory.mktemp("cluster")
    with connected_hosts(NAMES, folder) as (switch, hosts):
        inside = ["ip", "netns", "exec", switch.namespace]
        with BucketServer(folder / "server", host=switch.address, before=inside) as server:
            yield Cluster(hosts, server)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of one process, and of two on this machine that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    stage_program.run_job(world, {"case": CASE, "out": str(folder / "one")})
    job = {"case": CASE, "out": str(folder / "two"), "frozen": FROZEN}
    ended = run_world(stage_program.main, 2, world, 2, [job])
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    return folder


class Job:
    """A task in the store, and the hosts that work on it."""

    def __init__(self, cluster: Cluster, world: World, folder: Path) -> None:
        self.hosts, self.folder, self._server = cluster.hosts, folder, cluster.server
        self.store, self.prefix = cluster.server.store(), "runs/one"
        self.place = StoredPlace(self.store, f"{self.prefix}/jobs/stage")
        stage, recipe = recipe_of(world, CASE, frozen=FROZEN)
        self.inputs = {"data": world.data, "model_in": world.bundle}
        keys = {given: f"{self.prefix}/inputs/{given}" for given in self.inputs}
        self.task = StageTask(
            stage=stage,
            recipe=dump_recipe(recipe),
            run=f"{cluster.server.endpoint}/uae/{self.prefix}",
            world_size=2,
            identity="of the test",
            checkpoints=f"{self.prefix}/checkpoints",
            digests=self.give_inputs(),
            outputs={output: f"{self.prefix}/outputs/{output}" for output in OUTPUTS},
            **{given: f"s3://uae/{key}" for given, key in keys.items()},
        )
        write_task(self.place, self.task)

    def give_inputs(self) -> dict[str, str]:
        places = {f"{self.prefix}/inputs/{given}": folder for given, folder in self.inputs.items()}
        digests = [self.store.put_folder(folder, key) for key, folder in places.items()]
        return dict(zip(self.inputs, digests, strict=True))

    def take_inputs(self) -> None:
        self.store.delete(f"{self.prefix}/inputs")

    def start(self, node: int) -> None:
        """Start what a pod of the TrainJob runs."""
        meeting = {
            "PET_NNODES": "2", "PET_NODE_RANK": str(node), "PET_NPROC_PER_NODE": "auto",
            "PET_MASTER_ADDR": NAMES[0], "PET_MASTER_PORT": PORT,
        }  # fmt: skip
        paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        given = {TROUBLES: str(self.folder), "PYTHONPATH": paths}
        task = [f"s3://uae/{self.place.prefix}", f"--endpoint={self._server.endpoint}"]
        options = agent_command("", 1, max_restarts=3)[3:]
        self.hosts[node].start(
            WORKER, "agent", *options, "-m", WORKER, *task,
            variables=self._server.environment() | meeting | given,
        )  # fmt: skip

    def hang(self, update: int, rank: int) -> None:
        """Let a process hang when it has computed an update."""
        (self.folder / f"hang-{update}-{rank}").touch()

    def wait_until_one_hangs(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.folder / HANGING).exists():
            assert time.monotonic() < deadline, self.said(0) + self.said(1)
            time.sleep(0.05)
        (self.folder / HANGING).unlink()

    def model(self) -> Path:
        """Wait for both hosts; return the folder of the trained model, its logs beside it."""
        for host in self.hosts:
            assert host.wait(PATIENCE_SECONDS) == 0, self.said(0) + self.said(1)
        assert read_result(self.place, self.task.identity) is not None
        assert read_failures(self.place) == []  # what the first try left is taken back
        for output in ("model", "logs"):
            self.store.get_folder(self.task.outputs[output], self.folder / OUTPUTS[output])
        return self.folder / OUTPUTS["model"]

    def said(self, node: int) -> str:
        return self.hosts[node].log.read_text()

    def updates(self, node: int) -> list[int]:
        """The updates that a node has computed, in all its tries."""
        return [int(number) for number in re.findall(r"^ends update (\d+)$", self.said(node), re.M)]


def worker_of(host: Host):
    (found,) = [process for process in host.processes() if "agent" not in process.cmdline()]
    return found


def require_equal(one: Path, other: Path) -> None:
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not found[name].equal(wanted[name])] == []


def test_process_that_is_killed_and_host_that_is_lost_cost_the_updates_since_the_checkpoint(
    cluster, undisturbed, world, tmp_path
):
    job = Job(cluster, world, tmp_path)
    job.hang(update=3, rank=1)
    for node in range(2):
        job.start(node)
    job.wait_until_one_hangs()
    job.take_inputs()  # a process that is started again has them
    job.hang(update=4, rank=1)
    worker_of(job.hosts[1]).send_signal(signal.SIGKILL)
    job.wait_until_one_hangs()
    assert job.updates(0) == job.updates(1) == [0, 1, 2, 3, 2, 3, 4]
    assert "rank 1 was killed by SIGKILL; restart 1 of 3" in job.said(1)

    job.give_inputs()
    job.hosts[1].lose()
    job.hosts[1].come_back()
    job.start(1)  # the pod that takes its place
    model = job.model()
    assert job.updates(0) == job.updates(1) == [0, 1, 2, 3, 2, 3, 4, 4]
    require_equal(model, undisturbed / "two")
    require_same(undisturbed / "one", model)
