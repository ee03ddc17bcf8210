"""What the compiled pipeline says of its pods, for comparing it with the manifests."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from uae_pipelines.compile import compile_pipeline


@cache
def executors() -> dict[str, dict[str, Any]]:
    """Return the Kubernetes part of the package: executor -> what kfp sets on its pod."""
    with TemporaryDirectory() as folder:
        text = compile_pipeline(Path(folder) / "uae.yaml").read_text(encoding="utf-8")
    *_, platform = yaml.safe_load_all(text)
    found: dict[str, dict[str, Any]] = platform["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ]
    return found


def step_labels() -> list[dict[str, str]]:
    """Return the labels of every step's pod: those of the package, of kfp and of Argo."""
    return [values["podMetadata"]["labels"] | DRIVER_LABELS for values in executors().values()]


# kubeflow/pipelines, backend/src/v2/compiler/argocompiler/argo.go: PodMetadata; the run's id is set
# by its API server. argoproj/argo-workflows puts the workflow's name on every pod, of kfp's driver
# and of a plugin too (workflow/controller/agent.go).
DRIVER_LABELS = {
    "workflows.argoproj.io/workflow": "uae-x7k2p",
    "pipelines.kubeflow.org/v2_component": "true",
    "pipeline/runid": "5f0c7a52",
}
# Set by JobSet on the pods that it makes, beside those of their template.
JOBSET_LABELS = {"jobset.sigs.k8s.io/jobset-name": "uae-cold-start"}
