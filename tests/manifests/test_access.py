"""Who may do what: exactly the list, nothing cluster-wide, no secret anywhere."""

import re

import pytest
from manifests.compositions import STANDALONE, kustomization
from manifests.rendering import (
    MANIFESTS,
    OVERLAYS,
    STANDALONE_OVERLAY,
    WITH_PROFILES,
    composed,
    find,
    overlay,
    submit_account,
)

RUN_RULES = {
    ("", "configmaps", "kfp-launcher", "get"),
    ("", "secrets", "uae-store", "get"),
    ("argoproj.io", "workflowtaskresults", None, "create"),
    ("argoproj.io", "workflowtaskresults", None, "patch"),
    ("argoproj.io", "workflowtasksets", None, "list"),
    ("argoproj.io", "workflowtasksets", None, "watch"),
    ("argoproj.io", "workflowtasksets/status", None, "patch"),
    ("trainer.kubeflow.org", "trainjobs", None, "list"),
}
TRAINJOB_RULES = {
    *(
        ("trainer.kubeflow.org", "trainjobs", None, verb)
        for verb in ("create", "get", "list", "watch", "delete")
    ),
    ("", "pods", None, "get"),
    ("", "pods", None, "list"),
    ("", "pods/log", None, "get"),
}
ALLOWED = {
    "uae-run": RUN_RULES,
    "uae-trainjobs": TRAINJOB_RULES,
    "uae-kfp-driver-log": {("", "secrets", "uae-store", "get")},
}


def granted(objects):
    """Return role -> every (group, resource, name, verb) that it allows."""
    return {
        one["metadata"]["name"]: {
            (group, resource, name, verb)
            for rule in one["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames", [None])
            for verb in rule["verbs"]
        }
        for one in objects
        if one["kind"] == "Role"
    }


def holders(objects):
    """Return role -> (namespace, account) of everyone who has it."""
    return {
        one["roleRef"]["name"]: {(who["namespace"], who["name"]) for who in one["subjects"]}
        for one in objects
        if one["kind"] == "RoleBinding"
    }


def excess(objects):
    """Return what is allowed beyond the list."""
    found = {role: rules - ALLOWED.get(role, set()) for role, rules in granted(objects).items()}
    wide = [one["kind"] for one in objects if one["kind"].startswith("ClusterRole")]
    return [*wide, *(rule for rules in found.values() for rule in rules)]


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_roles_allow_exactly_the_list(name):
    objects = overlay(name)
    roles = ["uae-run", "uae-trainjobs"] if name == "multi-node" else ["uae-run"]
    assert granted(objects) == {role: ALLOWED[role] for role in roles}
    assert excess(objects) == []


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_roles_are_held_by_the_accounts_that_run_steps(name):
    runners = {("uae", "uae-pipeline"), ("uae", "default-editor")}
    assert set(map(frozenset, holders(overlay(name)).values())) == {frozenset(runners)}


def test_without_profiles_the_pipeline_runner_of_kfp_holds_them(tmp_path):
    objects = composed(STANDALONE, tmp_path)
    runners = {("kubeflow", "uae-pipeline"), ("kubeflow", "pipeline-runner")}
    assert holders(objects) == {"uae-run": runners, "uae-trainjobs": runners}
    own_store = [("", "secrets", "mlpipeline-minio-artifact", "get")]
    assert excess(objects) == own_store
    shipped = overlay(STANDALONE_OVERLAY)
    assert holders(shipped) == {"uae-run": runners}
    assert excess(shipped) == own_store


def test_who_submits_may_use_the_account_of_runs_and_what_kubeflow_lets_editors_do():
    objects = submit_account()
    kinds = sorted(one["kind"] for one in objects)
    assert kinds == ["Role", "RoleBinding", "RoleBinding", "ServiceAccount"]
    submitter = {("uae", "uae-submit")}
    assert holders(objects) == {
        "kubeflow-pipelines-edit": submitter, "uae-submit-as-pipeline": submitter,
    }  # fmt: skip
    use = ("", "serviceaccounts", "uae-pipeline", "use")
    assert granted(objects) == {"uae-submit-as-pipeline": {use}}
    account = find(objects, "ServiceAccount", "uae-submit")
    assert account["automountServiceAccountToken"] is False


def test_a_driver_of_its_own_reads_the_store_s_keys_alone(tmp_path):
    objects = composed(kustomization("store-minio", "kfp-plugin-driver"), tmp_path)
    driver = {("uae", "ml-pipeline-driver-agent-executor-plugin")}
    assert holders(objects)["uae-kfp-driver-log"] == driver
    assert granted(objects)["uae-kfp-driver-log"] == ALLOWED["uae-kfp-driver-log"]
    assert excess(objects) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainjobs"], "verbs": ["*"]},
        {"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
    ],
)
def test_more_than_the_list_is_found(rule):
    objects = overlay("multi-node")
    find(objects, "Role", "uae-trainjobs")["rules"].append(rule)
    assert excess(objects)


def test_a_cluster_wide_role_is_found():
    role = {"kind": "ClusterRole", "metadata": {"name": "uae"}, "rules": []}
    assert excess([*overlay("minio"), role])


@pytest.mark.parametrize("name", WITH_PROFILES)
def test_only_the_account_that_runs_steps_has_a_token(name):
    mounted = {
        one["metadata"]["name"]: one["automountServiceAccountToken"]
        for one in overlay(name)
        if one["kind"] == "ServiceAccount"
    }
    jobs = {"uae-trainjob": False} if name == "multi-node" else {}
    assert mounted == {"uae-pipeline": True, "default": False} | jobs


def secret_faults(objects, texts):
    """Return every secret that is rendered, and every value of one that a file holds."""
    rendered = [one["metadata"]["name"] for one in objects if one["kind"] == "Secret"]
    kind = re.compile(r"^kind: Secret\b", re.MULTILINE)
    key = re.compile(r"(access-key-id|secret-access-key|webhook-url|smtp-url)=[^\s$<]")
    written = [name for name, text in texts.items() if kind.search(text) or key.search(text)]
    return rendered + written


def test_no_secret_is_applied_or_kept():
    texts = {
        str(path): path.read_text(encoding="utf-8")
        for path in MANIFESTS.rglob("*")
        if path.is_file() and path.suffix != ".env"  # which git ignores
    }
    assert len(texts) > 30
    assert secret_faults([one for name in OVERLAYS for one in overlay(name)], texts) == []
    assert secret_faults([{"kind": "Secret", "metadata": {"name": "a"}}], {}) == ["a"]
    assert secret_faults([], {"a": "x\nkind: Secret\n", "b": "access-key-id=AK"}) == ["a", "b"]
    ignored = (MANIFESTS / "secrets" / ".gitignore").read_text(encoding="utf-8")
    assert ignored == "*.env\n"
