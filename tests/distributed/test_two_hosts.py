"""A job on two hosts, as a TrainJob's pods run it: one process on each, all through the network."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bucket_server import BucketServer
from distributed import stage_program
from distributed.cases import recipe_of
from distributed.comparison import require_same
from distributed.hosts import Host, connected_hosts, require_namespaces
from distributed.processes import TESTS, run_world
from distributed.troubled_worker import TROUBLES
from stage_world import World, weights

from uae.launch.task import StageTask, read_result, write_task
from uae.launch.task_places import StoredPlace
from uae.launch.torchrun import agent_command
from uae.recipe_files import dump_recipe
from uae.store.s3 import Store

CASE = "pretrain"  # five updates, checkpoints after the second and the fourth
NAMES = ["uae-test-node-0-0.uae-test", "uae-test-node-0-1.uae-test"]  # as JobSet names pods
PORT = "29500"
PATIENCE_SECONDS = 120
WORKER = "distributed.troubled_worker"


class Cluster(NamedTuple):
    hosts: list[Host]
    server: BucketServer
    store: Store
    inputs: dict[str, str]  # name -> sha256


@pytest.fixture(scope="module")
def cluster(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_namespaces()
    folder = tmp_path_factory.mktemp("cluster")
    with connected_hosts(NAMES, folder) as (switch, hosts):
        inside = ["ip", "netns", "exec", switch.namespace]
        with BucketServer(folder / "server", host=switch.address, before=inside) as server:
            store = server.store()
            data, bundle = (store.put_folder(path, path.name) for path in world[:2])
            yield Cluster(hosts, server, store, {"data": data, "model_in": bundle})


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of one process, and of two on this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    jobs = [
        {"case": CASE, "out": str(folder / frozen), "frozen": frozen if frozen != "none" else None}
        for frozen in ("none", "sharded")
    ]
    stage_program.run_job(world, jobs[0] | {"out": str(folder / "one")})
    ended = run_world(stage_program.main, 2, world, 2, jobs)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    return folder


class Job:
    """A task in the store, and the hosts that work on it."""

    def __init__(self, cluster: Cluster, world: World, name: str, folder: Path) -> None:
        stage, recipe = recipe_of(world, CASE, frozen=None if name == "none" else name)
        self.cluster, self.folder, self.name = cluster, folder, name
        self.place = StoredPlace(cluster.store, f"{name}/job")
        self.task = StageTask(
            stage=stage,
            recipe=dump_recipe(recipe),
            run=f"{cluster.server.endpoint}/uae/runs/{name}",
            world_size=2,
            identity="of the test",
            checkpoints=f"{name}/checkpoints",
            data=f"s3://uae/{world.data.name}",
            model_in=f"s3://uae/{world.bundle.name}",
            digests=cluster.inputs,
            outputs={output: f"{name}/{output}" for output in ("model", "logs", "curves")},
        )
        write_task(self.place, self.task)

    def trouble(self, what: str, update: int, rank: int) -> None:
        (self.folder / f"{what}-{update}-{rank}").touch()

    def start(self, node: int) -> None:
        """Start what a pod of the TrainJob runs."""
        meeting = {"PET_NNODES": "2", "PET_NODE_RANK": str(node), "PET_NPROC_PER_NODE": "auto",
                   "PET_MASTER_ADDR": NAMES[0], "PET_MASTER_PORT": PORT}  # fmt: skip
        given = {TROUBLES: str(self.folder), "PYTHONPATH": path()}
        words = agent_command("", 1, 3)[3:]
        self.cluster.hosts[node].start(
            WORKER, "agent", *words, "-m", WORKER, f"s3://uae/{self.name}/job",
            f"--endpoint={self.cluster.server.endpoint}",
            variables=self.cluster.server.environment() | meeting | given,
        )  # fmt: skip

    def wait(self) -> Path:
        """Wait for both hosts; return the folder with the trained model and its logs."""
        for host in self.cluster.hosts:
            assert host.wait(PATIENCE_SECONDS) == 0, host.log.read_text()
        assert read_result(self.place, "of the test") is not None
        for output in ("model", "logs"):
            name = "two" if output == "model" else "two-log"
            self.cluster.store.get_folder(self.task.outputs[output], self.folder / name)
        return self.folder / "two"


def path() -> str:
    import os

    return os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def equal(one: Path, other: Path) -> bool:
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    return all(found[name].equal(wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["none"])
def test_replicated(cluster, undisturbed, world, tmp_path, name):
    t = time.time()
    job = Job(cluster, world, name, tmp_path)
    job.trouble("kill", 3, 1)
    job.trouble("lose", 4, 1)
    job.start(0)
    job.start(1)
    until((tmp_path / "lost").exists)
    print("lost", time.time() - t)
    cluster.hosts[1].lose()
    cluster.hosts[1].come_back()
    job.start(1)
    model = job.wait()
    print("done", time.time() - t)
    for host in cluster.hosts: print(host.log.read_text())
    assert equal(model, undisturbed / name)
    require_same(undisturbed / "one", model)
