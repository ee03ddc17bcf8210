"""The form of every object: known kinds and keys, right types, on several Kubernetes versions."""

import pytest
from manifests.compositions import STANDALONE, WITH_EVERYTHING
from manifests.rendering import (
    OVERLAYS,
    composed,
    fill_weights,
    find,
    overlay,
    submit_account,
)
from manifests.schemas import VERSIONS, faults


def test_several_versions_of_kubernetes_are_known():
    assert len(VERSIONS) >= 4


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_fits_its_schema(name):
    assert len(overlay(name)) >= 8
    assert [fault for one in overlay(name) for fault in faults(one)] == []


def test_every_object_of_other_compositions_fits_its_schema(tmp_path):
    for number, text in enumerate((STANDALONE, WITH_EVERYTHING)):
        objects = composed(text, tmp_path / str(number))
        assert [fault for one in objects for fault in faults(one)] == []


def test_every_object_that_is_applied_by_itself_fits_its_schema():
    for one in [*fill_weights(), *submit_account()]:
        assert faults(one) == []


def change(kind, name, path, value, of="multi-node"):
    """Return the faults of an object after one value in it was set."""
    one = find(overlay(of), kind, name)
    *way, last = path
    place = one
    for step in way:
        place = place[step]
    place[last] = value
    return faults(one)


POD = ["spec", "template", "spec", "replicatedJobs", 0, "template", "spec", "template", "spec"]
GROUP = ["spec", "resourceGroups", 0]


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("NetworkPolicy", "uae-dns", ["spec", "egres"], []),
        ("NetworkPolicy", "uae-store", ["spec", "egress", 0, "ports", 0, "port"], [8333]),
        ("ResourceQuota", "uae", ["spec", "hard"], ["pods"]),
        ("Role", "uae-run", ["rules", 0, "verb"], ["get"]),
        ("PodDisruptionBudget", "uae-trainjobs", ["spec", "minAvailable"], {}),
        ("ServiceAccount", "uae-pipeline", ["automountServiceAccountToken"], "yes"),
        ("Namespace", "uae", ["metadata", "namespace"], "uae"),
        ("ClusterQueue", "uae", ["metadata", "namespace"], "uae"),
        ("TrainingRuntime", "uae-torch", ["spec", "mlPolicy", "torch", "numProcPerNode"], 8),
        ("TrainingRuntime", "uae-torch", ["spec", "mlPolicy", "numNodes"], "many"),
        ("TrainingRuntime", "uae-torch", [*POD, "serviceAcountName"], "uae"),
        ("TrainingRuntime", "uae-torch", [*POD, "restartPolicy"], 3),
        ("ClusterQueue", "uae", ["spec", "cohort"], "all"),  # v1beta1's name of cohortName
        ("ClusterQueue", "uae", ["spec", "queueingStrategy"], "FIFO"),
        ("ClusterQueue", "uae", [*GROUP, "coveredResources"], ["cpu", "memory"]),
        ("LocalQueue", "uae", ["spec", "clusterQueue"], "UAE"),
        ("ResourceFlavor", "uae-gpu", ["spec", "tolerations", 0, "value"], "present"),
        ("ConfigMap", "kfp-launcher", ["data", "defaultPipelineRoot"], "minio://uae/kfp"),
        ("ConfigMap", "kfp-launcher", ["data", "providers"], "s3: {default: {endpoint: a}}"),
    ],
)
def test_a_wrong_form_is_found(kind, name, path, value):
    assert change(kind, name, path, value)


def test_an_unknown_kind_is_found():
    one = find(overlay("minio"), "LimitRange", "uae") | {"kind": "LimitRanges"}
    assert "schema for kind LimitRanges" in faults(one)[0]
    queue = find(overlay("multi-node"), "LocalQueue", "uae") | {"apiVersion": "kueue.x-k8s.io/v1"}
    assert faults(queue)
