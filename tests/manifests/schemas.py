"""Every object against the schema of its kind.

Kubernetes' own kinds: its published schemas of several versions, unknown keys refused. Trainer's:
the models of kubeflow-trainer-api, there and back, because they drop what they do not know. Kueue's
and kfp's: the schemas beside this file.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from kubeflow_trainer_api import models
from manifests.rendering import CLUSTER_WIDE, Object, pods, title

# It would read and parse all definitions, some megabytes, anew for each object.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

SCHEMAS = Path(__file__).parent
OLDEST = (1, 31)
VERSIONS = tuple(
    version
    for version in dict.fromkeys(kubernetes_validate.utils.all_versions())
    if tuple(map(int, version.split(".")[:2])) >= OLDEST
)


def faults(one: Object) -> list[str]:
    """Return what is wrong with an object's form."""
    return list(_faults(json.dumps(one, sort_keys=True)))


@cache  # most objects are the same in every overlay
def _faults(text: str) -> tuple[str, ...]:
    one = json.loads(text)
    check = CHECKS.get(one["apiVersion"], kubernetes_faults)
    return (*place_faults(one), *(f"{title(one)}: {fault}" for fault in check(one)))


def place_faults(one: Object) -> list[str]:
    """Return whether a namespace is missing, or given to what has none."""
    if ("namespace" in one["metadata"]) == (one["kind"] in CLUSTER_WIDE):
        return [f"{title(one)}: namespace {one['metadata'].get('namespace')}"]
    return []


def kubernetes_faults(one: Object) -> list[str]:
    """Return where the object breaks the schema of a version of Kubernetes."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(error.message)
    config = one["kind"] == "ConfigMap" and one["metadata"]["name"] == "kfp-launcher"
    return found + (launcher_faults(one) if config else [])


def trainer_faults(one: Object) -> list[str]:
    """Return whether Trainer's model loses a part, and how its pods break Kubernetes' schema."""
    kinds: dict[str, Any] = {"TrainingRuntime": models.TrainerV1alpha1TrainingRuntime}
    try:
        back = kinds[one["kind"]].from_dict(one).to_dict()
    except (KeyError, ValueError) as error:
        return [f"no object of Trainer: {error}"]
    lost = [] if back == one else [f"Trainer knows no {sorted(leaves(one) - leaves(back))}"]
    return lost + [fault for _, pod in pods([one]) for fault in kubernetes_faults(pod)]


def kueue_faults(one: Object) -> list[str]:
    """Return where the object breaks Kueue's schema or its rules about lists."""
    known = _yaml("kueue_v1beta2.yaml")
    if one["kind"] not in known:
        return ["not in the schemas of Kueue that this project uses"]
    found = _against({"$defs": known["$defs"], **known[one["kind"]]}, one["spec"])
    for group in one["spec"].get("resourceGroups", []):
        for flavor in group["flavors"]:
            names = [resource["name"] for resource in flavor["resources"]]
            if names != group["coveredResources"]:  # in the same order, says Kueue
                found.append(f"flavor {flavor['name']} has {names}, not the covered resources")
    return found


def launcher_faults(one: Object) -> list[str]:
    """Return where kfp could not read its settings of this namespace."""
    data = one["data"]
    providers = yaml.safe_load(data["providers"])
    found = _against(_yaml("kfp_launcher.yaml"), {**data, "providers": providers})
    scheme = data["defaultPipelineRoot"].partition("://")[0]
    return found + ([] if scheme in providers else [f"no provider for pipeline root {scheme}://"])


def leaves(value: Any, path: str = "") -> set[str]:
    """Return the paths of all values inside, each with its value."""
    if isinstance(value, dict):
        return set().union(*(leaves(inner, f"{path}.{key}") for key, inner in value.items()), ())
    if isinstance(value, list):
        return set().union(*(leaves(inner, f"{path}.{i}") for i, inner in enumerate(value)), ())
    return {f"{path}={value}"}


def _against(schema: Object, value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _yaml(name: str) -> Object:
    values: Object = yaml.safe_load((SCHEMAS / name).read_text(encoding="utf-8"))
    return values


CHECKS: dict[str, Callable[[Object], list[str]]] = {
    "trainer.kubeflow.org/v1alpha1": trainer_faults,
    "kueue.x-k8s.io/v1beta2": kueue_faults,
}
