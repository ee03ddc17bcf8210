"""Pods pass the admission of a restricted namespace: ours, and a step's as kfp makes it."""

import copy

import pytest
from manifests.compiled import executors
from manifests.pod_security import faults, read_only_faults, token_faults
from manifests.rendering import OVERLAYS, WITH_PROFILES, fill_weights, find, overlay, pods

EVERY_POD = [
    (f"{name}: {where}", pod)
    for name, objects in [*((one, overlay(one)) for one in OVERLAYS), ("weights", fill_weights())]
    for where, pod in pods(objects)
]
POD = next(pod for where, pod in EVERY_POD if "TrainingRuntime" in where)


@pytest.mark.parametrize(("where", "pod"), EVERY_POD, ids=[where for where, _ in EVERY_POD])
def test_pods_are_restricted_without_token_and_cannot_write_to_their_image(where, pod):
    assert faults(pod) + read_only_faults(pod) + token_faults(pod) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["hostNetwork"], True),
        (["hostPID"], True),
        (["hostIPC"], True),
        (["volumes", 1], {"name": "scratch", "hostPath": {"path": "/tmp"}}),
        (["securityContext", "runAsNonRoot"], False),
        (["securityContext", "runAsUser"], 0),
        (["securityContext", "seccompProfile", "type"], "Unconfined"),
        (["securityContext", "sysctls"], [{"name": "kernel.msgmax", "value": "1"}]),
        (["securityContext", "seLinuxOptions"], {"type": "spc_t"}),
        (["securityContext", "appArmorProfile"], {"type": "Unconfined"}),
        (["securityContext", "windowsOptions"], {"hostProcess": True}),
        (["containers", 0, "securityContext"], {}),
        (["containers", 0, "securityContext", "allowPrivilegeEscalation"], True),
        (["containers", 0, "securityContext", "privileged"], True),
        (["containers", 0, "securityContext", "procMount"], "Unmasked"),
        (["containers", 0, "securityContext", "runAsNonRoot"], False),
        (["containers", 0, "securityContext", "capabilities", "drop"], ["NET_RAW"]),
        (["containers", 0, "securityContext", "capabilities", "add"], ["SYS_ADMIN"]),
        (["containers", 0, "ports"], [{"containerPort": 1, "hostPort": 1}]),
        (["initContainers"], [{"name": "prepare", "image": "uae-control:0.1.0"}]),
    ],
)
def test_each_rule_refuses(path, value):
    pod = copy.deepcopy(POD)
    *way, last = path
    place = pod["spec"]
    for step in way:
        place = place[step]
    place[last] = value
    assert len(faults(pod)) >= 1


def test_our_own_rules_refuse():
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    del pod["spec"]["automountServiceAccountToken"]
    assert read_only_faults(pod)
    assert token_faults(pod)


# What kfp's compiler puts on a step's pod and on its container since kfp 2.16: all that the
# standard asks for but a user. kubeflow/pipelines, backend/src/v2/compiler/argocompiler/
# security_context.go: applySecurityContextToExecutorTemplate.
BY_KFP = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def step_pod(context):
    container = {"name": "main", "securityContext": BY_KFP | context}
    profile = {"seccompProfile": {"type": "RuntimeDefault"}}
    return {"spec": {"securityContext": profile, "containers": [container]}}


def user_of(values):
    given = values.get("securityContext", {})
    assert given.keys() <= {"runAsUser", "runAsGroup", "runAsNonRoot"}
    return {key: int(value) if key != "runAsNonRoot" else value for key, value in given.items()}


def test_steps_are_restricted_with_what_the_pipeline_adds():
    assert faults(step_pod({})) == ["container main: may run as root"]
    for executor, values in executors().items():
        assert faults(step_pod(user_of(values))) == [], executor


def test_steps_and_trainjobs_run_as_the_same_user():
    context = POD["spec"]["securityContext"]
    ours = {key: context[key] for key in ("runAsUser", "runAsGroup", "runAsNonRoot")}
    assert all(user_of(values) == ours for values in executors().values())


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_the_namespace_is_restricted_at_a_pinned_version(name):
    labels = find(overlay(name), "Namespace", "uae")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.31"
