"""A stage's step with an embedded store, and a Kubernetes API to start it on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifact_place import Place
from launching.kubernetes_api import KubernetesApi, serve, write_kubeconfig
from launching.stage_step import StageStep
from stage_world import World, make_world

from uae.launch import cluster, job_follower
from uae.launch.cluster import Patience
from uae.launch.location import JOB_VARIABLE, run_location
from uae.store.embedded import EmbeddedStore


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("world"))
    (made.data / "data.json").write_text('{"revision": "of the test"}')
    return made


@pytest.fixture(scope="session")
def stored_data(server: EmbeddedStore, world: World) -> Place:
    """The data set as validate_data leaves it: here and in the store."""
    prefix = "runs/before/artifacts/validate_data/dataset"
    sha256 = server.store().put_folder(world.data, prefix)
    metadata = {"stored_at": f"s3://uae/{prefix}", "sha256": sha256}
    return Place(str(world.data), metadata=metadata)


@pytest.fixture
def stage_step(
    server: EmbeddedStore,
    world: World,
    stored_data: Place,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> StageStep:
    environment = server.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    secrets = tuple(value for name, value in environment.items() if "KEY" in name)
    monkeypatch.setenv(JOB_VARIABLE, "job-1")
    run = run_location(re.sub(r"\W+", "-", request.node.name), server.endpoint, "uae")
    return StageStep(world, tmp_path, run, server.store(), stored_data, secrets)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A Kubernetes API server; nobody waits long."""
    with serve() as running:
        config = write_kubeconfig(tmp_path / "kubeconfig", running.url)
        monkeypatch.setenv("KUBECONFIG", str(config))
        monkeypatch.setattr(job_follower, "POLL_SECONDS", 0.01)
        patience = Patience(seconds=1, first_delay_seconds=0.01, longest_delay_seconds=0.1)
        monkeypatch.setattr(cluster, "Patience", lambda: patience)
        yield running
