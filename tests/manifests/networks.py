"""Who may speak to whom under a set of network policies, by Kubernetes' own rules.

A pod that a policy selects may only do, in that direction, what some policy that selects it allows.
Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from manifests.rendering import Object, title

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


class Pod(NamedTuple):
    """One end of a connection."""

    namespace: str
    labels: dict[str, str]


class Address(NamedTuple):
    """An end outside the cluster's pods: a node, the API server, the internet."""

    ip: str


def may_speak(
    objects: list[Object], source: Pod, target: Pod | Address, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether the policies let the source open a connection to the target."""
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    wanted = (port, protocol)
    goes_out = _allowed(policies, "Egress", source, target, wanted)
    return goes_out and (
        isinstance(target, Address) or _allowed(policies, "Ingress", target, source, wanted)
    )


def unset_labels(objects: list[Object], label_sets: Iterable[dict[str, str]]) -> list[str]:
    """Return every label that a policy or a budget selects, and that no pod has."""
    have = list(label_sets)
    return [
        f"{title(one)} selects {wanted}"
        for one in objects
        for selector in _pod_selectors(one)
        for wanted in _terms(selector)
        if not any(selects(wanted, labels) for labels in have)
    ]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a label selector takes these labels; an empty one takes all."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(_matches(term, labels) for term in selector.get("matchExpressions", []))


def _matches(term: dict[str, Any], labels: dict[str, str]) -> bool:
    match term["operator"]:
        case "Exists":
            return term["key"] in labels
        case "DoesNotExist":
            return term["key"] not in labels
        case "In":
            return labels.get(term["key"]) in term["values"]
        case "NotIn":
            return labels.get(term["key"]) not in term["values"]
    raise AssertionError(f"no such operator: {term}")


def _allowed(
    policies: list[Object],
    direction: str,
    pod: Pod,
    other: Pod | Address,
    wanted: tuple[int, str],
) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    end = "to" if direction == "Egress" else "from"
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), [])]
    return not mine or any(
        _has_port(rule.get("ports"), wanted)
        and (not rule.get(end) or any(_is_peer(one, other, pod.namespace) for one in rule[end]))
        for rule in rules
    )


def _has_port(ports: list[Object] | None, wanted: tuple[int, str]) -> bool:
    return not ports or any((one["port"], one["protocol"]) == wanted for one in ports)


def _is_peer(peer: Object, other: Pod | Address, own_namespace: str) -> bool:
    if isinstance(other, Address):
        block = peer.get("ipBlock")
        inside = block and ip_address(other.ip) in ip_network(block["cidr"])
        excepted = (ip_network(one) for one in block.get("except", [])) if block else ()
        return bool(inside) and not any(ip_address(other.ip) in one for one in excepted)
    if "ipBlock" in peer:
        return False  # pods are named by labels here
    namespaces = peer.get("namespaceSelector")
    if namespaces is None:
        near = other.namespace == own_namespace
    else:
        near = selects(namespaces, {NAMESPACE_LABEL: other.namespace})
    return near and selects(peer.get("podSelector", {}), other.labels)


def _pod_selectors(one: Object) -> Iterator[dict[str, Any]]:
    if one["kind"] == "PodDisruptionBudget":
        yield one["spec"]["selector"]
    if one["kind"] == "NetworkPolicy":
        yield one["spec"]["podSelector"]
        for rules in (one["spec"].get("egress", []), one["spec"].get("ingress", [])):
            for rule in rules:
                for peer in [*rule.get("to", []), *rule.get("from", [])]:
                    yield peer.get("podSelector", {})


def _terms(selector: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Split a selector into its parts, and a choice of values into each value."""
    for key, value in selector.get("matchLabels", {}).items():
        yield {"matchLabels": {key: value}}
    for term in selector.get("matchExpressions", []):
        if term["operator"] == "Exists":
            yield {"matchExpressions": [term]}
        for value in term.get("values", []):
            yield {"matchLabels": {term["key"]: value}}
