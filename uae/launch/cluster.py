"""One namespace of a Kubernetes cluster: TrainJobs, their pods and logs.

TrainJobs are made by the `kubeflow` SDK. Everything else goes through the kubernetes client that
the SDK holds: the SDK's own calls hide the server's status, wait without a limit, and read
runtimes, for which a step has no right.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar

from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend

from uae.errors import ClusterError, ResourcesError
from uae.launch.cluster_client import Fault, fault_of, open_backend
from uae.launch.pods import TRAINING_CONTAINER, Pod, read_pod, training_pods_selector

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
TRANSIENT_STATUS = {0, 408, 429, 500, 502, 503, 504}
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check this pod's service account and its token",
    HTTPStatus.FORBIDDEN: "give this pod's service account the role for it",
    HTTPStatus.NOT_FOUND: "install Kubeflow Trainer v2, if the cluster knows no TrainJobs",
}
Result = TypeVar("Result")
TrainJob = dict[str, Any]  # as the API server writes it


class ClusterRefusal(ClusterError):
    """An answer of the API server that trying again at once does not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Patience:
    """How long an API server may be away; delays double up to the longest."""

    seconds: float = 600
    first_delay_seconds: float = 1
    longest_delay_seconds: float = 30


class Cluster:
    """One namespace. Every call is tried again while the API server is away."""

    def __init__(
        self, backend: KubernetesBackend, namespace: str, patience: Patience | None = None
    ) -> None:
        self.namespace = namespace
        self._backend = backend
        self._patience = patience or Patience()

    @classmethod
    def connect(cls, namespace: str | None = None, patience: Patience | None = None) -> Cluster:
        """Open the cluster of this pod, or the one that kubectl would use.

        Args:
            namespace: None takes the pod's own, or that of kubectl's context.
            patience: How long the API server may be away.

        Raises:
            ClusterError: If there is no cluster to talk to.
        """
        backend = open_backend(namespace)
        return cls(backend, backend.namespace, patience)

    def hurried(self, seconds: float) -> Cluster:
        """Return the same cluster with less patience."""
        return Cluster(self._backend, self.namespace, replace(self._patience, seconds=seconds))

    def create_job(self, **wanted: Any) -> bool:
        """Create a TrainJob from the SDK's arguments; return whether none of its name existed.

        Raises:
            ResourcesError: If the API server finds it wrong.
            ClusterError: If it refuses it, or does not answer.
        """
        try:
            self._call("create TrainJobs", lambda: self._backend.train(**wanted))
        except ClusterRefusal as refused:
            if refused.status == HTTPStatus.CONFLICT:
                return False
            if refused.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
                raise ResourcesError(str(refused)) from refused
            raise
        return True

    def job(self, name: str) -> TrainJob | None:
        """Return a TrainJob, or None if there is none."""
        api, where = self._backend.custom_api, self._where(name)
        found: TrainJob | None = self._unless_missing(
            "read TrainJobs", lambda: api.get_namespaced_custom_object(*where)
        )
        return found

    def jobs(self, selector: str) -> list[TrainJob]:
        """Return the TrainJobs with these labels; none where the cluster knows no TrainJobs."""
        api, where = self._backend.custom_api, self._where()
        found = self._unless_missing(
            "list TrainJobs",
            lambda: api.list_namespaced_custom_object(*where, label_selector=selector),
        )
        return list(found["items"]) if found else []

    def delete_job(self, name: str) -> None:
        """Delete a TrainJob if there is one. Its name is free when all that it made is gone."""
        api, where = self._backend.custom_api, self._where(name)
        self._unless_missing(
            "delete TrainJobs",
            lambda: api.delete_namespaced_custom_object(*where, propagation_policy="Foreground"),
        )

    def pods(self, job: str) -> list[Pod]:
        """Return the pods that train for a TrainJob, by node, the newest of a node first."""
        api, selector = self._backend.core_api, training_pods_selector(job)
        found = self._call(
            "list pods", lambda: api.list_namespaced_pod(self.namespace, label_selector=selector)
        )
        pods = [read_pod(pod) for pod in found.items]
        pods.sort(key=lambda pod: pod.created_at, reverse=True)
        return sorted(pods, key=lambda pod: pod.node)

    def log(self, pod: str, **wanted: int | None) -> str | None:
        """Return the log of a pod's training container, or None while it has none.

        Args:
            pod: Name of the pod.
            wanted: `since_seconds` or `tail_lines`.

        Raises:
            ClusterError: At once, if it cannot be read.
        """
        api = self._backend.core_api
        asked = {"container": TRAINING_CONTAINER, "timestamps": True, "_preload_content": False}
        asked |= {name: value for name, value in wanted.items() if value is not None}

        def read() -> bytes:
            answer = api.read_namespaced_pod_log(pod, self.namespace, **asked)
            try:
                data: bytes = answer.data
                return data
            finally:
                answer.release_conn()

        try:
            found = self.hurried(0)._call("read logs (pods/log)", read)
        except ClusterRefusal as refused:
            if refused.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                return None  # its container waits to start, or it is gone
            raise
        return found.decode("utf-8", errors="replace")

    def _where(self, *name: str) -> tuple[str, ...]:
        return (GROUP, VERSION, self.namespace, PLURAL, *name)

    def _unless_missing(self, action: str, operation: Callable[[], Result]) -> Result | None:
        try:
            return self._call(action, operation)
        except ClusterRefusal as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _call(self, action: str, operation: Callable[[], Result]) -> Result:
        patience = self._patience
        until, delay = time.monotonic() + patience.seconds, patience.first_delay_seconds
        told = False
        while True:
            try:
                return operation()
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                if fault.status not in TRANSIENT_STATUS:
                    text = self._explain(action, fault)
                    raise ClusterRefusal(text, fault.status) from error
                if time.monotonic() + delay > until:
                    raise ClusterError(
                        f"cannot {action} in namespace {self.namespace}: the API server says "
                        f"{fault.text}, for {patience.seconds:.0f} s; what runs there goes on"
                    ) from error
                if not told:
                    print(f"the API server says {fault.text}; trying again", flush=True)
                told = True
            time.sleep(delay)
            delay = min(2 * delay, patience.longest_delay_seconds)

    def _explain(self, action: str, fault: Fault) -> str:
        advice = _ADVICE.get(fault.status)
        found = f"cannot {action} in namespace {self.namespace}: the API server says {fault.text}"
        return f"{found}; {advice}" if advice else found
