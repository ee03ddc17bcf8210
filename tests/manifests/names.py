"""Every name that an object uses: it must be another object's, or come from outside."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from manifests.rendering import Object, containers, pods, title


class Name(NamedTuple):
    """A name that stands for an object."""

    kind: str
    name: str


# Names that no object here has, and who makes them.
OUTSIDE = {
    Name("Namespace", "kubeflow"): "Kubeflow",
    Name("Namespace", "kube-system"): "Kubernetes",
    Name("Namespace", "minio"): "whoever runs that MinIO",
    Name("ServiceAccount", "default-editor"): "the profile controller of Kubeflow",
    Name("ServiceAccount", "pipeline-runner"): "kfp without profiles",
    Name("ClusterRole", "kubeflow-pipelines-edit"): "kfp with profiles",
    Name("ServiceAccount", "ml-pipeline-driver-agent-executor-plugin"): "kfp, where it is a plugin",
    Name("Secret", "uae-store"): "made by hand from secrets/uae-store.env.template",
    Name("Secret", "uae-notify"): "made by hand from secrets/uae-notify.env.template, if at all",
    Name("Secret", "uae-registry"): "made by hand, with the keys of the private registry",
    Name("Secret", "mlpipeline-minio-artifact"): "kfp without profiles",
}
BY_KFP = Name("ConfigMap", "kfp-launcher")  # of kfp itself, in its own namespace
NAME_LABEL = "kubernetes.io/metadata.name"  # Kubernetes sets it on every namespace


def faults(objects: list[Object], outside: set[Name]) -> list[str]:
    """Return every use of a name that is neither an object's nor from outside."""
    known = {Name(one["kind"], one["metadata"]["name"]) for one in objects} | outside
    return [f"{where} uses {name}" for where, name in uses(objects) if name not in known]


def uses(objects: list[Object]) -> Iterator[tuple[str, Name]]:
    """Return every name in use, with the object that uses it."""
    for one in objects:
        for name in _of_object(one):
            yield title(one), name
        namespace = one["metadata"].get("namespace")
        if namespace:
            yield title(one), Name("Namespace", namespace)
    for where, pod in pods(objects):
        for name in _of_pod(pod["spec"]):
            yield where, name


def secret_keys(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Return every (secret, key) that a container or kfp's launcher reads."""
    for _, pod in pods(objects):
        for one in _inside(containers(pod), "secretKeyRef"):
            yield one["name"], one["key"]
    for one in objects:
        if one["kind"] == "ConfigMap" and "providers" in one["data"]:
            for ref in _inside(yaml.safe_load(one["data"]["providers"]), "secretRef"):
                yield ref["secretName"], ref["accessKeyKey"]
                yield ref["secretName"], ref["secretKeyKey"]


def _of_object(one: Object) -> Iterator[Name]:
    spec = one.get("spec", {})
    match one["kind"]:
        case "RoleBinding":
            yield Name(one["roleRef"]["kind"], one["roleRef"]["name"])
            yield from (Name(subject["kind"], subject["name"]) for subject in one["subjects"])
        case "Role":
            kinds = {"secrets": "Secret", "configmaps": "ConfigMap"}
            kinds |= {"serviceaccounts": "ServiceAccount"}
            for rule in one["rules"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", []):
                        yield Name(kinds[resource], name)
        case "ServiceAccount":
            secrets = one.get("imagePullSecrets", []) + one.get("secrets", [])
            yield from (Name("Secret", secret["name"]) for secret in secrets)
        case "ConfigMap":
            yield from (Name("Secret", secret) for secret, _ in secret_keys([one]))
        case "LocalQueue":
            yield Name("ClusterQueue", spec["clusterQueue"])
        case "ClusterQueue":
            groups = spec["resourceGroups"]
            yield from (Name("ResourceFlavor", flavor["name"]) for flavor in _flavors(groups))
    yield from (Name("Namespace", labels[NAME_LABEL]) for labels in _namespace_labels(spec))


def _of_pod(spec: Object) -> Iterator[Name]:
    yield Name("ServiceAccount", spec.get("serviceAccountName", "default"))
    if "priorityClassName" in spec:
        yield Name("PriorityClass", spec["priorityClassName"])
    for secret in spec.get("imagePullSecrets", []):
        yield Name("Secret", secret["name"])
    keys = {
        "secretKeyRef": ("Secret", "name"),
        "secretRef": ("Secret", "name"),
        "secret": ("Secret", "secretName"),
        "configMapKeyRef": ("ConfigMap", "name"),
        "configMapRef": ("ConfigMap", "name"),
        "configMap": ("ConfigMap", "name"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    for key, (kind, field) in keys.items():
        yield from (Name(kind, found[field]) for found in _inside(spec, key))


def _flavors(groups: list[Object]) -> list[Object]:
    return [flavor for group in groups for flavor in group["flavors"]]


def _namespace_labels(spec: Any) -> Iterator[Object]:
    for found in _inside(spec, "namespaceSelector"):
        if NAME_LABEL in found.get("matchLabels", {}):
            yield found["matchLabels"]


def _inside(value: Any, key: str) -> Iterator[Any]:
    """Return everything under this key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from _inside(inner, key)
    if isinstance(value, list):
        for inner in value:
            yield from _inside(inner, key)
