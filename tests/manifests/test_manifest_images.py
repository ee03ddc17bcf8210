"""Images come from the one file that has them; quotas fit what steps ask for."""

import pytest
from manifests.rendering import (
    OVERLAYS,
    WITH_PROFILES,
    containers,
    fill_weights,
    find,
    overlay,
    pods,
)

from uae.launch.resources import load_resources, num_bytes
from uae_images.references import ImageReferences
from uae_pipelines.cluster import RESOURCES_FOLDER

REGISTRY = "registry.example/uae/"
REFERENCES = ImageReferences.read()


def known_images():
    """Return every reference of ours, with a tag and with a digest once it has one."""
    return {text for _, one in REFERENCES.images for text in (one.tagged, str(one))}


def images(objects):
    return [one["image"] for _, pod in pods(objects) for one in containers(pod)]


def image_faults(objects, registry=""):
    """Return every image that is none of ours, or lacks the registry."""
    return [
        image
        for image in images(objects)
        if image.removeprefix(registry) not in known_images() or not image.startswith(registry)
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_image_is_of_the_one_file(name):
    assert image_faults(overlay(name)) == []


def test_the_pod_that_fills_the_claim_is_of_the_one_file():
    assert images(fill_weights()) != []
    assert image_faults(fill_weights(), REGISTRY) == []


@pytest.mark.parametrize("image", ["uae-trainer:latest", "uae-trainer", "trainer:0.1.0", ""])
def test_an_image_from_elsewhere_is_found(image):
    objects = overlay("multi-node")
    (pod,) = [pod for _, pod in pods(objects)]
    pod["spec"]["containers"][0]["image"] = image
    assert image_faults(objects) == [image]


def test_a_missing_registry_is_found():
    assert image_faults(overlay("multi-node"), REGISTRY) == images(overlay("multi-node"))


def quota(objects):
    return find(objects, "ResourceQuota", "uae")["spec"]["hard"]


def amount(quantity):
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(num_bytes(text))


def queue_faults(objects):
    """Return what the queue admits beyond the namespace's quota."""
    (group,) = find(objects, "ClusterQueue", "uae")["spec"]["resourceGroups"]
    hard = quota(objects)
    return [
        resource["name"]
        for flavor in group["flavors"]
        for resource in flavor["resources"]
        if amount(resource["nominalQuota"]) > amount(hard[f"requests.{resource['name']}"])
    ]


def test_the_queue_admits_no_more_than_the_quota():
    objects = overlay("multi-node")
    assert queue_faults(objects) == []
    quota(objects)["requests.nvidia.com/gpu"] = "8"
    assert queue_faults(objects) == ["nvidia.com/gpu"]


def step_faults(resources, objects):
    """Return which steps ask for more than the namespace may have at once."""
    hard = quota(objects)
    accelerator = f"requests.{resources.accelerator}"
    found = [] if accelerator in hard else [f"quota has no {accelerator}"]
    named = {"control": resources.control, "evaluation": resources.evaluation}
    for name, step in [*named.items(), *resources.stages]:
        nodes = getattr(step, "num_nodes", 1)
        wanted = {
            "requests.cpu": amount(step.cpu),
            "requests.memory": amount(step.memory),
            accelerator: step.accelerators,
        }
        found += [
            f"{name}: {key}" for key, one in wanted.items() if one * nodes > amount(hard[key])
        ]
        if getattr(step, "launcher", "pod") == "trainjob" and not amount(
            hard["count/trainjobs.trainer.kubeflow.org"]
        ):
            found.append(f"{name}: no TrainJobs here")
    return found


@pytest.mark.parametrize(
    "path", sorted(RESOURCES_FOLDER.glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_resources_fit_the_largest_overlay(path):
    resources = load_resources(path, RESOURCES_FOLDER)
    if path.stem != "h100-8x8":  # for which README.md shows an overlay: test_own_overlays.py
        assert step_faults(resources, overlay("multi-node")) == []
    assert resources.queue in {None, "uae"}
    assert resources.weights_claim in {None, "uae-weights"}


def test_the_starter_fits_every_overlay():
    resources = load_resources("starter", RESOURCES_FOLDER)
    for name in WITH_PROFILES:  # elsewhere the quota is not ours
        assert step_faults(resources, overlay(name)) == []


def test_a_step_that_does_not_fit_is_found():
    starter = load_resources("starter", RESOURCES_FOLDER)
    large = starter.model_copy(
        update={"control": starter.control.model_copy(update={"cpu": "500"})}
    )
    assert step_faults(large, overlay("multi-node")) == ["control: requests.cpu"]
    stage = starter.stages.cold_start.model_copy(update={"launcher": "trainjob", "num_nodes": 2})
    stages = starter.stages.model_copy(update={"cold_start": stage})
    jobs = starter.model_copy(update={"stages": stages})
    assert step_faults(jobs, overlay("single-node")) == ["cold_start: no TrainJobs here"]
