"""Following a TrainJob to its end: its conditions are polled, changes and node 0's log shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uae.errors import ClusterError
from uae.launch.cluster import Cluster, TrainJob
from uae.launch.lease import Lease
from uae.launch.pod_log import PodLog, last_lines
from uae.launch.pods import Pod

POLL_SECONDS = 5.0
LAST_LINES = 20


class Ending(NamedTuple):
    """How a job ended."""

    complete: bool
    text: str
    pods: Sequence[Pod]


def follow(cluster: Cluster, name: str, lease: Lease) -> Ending:
    """Return how a job ended, when it has; meanwhile renew its lease.

    Raises:
        ClusterError: If somebody else deletes the job, or the API server is away for too long.
    """
    follower = _Follower(cluster, name)
    while True:
        lease.renew()
        ending = follower.look()
        if ending is not None:
            return ending
        time.sleep(POLL_SECONDS)


def is_going(job: TrainJob) -> bool:
    """Say whether a job is being deleted."""
    return "deletionTimestamp" in job["metadata"]


def say(text: str) -> None:
    """Write a line to the step's log at once."""
    print(text, flush=True)


class _Follower:
    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        self._log = PodLog(cluster)
        self._said = ""
        self._told: set[str] = set()  # pods that have failed

    def look(self) -> Ending | None:
        """Show what is new; return how the job ended, if it has."""
        job = self._cluster.job(self._name)
        if job is None or is_going(job):
            raise ClusterError(
                f"TrainJob {self._cluster.namespace}/{self._name} was deleted by somebody else "
                "while it ran; another try goes on from its newest checkpoint"
            )
        found = job.get("status", {}).get("conditions", [])
        conditions = {each["type"]: each for each in found if each["status"] == "True"}
        pods, trouble = self._pods()
        self._say_once(trouble or _state(conditions, pods))
        self._log.show_new(pods)  # after the conditions: an ended job writes no more
        for kind in ("Complete", "Failed"):
            if kind in conditions:
                return Ending(kind == "Complete", _in_words(conditions[kind]), pods)
        self._tell_failures(pods)
        return None

    def _tell_failures(self, pods: Sequence[Pod]) -> None:
        """Show how pods have failed while the job goes on: others take their places."""
        for pod in pods:
            if pod.failed and pod.name not in self._told:
                self._told.add(pod.name)
                say("\n".join([*describe_failure(self._cluster, pod), "the job may restart"]))

    def _pods(self) -> tuple[Sequence[Pod], str]:
        """Return the job's pods, or why they cannot be seen, which costs no more than the log."""
        try:
            return self._cluster.pods(self._name), ""
        except ClusterError as error:
            return [], str(error)

    def _say_once(self, text: str) -> None:
        if text != self._said:
            say(f"TrainJob {self._name}: {text}")
        self._said = text


def describe_failure(cluster: Cluster, pod: Pod) -> list[str]:
    """Return how a pod has failed, with the last lines of its log."""
    lines = (f"  {line}" for line in last_lines(cluster, pod, LAST_LINES))
    return [f"pod {pod.name} (node {pod.node}) {pod.state}; its last lines:", *lines]


def _state(conditions: Mapping[str, Any], pods: Sequence[Pod]) -> str:
    for kind in ("Complete", "Failed", "Suspended"):
        if kind in conditions:
            return f"{kind.lower()} ({_in_words(conditions[kind])})"
    return ", ".join(f"node {pod.node} {pod.state}" for pod in pods) or "no pods yet"


def _in_words(condition: Mapping[str, Any]) -> str:
    return ": ".join(condition[key] for key in ("reason", "message") if condition.get(key))
