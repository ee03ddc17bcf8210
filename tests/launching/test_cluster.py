"""A cluster that is not there, or hangs."""

import time
from pathlib import Path

import pytest
from launching.kubernetes_api import Fault, KubernetesApi
from launching.stage_step import launch

from uae.errors import ClusterError
from uae.launch import cluster_client
from uae.launch.cluster import Cluster
from uae.launch.location import RunLocation
from uae.launch.trainjob_request import job_request, sdk_arguments

RUN = RunLocation("http://s:1", "uae", "hangs")


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"no cluster: .*set KUBECONFIG"):
        Cluster.connect()


def test_namespace_is_that_of_the_context_or_the_one_asked_for(api: KubernetesApi) -> None:
    assert Cluster.connect().namespace == "uae"
    assert Cluster.connect("other").namespace == "other"
    assert api.requests == []  # nothing is asked for before there is something to do


def test_server_that_hangs_does_not_hang_the_step(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_client, "TIMEOUT_SECONDS", (0.5, 0.2))
    api.faults.append(Fault("POST", "/trainjobs", hang_seconds=30))
    request = job_request(RUN, "cold_start", "0" * 64, launch(), "s3://uae/task", [], {})
    started = time.monotonic()
    assert Cluster.connect().create_job(**sdk_arguments(request))
    assert time.monotonic() - started < 20
    api.hold.set()
