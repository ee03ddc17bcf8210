"""Kubernetes' Pod Security Standard `restricted`, rule by rule, and two rules of our own.

Source: kubernetes.io/docs/concepts/security/pod-security-standards, as of Kubernetes 1.31.
"""

from typing import Any

from manifests.rendering import Object, containers

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SELINUX_TYPES = {
    None,
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
}
PROFILES = {"RuntimeDefault", "Localhost"}


def faults(pod: Object) -> list[str]:
    """Return what the admission of a restricted namespace would refuse."""
    spec = pod["spec"]
    context = spec.get("securityContext", {})
    found = [
        f"{key} is on"
        for key in ("hostNetwork", "hostPID", "hostIPC")
        if spec.get(key)
    ]  # fmt: skip
    found += [
        f"volume of kind {sorted(kind)}" for kind in map(_kinds, spec.get("volumes", [])) if kind
    ]
    found += [
        f"sysctl {one['name']}" for one in context.get("sysctls", []) if one["name"] not in SYSCTLS
    ]
    found += _of_context(context)
    for container in containers(pod):
        name = container["name"]
        found += [f"container {name}: {fault}" for fault in _of_container(container, context)]
    return found


def read_only_faults(pod: Object) -> list[str]:
    """Return which containers could write to their image."""
    return [
        f"container {one['name']}: root file system is writable"
        for one in containers(pod)
        if one.get("securityContext", {}).get("readOnlyRootFilesystem") is not True
    ]


def token_faults(pod: Object) -> list[str]:
    """Return whether the pod is given a token of the Kubernetes API."""
    return [] if pod["spec"].get("automountServiceAccountToken") is False else ["mounts a token"]


def _kinds(volume: Object) -> set[str]:
    return set(volume) - {"name"} - VOLUMES


def _of_container(container: Object, pod_context: Object) -> list[str]:
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    found = _of_context(own)
    if own.get("privileged"):
        found.append("privileged")
    if own.get("allowPrivilegeEscalation") is not False:
        found.append("allowPrivilegeEscalation is not false")
    if own.get("procMount", "Default") != "Default":
        found.append(f"procMount {own['procMount']}")
    if "ALL" not in capabilities.get("drop", []):
        found.append("does not drop all capabilities")
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        found.append(f"adds capabilities {capabilities['add']}")
    if own.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
        found.append("may run as root")
    profile = own.get("seccompProfile", pod_context.get("seccompProfile", {}))
    if profile.get("type") not in PROFILES:
        found.append("has no seccomp profile")
    if any(port.get("hostPort") for port in container.get("ports", [])):
        found.append("takes a port of the host")
    return found


def _of_context(context: dict[str, Any]) -> list[str]:
    """Return what neither a pod's nor a container's context may say."""
    found = []
    if context.get("runAsUser") == 0:
        found.append("runs as user 0")
    if context.get("windowsOptions", {}).get("hostProcess"):
        found.append("hostProcess")
    labels = context.get("seLinuxOptions", {})
    if labels.get("type") not in SELINUX_TYPES or labels.get("user") or labels.get("role"):
        found.append(f"seLinuxOptions {labels}")
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in PROFILES:
        found.append(f"appArmorProfile {context['appArmorProfile']}")
    return found
