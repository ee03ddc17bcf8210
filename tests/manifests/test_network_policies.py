"""What pods reach and what they do not, and that policies select labels that pods have."""

import pytest
from manifests.compiled import DRIVER_LABELS, JOBSET_LABELS, step_labels
from manifests.compositions import STANDALONE, WITH_EVERYTHING
from manifests.networks import Address, Pod, may_speak, unset_labels
from manifests.rendering import (
    OVERLAYS,
    STANDALONE_OVERLAY,
    WITH_PROFILES,
    composed,
    find,
    overlay,
    pods,
)

STORES = {
    "minio": (Pod("minio", {"app": "minio"}), 9000),
    "aws": (Address("52.216.1.2"), 443),
}
SEAWEEDFS = (Pod("kubeflow", {"app": "seaweedfs"}), 8333)
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
KFP = Pod("kubeflow", {"app": "ml-pipeline"})
METADATA = Pod("kubeflow", {"component": "metadata-grpc-server"})
REGISTRY = Pod("kubeflow", {"component": "model-registry-server"})
DATABASE = Pod("kubeflow", {"app": "mysql"})
API = Address("10.96.0.1")
INTERNET = Address("93.184.216.34")
NODE_METADATA = Address("169.254.169.254")

STEP = {"app.kubernetes.io/part-of": "uae", **DRIVER_LABELS}
DRIVER = Pod("uae", DRIVER_LABELS)
REPORT = Pod("uae", {**STEP, "uae/stage": "report-run"})
EXPORT = Pod("uae", {**STEP, "uae/stage": "export-model"})
NODE = Pod("uae", {"app.kubernetes.io/part-of": "uae", **JOBSET_LABELS})
# Of what Kubeflow and Kubernetes bring, as their own manifests have it.
LABELS_OF_OTHERS = [
    DNS.labels, KFP.labels, METADATA.labels, REGISTRY.labels, DRIVER_LABELS, JOBSET_LABELS,
    {"app": "seaweedfs"}, {"app": "minio"}, {"app": "ml-pipeline-ui"},
    {"app": "ml-pipeline-ui-artifact"},
]  # fmt: skip


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return composed(WITH_EVERYTHING, tmp_path_factory.mktemp("everything"))


@pytest.mark.parametrize("name", WITH_PROFILES)
@pytest.mark.parametrize("pod", [DRIVER, REPORT], ids=["driver", "step"])
def test_pods_of_a_run_reach_kfp_the_store_and_the_api_and_no_more(name, pod):
    objects = overlay(name)
    store, port = STORES.get(name, SEAWEEDFS)
    assert may_speak(objects, pod, store, port)
    assert may_speak(objects, pod, DNS, 53, "UDP")
    assert may_speak(objects, pod, KFP, 8887)
    assert may_speak(objects, pod, METADATA, 8080)
    assert may_speak(objects, pod, API, 443)
    assert may_speak(objects, pod, INTERNET, 443) == (name == "aws")
    for refused, at in [(NODE_METADATA, 80), (NODE_METADATA, 443), (INTERNET, 25), (API, 22)]:
        assert not may_speak(objects, pod, refused, at)
    for refused, at in [(DATABASE, 3306), (KFP, 3306), (store, 22), (REGISTRY, 8080)]:
        assert not may_speak(objects, pod, refused, at)


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_nothing_comes_in(name):
    objects = overlay(name)
    for source in (DRIVER, Pod("kubeflow", {"app": "ml-pipeline"}), Pod("other", {})):
        assert not may_speak(objects, source, REPORT, 8080)
        assert not may_speak(objects, source, NODE, 29400)


def test_nodes_of_a_trainjob_reach_each_other_and_the_store_alone():
    objects = overlay("multi-node")
    for port in (29400, 51234):
        assert may_speak(objects, NODE, NODE, port)
    assert may_speak(objects, NODE, *SEAWEEDFS)
    assert may_speak(objects, NODE, DNS, 53, "UDP")
    for refused, port in [(API, 443), (API, 6443), (KFP, 8887), (REPORT, 8080), (INTERNET, 443)]:
        assert not may_speak(objects, NODE, refused, port)


def test_only_the_exit_handler_reaches_whom_it_notifies(everything):
    for port in (443, 465, 587):
        assert may_speak(everything, REPORT, INTERNET, port)
    assert not may_speak(everything, REPORT, INTERNET, 25)
    assert not may_speak(everything, REPORT, NODE_METADATA, 443)
    for pod in (EXPORT, DRIVER, NODE):
        assert not may_speak(everything, pod, INTERNET, 443)


def test_only_the_export_reaches_the_model_registry(everything):
    assert may_speak(everything, EXPORT, REGISTRY, 8080)
    assert not may_speak(everything, REPORT, REGISTRY, 8080)


def test_the_ui_reaches_the_artifact_proxy_of_a_profile():
    proxy = Pod("uae", {"app": "ml-pipeline-ui-artifact"})
    ui = Pod("kubeflow", {"app": "ml-pipeline-ui"})
    assert may_speak(overlay("seaweedfs"), ui, proxy, 3000)
    assert may_speak(overlay("seaweedfs"), proxy, *SEAWEEDFS)
    assert not may_speak(overlay("seaweedfs"), KFP, proxy, 3000)


def test_without_profiles_pods_reach_our_store_and_kfp_s_own(tmp_path):
    objects = composed(STANDALONE, tmp_path)
    step = Pod("kubeflow", STEP)
    assert may_speak(objects, step, *STORES["minio"])
    assert may_speak(objects, step, *SEAWEEDFS)
    assert not may_speak(overlay(STANDALONE_OVERLAY), step, *STORES["minio"])


def test_without_profiles_other_pods_of_the_namespace_are_left_alone():
    objects = overlay(STANDALONE_OVERLAY)
    step, other = (Pod("kubeflow", labels) for labels in (STEP, DRIVER_LABELS))
    assert may_speak(objects, step, *SEAWEEDFS)
    assert may_speak(objects, step, KFP, 8887)
    assert may_speak(objects, step, API, 6443)
    assert not may_speak(objects, step, INTERNET, 443)
    assert not may_speak(objects, step, DATABASE, 3306)
    assert may_speak(objects, other, INTERNET, 443)  # a pod of a pipeline that is not ours
    assert may_speak(objects, KFP, DATABASE, 3306)


def labels_of_pods(objects):
    own = [pod["metadata"]["labels"] for _, pod in pods(objects)]
    return [*own, *step_labels(), *LABELS_OF_OTHERS]


def test_every_selected_label_is_on_some_pod(everything):
    for objects in [everything, *map(overlay, OVERLAYS)]:
        assert unset_labels(objects, labels_of_pods(objects)) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("NetworkPolicy", "uae-notifications", ["spec", "podSelector"],
         {"matchLabels": {"uae/stage": "report_run"}}),
        ("NetworkPolicy", "uae-kfp", ["spec", "podSelector"],
         {"matchExpressions": [{"key": "argoproj.io/workflow", "operator": "Exists"}]}),
        ("NetworkPolicy", "uae-store", ["spec", "egress", 0, "to", 0, "podSelector"],
         {"matchLabels": {"app": "min.io"}}),
        ("PodDisruptionBudget", "uae-training-steps",
         ["spec", "selector", "matchExpressions", 0, "values", 1], "warm-start"),
    ],
)  # fmt: skip
def test_a_label_that_no_pod_has_is_found(everything, tmp_path, kind, name, path, value):
    objects = composed(WITH_EVERYTHING, tmp_path)
    *way, last = path
    place = find(objects, kind, name)
    for step in way:
        place = place[step]
    place[last] = value
    assert unset_labels(objects, labels_of_pods(objects))


def test_a_missing_default_deny_would_be_seen():
    objects = overlay("minio")
    objects.remove(find(objects, "NetworkPolicy", "uae-default-deny"))
    assert may_speak(objects, Pod("other", {}), REPORT, 8080)
    objects = [one for one in objects if one["kind"] != "NetworkPolicy"]
    assert may_speak(objects, REPORT, INTERNET, 443)
