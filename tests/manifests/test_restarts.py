"""What becomes of a job on several nodes when one of its pods ends, by the rules of its runtime.

The rules are applied as the controllers of Job and JobSet apply them: the first one that fits. The
message of a failed Job is that of Kubernetes, pkg/controller/job/pod_failure_policy.go.
"""

import re
from typing import Any

import pytest
from manifests.rendering import find, overlay
from manifests.schemas import faults

from uae.launch.failures import FAILED, FINAL, INTERRUPTED
from uae.launch.torchrun import KILL_AFTER_SECONDS, SHUTDOWN_SECONDS

OUT_OF_MEMORY = 137  # also: the machine is gone


@pytest.fixture(scope="module")
def job_set() -> dict[str, Any]:
    found: dict[str, Any] = find(overlay("multi-node"), "TrainingRuntime", "uae-torch")
    return found["spec"]["template"]["spec"]


def job_of(job_set: dict[str, Any]) -> dict[str, Any]:
    (replicated,) = job_set["replicatedJobs"]
    return replicated["template"]["spec"]


def job_failure(job: dict[str, Any], code: int, condition: str | None) -> tuple[str, str]:
    """Return reason and message of a Job of which a pod has ended."""
    assert job["backoffLimit"] == 0
    for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
        assert rule["action"] == "FailJob"
        codes = rule.get("onExitCodes", {"values": []})
        assert codes.get("operator", "In") == "In"
        conditions = [one["type"] for one in rule.get("onPodConditions", [])]
        if code in codes["values"] or condition in conditions:
            what = (
                "Container node for pod uae/a failed with exit code" if codes["values"] else "Pod"
            )
            return "PodFailurePolicy", f"{what} matching FailJob rule at index {index}"
    return "BackoffLimitExceeded", "Job has reached the specified backoff limit"


def action(job_set: dict[str, Any], code: int, condition: str | None = None) -> str:
    reason, message = job_failure(job_of(job_set), code, condition)
    for rule in job_set["failurePolicy"]["rules"]:
        patterns = rule["onJobFailureMessagePatterns"]
        if reason in rule["onJobFailureReasons"] and any(re.search(p, message) for p in patterns):
            return str(rule["action"])
    return "RestartJobSet"


@pytest.mark.parametrize(
    ("code", "condition", "expected"),
    [
        (FAILED, None, "RestartJobSet"),
        (OUT_OF_MEMORY, None, "RestartJobSet"),
        (FINAL, None, "FailJobSet"),
        (INTERRUPTED, None, "RestartJobSetAndIgnoreMaxRestarts"),
        (INTERRUPTED, "DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts"),
        (OUT_OF_MEMORY, "DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts"),
    ],
)
def test_end_of_a_pod_decides_about_the_job(
    job_set: dict[str, Any], code: int, condition: str | None, expected: str
) -> None:
    assert action(job_set, code, condition) == expected


def test_restarts_are_bounded_and_every_rule_names_the_container(job_set: dict[str, Any]) -> None:
    assert job_set["failurePolicy"]["maxRestarts"] > 0
    job = job_of(job_set)
    (container,) = job["template"]["spec"]["containers"]
    named = [rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"][:2]]
    assert named == [container["name"]] * 2
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # or a Job takes no such rules


def test_an_update_and_a_checkpoint_fit_into_the_grace_period(job_set: dict[str, Any]) -> None:
    grace = job_of(job_set)["template"]["spec"]["terminationGracePeriodSeconds"]
    assert 2 * 60 <= SHUTDOWN_SECONDS < KILL_AFTER_SECONDS < grace


def test_a_wrong_rule_is_found() -> None:
    runtime = find(overlay("multi-node"), "TrainingRuntime", "uae-torch")
    runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestart"] = 3
    assert faults(runtime)
