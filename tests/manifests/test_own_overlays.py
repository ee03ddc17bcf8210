"""The overlays that manifests/README.md shows render, and pass what the shipped ones pass."""

import re

import pytest
from manifests.rendering import MANIFESTS, OVERLAYS, composed, find, kubectl, overlay, pods
from manifests.test_manifest_images import (
    REGISTRY,
    amount,
    image_faults,
    queue_faults,
    quota,
    step_faults,
)

from manifests import names, pod_security, schemas
from uae.launch.resources import load_resources
from uae_pipelines.cluster import RESOURCES_FOLDER

README = (MANIFESTS / "README.md").read_text(encoding="utf-8")
SHOWN = [
    text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "kustomize" in text
]
COMPONENTS = sorted(
    path.parent.name
    for path in MANIFESTS.glob("components/*/kustomization.yaml")
)  # fmt: skip


@pytest.fixture(scope="module", params=range(len(SHOWN)))
def shown(request, tmp_path_factory):
    return composed(SHOWN[request.param], tmp_path_factory.mktemp("shown"))


def test_several_are_shown():
    assert len(SHOWN) == 5


def test_they_pass_every_check(shown):
    assert [fault for one in shown for fault in schemas.faults(one)] == []
    assert names.faults(shown, set(names.OUTSIDE)) == []
    assert [fault for _, pod in pods(shown) for fault in pod_security.faults(pod)] == []


def test_the_first_changes_what_it_says(tmp_path):
    objects = composed(SHOWN[0], tmp_path)
    root = find(objects, "ConfigMap", "kfp-launcher")["data"]["defaultPipelineRoot"]
    hard = find(objects, "ResourceQuota", "uae")["spec"]["hard"]
    assert (root, hard["requests.nvidia.com/gpu"]) == ("s3://my-company-uae/kfp", "16")
    assert queue_faults(objects) == []
    assert find(objects, "NetworkPolicy", "uae-notifications")


def test_the_second_has_room_for_eight_nodes_and_an_evaluation(tmp_path):
    objects = composed(SHOWN[1], tmp_path)
    resources = load_resources("h100-8x8", RESOURCES_FOLDER)
    assert queue_faults(objects) == []
    assert step_faults(resources, objects) == []
    assert step_faults(resources, overlay("multi-node")) != []
    hard = quota(objects)
    beside = resources.evaluation.accelerators
    assert amount(hard["requests.nvidia.com/gpu"]) >= 64 + beside


def test_the_third_takes_every_image_from_the_private_registry(tmp_path):
    objects = composed(SHOWN[2], tmp_path)
    assert find(objects, "TrainingRuntime", "uae-torch")
    assert image_faults(objects, REGISTRY) == []
    secrets = {
        one["metadata"]["name"]: one.get("imagePullSecrets")
        for one in objects
        if one["kind"] == "ServiceAccount"
    }
    pull = [{"name": "uae-registry"}]
    assert secrets == {"uae-pipeline": pull, "uae-trainjob": pull, "default": None}


def test_the_fourth_enforces_less_and_warns_as_before(tmp_path):
    labels = find(composed(SHOWN[3], tmp_path), "Namespace", "uae")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_the_fifth_allows_more_restarts(tmp_path):
    runtime = find(composed(SHOWN[4], tmp_path), "TrainingRuntime", "uae-torch")
    assert runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] == 10


def test_an_unknown_component_fails(tmp_path):
    with pytest.raises(AssertionError, match="store-s3"):
        composed(SHOWN[0].replace("store-aws", "store-s3"), tmp_path)


def test_every_overlay_and_component_is_in_the_tables():
    rows = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    missing = [name for name in [*OVERLAYS, *COMPONENTS] if f"`{name}`" not in rows]
    assert missing == []


def test_what_is_shown_for_looking_first_is_what_is_applied():
    command = re.search(r"\.venv/bin/kubectl (kustomize) manifests/(overlays/(\w+))$", README, re.M)
    assert kubectl(command[1], MANIFESTS / command[2]).count("\nkind: ") == len(overlay(command[3]))
