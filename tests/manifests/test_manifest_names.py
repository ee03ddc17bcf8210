"""Names that objects use of each other, of what Kubeflow brings, and of the pipeline."""

import pytest
from manifests.compiled import executors
from manifests.compositions import STANDALONE, WITH_EVERYTHING
from manifests.names import BY_KFP, OUTSIDE, Name, faults, secret_keys, uses
from manifests.rendering import (
    KUBECTL,
    MANIFESTS,
    OVERLAYS,
    STANDALONE_OVERLAY,
    WITH_PROFILES,
    composed,
    fill_weights,
    find,
    kubectl,
    overlay,
    submit_account,
)

from uae.launch.pods import TRAINING_CONTAINER
from uae.launch.torchrun import KILL_AFTER_SECONDS
from uae.launch.trainjob_request import RUNTIME, SHARED_MEMORY
from uae_pipelines.cluster import NOTIFY_KEYS, NOTIFY_SECRET, STORE_KEYS, STORE_SECRET


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    return composed(STANDALONE, tmp_path_factory.mktemp("standalone"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return composed(WITH_EVERYTHING, tmp_path_factory.mktemp("everything"))


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_every_name_is_another_object_s_or_from_outside(name):
    assert faults(overlay(name), set(OUTSIDE)) == []


def test_every_name_is_known_without_profiles(standalone):
    for objects in (standalone, overlay(STANDALONE_OVERLAY)):
        assert faults(objects, {*OUTSIDE, BY_KFP}) == []
        places = {one["metadata"].get("namespace") for one in objects}
        assert places - {None} == {"kubeflow"}


def test_every_name_of_every_component_is_known(everything):
    assert faults(everything, set(OUTSIDE)) == []


def test_the_pod_that_fills_the_claim_uses_what_every_overlay_has():
    for name in WITH_PROFILES:
        assert faults([*overlay(name), *fill_weights()], set(OUTSIDE)) == []


def test_who_submits_uses_what_every_overlay_has():
    for name in WITH_PROFILES:
        assert faults([*overlay(name), *submit_account()], set(OUTSIDE)) == []


def test_nothing_comes_from_outside_that_nobody_uses(standalone, everything):
    used = {name for one in OVERLAYS for _, name in uses(overlay(one))}
    others = [*standalone, *everything, *submit_account()]
    used |= {name for _, name in uses(others)}
    assert set(OUTSIDE) - used == {Name("Secret", NOTIFY_SECRET)}  # the pipeline uses that


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("RoleBinding", "uae-run", ["roleRef", "name"], "uae-pipeline"),
        ("RoleBinding", "uae-trainjobs", ["subjects", 0, "name"], "uae"),
        ("Role", "uae-run", ["rules", 1, "resourceNames"], ["uae-s3"]),
        ("LocalQueue", "uae", ["spec", "clusterQueue"], "gpus"),
        ("ResourceFlavor", "uae-gpu", ["metadata", "name"], "gpu"),
        ("ServiceAccount", "uae-trainjob", ["metadata", "name"], "uae-trainer"),
        ("Namespace", "uae", ["metadata", "name"], "training"),
        ("ConfigMap", "kfp-launcher", ["metadata", "name"], "launcher"),
        ("NetworkPolicy", "uae-kfp", ["metadata", "namespace"], "kubeflow-user"),
    ],
)
def test_a_broken_name_is_found(kind, name, path, value):
    objects = overlay("multi-node")
    *way, last = path
    place = find(objects, kind, name)
    for step in way:
        place = place[step]
    place[last] = value
    assert faults(objects, set(OUTSIDE))


def test_a_broken_name_inside_a_pod_is_found():
    pod = fill_weights()
    pod[0]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "weights"
    assert faults([*overlay("minio"), *pod], set(OUTSIDE))


def test_steps_use_what_the_manifests_have():
    objects = overlay("multi-node")
    known = {Name(one["kind"], one["metadata"]["name"]) for one in objects} | set(OUTSIDE)
    for executor, values in executors().items():
        secrets = {Name("Secret", one["secretName"]) for one in values["secretAsEnv"]}
        assert Name("Secret", STORE_SECRET) in secrets <= known, executor


def test_trainjobs_find_their_runtime_and_its_parts():
    runtime = find(overlay("multi-node"), "TrainingRuntime", RUNTIME)
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["name"] == container["name"] == TRAINING_CONTAINER
    # A job patches this volume by its name: with another one, /dev/shm would be mounted twice.
    assert SHARED_MEMORY in {volume["name"] for volume in pod["volumes"]}
    assert {one["name"] for one in container["env"]} == set(STORE_KEYS.values())
    assert pod["terminationGracePeriodSeconds"] > KILL_AFTER_SECONDS
    # What a job asks for is said by the job alone.
    assert "resources" not in container


def template_keys(name):
    lines = (MANIFESTS / "secrets" / f"{name}.env.template").read_text("utf-8").splitlines()
    return [line.partition("=") for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("name", "keys"), [(STORE_SECRET, STORE_KEYS), (NOTIFY_SECRET, NOTIFY_KEYS)]
)
def test_templates_of_secrets_have_the_steps_keys_and_no_values(name, keys):
    found = template_keys(name)
    assert {key for key, _, _ in found} == set(keys)
    assert {value for _, _, value in found} == {""}


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_every_key_of_a_secret_is_in_its_template(name):
    read = set(secret_keys(overlay(name)))
    assert read == {(STORE_SECRET, key) for key in STORE_KEYS}


def test_the_documented_command_makes_the_secret(tmp_path):
    filled = "".join(f"{key}=a+b/c=\n" for key, _, _ in template_keys(STORE_SECRET))
    (tmp_path / "uae-store.env").write_text(filled, encoding="utf-8")
    command = (
        f"--namespace uae create secret generic {STORE_SECRET} "
        f"--from-env-file {tmp_path}/uae-store.env --dry-run=client --output name"
    )
    assert KUBECTL.exists()
    assert kubectl(*command.split()) == f"secret/{STORE_SECRET}\n"
