"""A stage that trains as a Kubeflow TrainJob: one job for each stage, followed to its end.

A step that is started again finds the job by its name and goes on with it, whether it still runs or
has ended meanwhile. A step that is told to end deletes the job: its processes store a checkpoint,
and the next try goes on from there. A job that no step follows any more ends by itself, see
`uae.launch.lease`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uae.errors import ClusterError, RunError, UaeError
from uae.launch import job_follower
from uae.launch.cluster import Cluster
from uae.launch.failures import reason
from uae.launch.job_follower import Ending, describe_failure, follow, is_going, say
from uae.launch.labels import RUN_LABEL, STAGE_LABEL
from uae.launch.lease import Lease, held_by_another
from uae.launch.location import RunLocation
from uae.launch.resources import Launch
from uae.launch.task import (
    StageResult,
    StageTask,
    read_failures,
    read_result,
    write_task,
)
from uae.launch.task_places import StoredPlace
from uae.launch.trainjob_request import (
    IDENTITY,
    JobRequest,
    job_request,
    run_label,
    sdk_arguments,
)
from uae.records import Artifact, Step

if TYPE_CHECKING:
    from uae.store.s3 import Store

VANISH_SECONDS = 900.0  # for a job that was deleted: its pods may store a checkpoint
STOP_SECONDS = 15.0  # to delete a job when the step itself must end
ORPHAN_SECONDS = 60.0  # to delete what a run has left, when its end is to be told


def train_in_job(
    work: Step,
    recipe: str,
    data: Artifact,
    model_in: Artifact | None,
    launch: Launch,
    tolerations: Sequence[Mapping[str, Any]],
    node_selector: Mapping[str, str],
    *,
    cluster: Cluster | None = None,
) -> Mapping[str, Any]:
    """Train a stage in a TrainJob, bring its outputs here and return its summary.

    Args:
        work: The step.
        recipe: The settled recipe as YAML text.
        data: The validated data set, which lies in the store.
        model_in: The model to start from, which lies there too; None starts from base weights.
        launch: What the job gets.
        tolerations: Kubernetes tolerations of its pods.
        node_selector: Labels of the nodes on which they may run.
        cluster: None takes that of this pod.

    Raises:
        UaeError: As a process of the job raised it.
        ResourcesError: If the cluster finds the job wrong.
        ClusterError: If the cluster refuses the job or loses it.
        KeyboardInterrupt: If SIGTERM came; the job is deleted.
    """
    place = _place(work.store, work.location, work.record.step)
    request = job_request(
        work.location,
        work.record.step,
        work.record.inputs,
        launch,
        f"s3://{work.location.bucket}/{place.prefix}",
        tolerations,
        node_selector,
    )
    task = _task(work, recipe, data, model_in, request)
    cluster = cluster or Cluster.connect()
    try:
        lease = Lease(place, work.record.job)
        _start(cluster, request, place, task, lease)
        ending = follow(cluster, request.name, lease)
        result = _result(cluster, request, place, ending)
    except KeyboardInterrupt:
        _stop(cluster, request.name)
        raise
    work.take_outputs(result.digests)
    _stop(cluster, request.name)
    return result.summary


def delete_orphans(run: str, store: Store, job: str, namespace: str | None = None) -> list[str]:
    """Delete the TrainJobs that an execution of a run has left; return their names.

    Args:
        run: The run's location.
        store: The run's store.
        job: The execution; jobs that another one follows are spared. Empty: there is no other one.
        namespace: None takes the pod's own; outside of a cluster there is then nothing to do.

    Raises:
        ClusterError: If the cluster refuses it or does not answer.
        StoreError: If the store does not say whose a job is.
    """
    from kubeflow.common.utils import is_running_in_k8s

    if namespace is None and not is_running_in_k8s():
        return []
    cluster = Cluster.connect(namespace).hurried(ORPHAN_SECONDS)
    location, deleted = RunLocation.parse(run), []
    for found in cluster.jobs(f"{RUN_LABEL}={run_label(location)}"):
        name, labels = found["metadata"]["name"], found["metadata"]["labels"]
        stage = labels[STAGE_LABEL].replace("-", "_")
        if held_by_another(_place(store, location, stage), job):
            say(f"TrainJob {name} is left to another execution of this run, which follows it")
            continue
        cluster.delete_job(name)
        deleted.append(name)
    return deleted


def _place(store: Store, location: RunLocation, stage: str) -> StoredPlace:
    return StoredPlace(store, f"{location.prefix}/jobs/{stage}")


def _task(
    work: Step, recipe: str, data: Artifact, model_in: Artifact | None, request: JobRequest
) -> StageTask:
    given = {"data": data} | ({"model_in": model_in} if model_in else {})
    for name, artifact in given.items():
        if not {"stored_at", "sha256"} <= set(artifact.metadata):
            raise RunError(
                f"input {name} of {work.record.step} lies at {artifact.uri or artifact.path} and "
                "says not where in the run's store: a TrainJob reads it from there; make it by a "
                "step of this run, or use launcher pod"
            )
    return StageTask(
        stage=work.record.step,
        recipe=recipe,
        run=str(work.location),
        world_size=request.launch.world_size,
        identity=request.identity,
        checkpoints=work.prefix("checkpoints"),
        data=data.metadata["stored_at"],
        model_in=model_in.metadata["stored_at"] if model_in else None,
        digests={name: artifact.metadata["sha256"] for name, artifact in given.items()},
        outputs={name: work.output_key(name) for name in work.outputs},
    )


def _start(
    cluster: Cluster, request: JobRequest, place: StoredPlace, task: StageTask, lease: Lease
) -> None:
    """Make the job, or find the one that an earlier try of this step made."""
    name, until = request.name, time.monotonic() + VANISH_SECONDS
    while True:
        found = cluster.job(name)
        if found is None:
            place.clear()
            write_task(place, task)
            lease.take()
            if cluster.create_job(**sdk_arguments(request)):
                say(f"created TrainJob {cluster.namespace}/{name}")
                return
        elif not is_going(found):
            if found["metadata"].get("annotations", {}).get(IDENTITY) == request.identity:
                lease.take()
                say(f"going on with TrainJob {cluster.namespace}/{name}")
                return
            say(f"replacing TrainJob {cluster.namespace}/{name}, made from other inputs")
            cluster.delete_job(name)
        if time.monotonic() > until:
            raise ClusterError(
                f"TrainJob {cluster.namespace}/{name} is deleted but not gone after "
                f"{VANISH_SECONDS:.0f} s: look for what holds it with `kubectl get trainjob {name} "
                "-o yaml` (finalizers)"
            )
        time.sleep(job_follower.POLL_SECONDS)


def _result(
    cluster: Cluster, request: JobRequest, place: StoredPlace, ending: Ending
) -> StageResult:
    """Return what the job left; a job that left nothing is explained and deleted."""
    result = read_result(place, request.identity) if ending.complete else None
    if result is not None:
        return result
    error = _explain(cluster, request, place, ending)
    _stop(cluster, request.name)  # the next try makes it anew
    raise error


def _explain(
    cluster: Cluster, request: JobRequest, place: StoredPlace, ending: Ending
) -> Exception:
    where = f"TrainJob {cluster.namespace}/{request.name}"
    text = f"{where} {'left no result' if ending.complete else 'failed'}: {ending.text}"
    failed = sorted((pod for pod in ending.pods if pod.failed), key=lambda pod: pod.ended_at)
    if failed:
        text += "; " + "\n".join(describe_failure(cluster, failed[0]))
    failures = read_failures(place)
    if not failures:
        return ClusterError(text)
    error = reason(failures)
    if isinstance(error, ClusterError):
        return ClusterError(f"{error}\n{text}")
    say(text)
    return error


def _stop(cluster: Cluster, name: str) -> None:
    """Delete the job, without much patience: what is left is deleted when the run ends."""
    try:
        cluster.hurried(STOP_SECONDS).delete_job(name)
        say(f"deleted TrainJob {cluster.namespace}/{name}")
    except UaeError as error:
        say(f"{error}; the exit handler deletes it")
