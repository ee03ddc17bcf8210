"""The pods of a TrainJob, as the API server shows them: where each stands and how it ended."""

from __future__ import annotations

from typing import Any, NamedTuple

from kubeflow.trainer.constants.constants import JOB_INDEX_LABEL, NODE
from kubeflow.trainer.constants.constants import JOBSET_NAME_LABEL as JOBSET
from kubeflow.trainer.constants.constants import JOBSET_RJOB_NAME_LABEL as REPLICATED_JOB

TRAINING_CONTAINER = NODE  # the Trainer's name for what trains, of the job and of the container


class Pod(NamedTuple):
    """What is known of one pod."""

    name: str
    node: int  # its number within the job
    phase: str
    created_at: str
    state: str  # in words: why it waits, or how it ended
    failed: bool
    ended_at: str


def training_pods_selector(job: str) -> str:
    """Return the label selector of the pods that train for a TrainJob."""
    return f"{JOBSET}={job},{REPLICATED_JOB}={NODE}"


def read_pod(pod: Any) -> Pod:
    """Return what is known of a pod from the kubernetes client's object."""
    metadata, status = pod.metadata, pod.status
    containers = [c for c in status.container_statuses or [] if c.name == TRAINING_CONTAINER]
    state = containers[0].state if containers else None
    ended = state.terminated if state else None
    failed = status.phase == "Failed" or bool(ended and ended.exit_code)
    return Pod(
        metadata.name,
        int((metadata.labels or {}).get(JOB_INDEX_LABEL, 0)),
        status.phase or "Pending",
        str(metadata.creation_timestamp or ""),
        _in_words(status, state),
        failed,
        str(ended.finished_at or "") if ended else "",
    )


def _in_words(status: Any, state: Any) -> str:
    if state and state.terminated:
        ended = state.terminated
        reasons = [text for text in (ended.reason, status.reason, ended.message) if text]
        return f"ended with exit code {ended.exit_code} ({', '.join(reasons)})"
    if state and state.waiting and state.waiting.reason != "ContainerCreating":
        return ": ".join(text for text in (state.waiting.reason, state.waiting.message) if text)
    unmet = [c for c in status.conditions or [] if c.type == "PodScheduled" and c.status != "True"]
    if unmet:
        return f"{unmet[0].reason}: {unmet[0].message}"
    if status.reason:  # such as Evicted
        return f"{status.reason}: {status.message}"
    return str(status.phase or "Pending")
