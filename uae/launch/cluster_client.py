"""The kubernetes client and the SDK's backend as we use them, and what their errors mean."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import urllib3.exceptions
from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException

from uae.errors import ClusterError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_SECONDS = (5, 60)  # to connect, and for each part of an answer


class Fault(NamedTuple):
    """A call that failed: the server's status, 0 where it gave none, and its own words."""

    status: int
    text: str


class _Backend(KubernetesBackend):  # type: ignore[misc]
    def verify_backend(self) -> None:
        """Leave out what only warns: it reads a ConfigMap of a namespace that is not ours."""


class _TimedClient(RESTClientObject):  # type: ignore[misc]
    """The SDK gives its calls no time limit; a server that hangs would hang the step."""

    def request(self, method: str, url: str, **given: Any) -> Any:
        """Send a request, with a limit."""
        given["_request_timeout"] = given.get("_request_timeout") or TIMEOUT_SECONDS
        return super().request(method, url, **given)


def open_backend(namespace: str | None) -> KubernetesBackend:
    """Open the cluster of this pod, or the one that kubectl would use.

    Args:
        namespace: None takes the pod's own, or that of kubectl's context.

    Raises:
        ClusterError: If there is no cluster to talk to.
    """
    file = os.environ.get("KUBECONFIG")  # the client reads it once, when it is imported
    try:
        name = namespace or _own_namespace(file)
        backend = _Backend(KubernetesBackendConfig(namespace=name, config_file=file))
    except ConfigException as error:
        raise ClusterError(
            f"no cluster: {error}; run in a pod with a service account, or set KUBECONFIG"
        ) from error
    client = backend.custom_api.api_client
    client.rest_client = _TimedClient(client.configuration)
    return backend


def _own_namespace(config_file: str | None) -> str:
    if NAMESPACE_FILE.is_file() and not config_file:
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    _, current = config.list_kube_config_contexts(config_file)
    return str(current["context"].get("namespace", "default"))


def fault_of(error: Exception) -> Fault | None:
    """Return what a call's error means; None if it is no answer or silence of the server.

    The SDK raises a RuntimeError from the error that it caught.
    """
    inner = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(inner, ApiException):
        text = _message(inner.body) or str(inner.reason).partition("\n")[0]
        return Fault(int(inner.status or 0), f"{inner.status or 'TLS'} {text}")
    if isinstance(inner, urllib3.exceptions.HTTPError):
        reason = getattr(inner, "reason", None) or inner
        return Fault(0, f"no answer ({type(reason).__name__})")
    return None


def _message(body: str | bytes | None) -> str | None:
    """Return the message of a Kubernetes Status, without what surrounds it."""
    try:
        values = json.loads(body or "")
    except ValueError:
        return None
    message = values.get("message") if isinstance(values, dict) else None
    return str(message) if message else None
