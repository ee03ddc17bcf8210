"""What is left of a TrainJob when its step, or its run, is over before it is."""

import signal
import time

import pytest
from launching.kubernetes_api import NAMESPACE, Fault, KubernetesApi
from launching.stage_step import StageStep, launch

from uae.errors import ClusterError
from uae.launch.labels import RUN_LABEL, STAGE_LABEL
from uae.launch.location import RunLocation
from uae.launch.trainjob import delete_orphans
from uae.launch.trainjob_request import run_label


def wait_for_job(api: KubernetesApi, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not api.asked("GET", "/pods"):
        assert time.monotonic() < until, "no step followed a job"
        time.sleep(0.05)


def test_sigterm_deletes_the_job(api: KubernetesApi, stage_step: StageStep) -> None:
    step = stage_step.start(launch())
    try:
        wait_for_job(api)
        step.send_signal(signal.SIGTERM)
        said, _ = step.communicate(timeout=60)
    finally:
        step.kill()
    assert step.returncode != 0
    assert api.jobs == {}
    assert f"deleted TrainJob {NAMESPACE}/uae-" in said
    error = stage_step.record["error"]
    assert error["message"] == "stopped by SIGTERM"
    assert error["retryable"] is True


def test_sigkill_leaves_the_job_to_the_next_try(api: KubernetesApi, stage_step: StageStep) -> None:
    step = stage_step.start(launch())
    wait_for_job(api)
    step.kill()
    step.communicate()
    assert len(api.jobs) == 1
    assert stage_step.record["status"] == "running"


def job(run: str, name: str) -> dict:
    label = run_label(RunLocation.parse(run))
    return {"metadata": {"name": name, "labels": {RUN_LABEL: label, STAGE_LABEL: "cold-start"}}}


def test_orphans_of_the_run_and_no_others_are_deleted(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    other = stage_step.run + "0"
    for run, name in ((stage_step.run, "one"), (stage_step.run, "two"), (other, "three")):
        api.jobs[name] = job(run, name)
    assert delete_orphans(stage_step.run, stage_step.store, "job-1", NAMESPACE) == ["one", "two"]
    assert list(api.jobs) == ["three"]


def test_orphans_where_no_trainer_is_installed(api: KubernetesApi, stage_step: StageStep) -> None:
    api.faults.append(Fault("GET", "/trainjobs", 404))
    assert delete_orphans(stage_step.run, stage_step.store, "job-1", NAMESPACE) == []


def test_orphans_that_may_not_be_listed(api: KubernetesApi, stage_step: StageStep) -> None:
    api.faults.append(Fault("GET", "/trainjobs", 403))
    with pytest.raises(ClusterError, match=r"cannot list TrainJobs in namespace uae: .*role"):
        delete_orphans(stage_step.run, stage_step.store, "job-1", NAMESPACE)


def test_outside_of_a_cluster_no_cluster_is_asked(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    assert delete_orphans(stage_step.run, stage_step.store, "job-1") == []
    assert api.requests == []


def test_run_labels_are_labels_and_tell_runs_apart() -> None:
    ids = ("a", "A" * 128, "A" * 127 + "_", "7_._-", "0" * 40)
    locations = [RunLocation(f"http://{host}:1", "uae", name) for name in ids for host in "xy"]
    labels = [run_label(location) for location in locations]
    assert len(set(labels)) == len(locations)
    assert all(len(label) <= 27 and label[0].isalnum() for label in labels)
    assert "".join(labels).islower()
