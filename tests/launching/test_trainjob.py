"""A step whose stage trains in a TrainJob: a Kubernetes API on loopback, and a real store."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from artifact_place import Place
from launching.kubernetes_api import JOBS, PODS, Fault, KubernetesApi
from launching.stage_step import STAGE, StageStep, launch

from uae.errors import ClusterError, DataError, ResourcesError, RunError
from uae.launch import job_follower
from uae.launch.failures import WorkerFailure
from uae.launch.task import read_task, write_failure, write_result
from uae.launch.task_places import StoredPlace

TRAINED = {"model": "weights", "logs": "rows", "curves": "<p>"}


class PowerCut(BaseException):
    """A step's pod vanishes with its node."""


def jobs_place(step: StageStep) -> StoredPlace:
    return StoredPlace(step.store, f"{step.prefix}/jobs/{STAGE}")


def leave_outputs(step: StageStep, folder: Path) -> None:
    """What rank 0 leaves in the store."""
    place = jobs_place(step)
    task = read_task(place)
    paths = {name: folder / "trained" / name for name in TRAINED}
    for name in ("model", "logs"):
        paths[name].mkdir(parents=True)
        (paths[name] / "file").write_text(TRAINED[name])
    paths["curves"].write_text(TRAINED["curves"])
    write_result(place, task, {"loss": 0.5, "broken": float("nan")}, place.send(task, paths))


def plays(api: KubernetesApi, *scenes: Any) -> None:
    api.scenes.extend(scenes)


def succeeds(api: KubernetesApi, step: StageStep, folder: Path) -> None:
    """Let the next job run and complete."""
    plays(
        api,
        lambda: api.pod(running={"startedAt": "2026-01-01T00:00:00Z"}),
        lambda: leave_outputs(step, folder),
        lambda: api.condition("Complete", "JobsCompleted", "all nodes ended well"),
    )


def fails(api: KubernetesApi, *, code: int = 1, node: int = 1, reason: str = "Error") -> None:
    """Let the next job fail on one node."""

    def end() -> None:
        pod = api.pod(node, terminated={"exitCode": code, "reason": reason})
        api.say(pod, *(f"line {number}" for number in range(30)), "out of memory")
        api.condition("Failed", "JobsFailed", "a node failed")

    plays(api, lambda: api.pod(0, running={"startedAt": "2026-01-01T00:00:00Z"}), end)


def cut_after(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, step: StageStep) -> None:
    """Start the step, and lose its pod while the job runs."""
    with monkeypatch.context() as patch:

        def cut(_: float) -> None:
            raise PowerCut

        patch.setattr(job_follower, "time", SimpleNamespace(sleep=cut))
        with pytest.raises(PowerCut):
            step(launch())
    assert len(api.jobs) == 1
    left = step.record | {"status": "running", "error": None}  # nobody wrote how it ended
    step.store.put_json(f"{step.prefix}/steps/{STAGE}.json", left)


def test_job_is_made_followed_and_its_outputs_brought(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def talk() -> None:
        api.say(api.pod(running={"startedAt": "2026-01-01T00:00:00Z"}), "update 1", "update 2")

    plays(api, lambda: api.condition("Suspended", "Suspended", "waits in queue uae"), talk)
    plays(api, lambda: [job["status"].clear() for job in api.jobs.values()])
    succeeds(api, stage_step, tmp_path)
    outputs = stage_step(launch())
    assert (Path(outputs["model"].path) / "file").read_text() == "weights"
    assert Path(outputs["curves"].path).read_text() == "<p>"
    record = stage_step.record
    assert record["status"] == "succeeded"
    assert record["metrics"] == {"loss": 0.5}
    assert outputs["model"].metadata["sha256"] == record["digests"]["model"]
    assert outputs["model"].metadata["stored_at"] == record["artifacts"]["model"]
    assert api.jobs == {}
    said = capsys.readouterr().out
    assert "waits in queue uae" in said
    assert re.findall("update .", said) == ["update 1", "update 2"]
    asked = {re.sub(r"/uae-[^/]*", "/*", path) for _, path, _ in api.requests}
    assert asked == {JOBS, f"{JOBS}/*", PODS, f"{PODS}/*/log"}  # no more rights are needed


def test_nothing_secret_leaves_the_step(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    task = jobs_place(stage_step).read("task.json")
    shown = json.dumps([api.created, api.requests, task, stage_step.record])
    for secret in stage_step.secrets:
        assert secret not in shown + capsys.readouterr().out


def test_failing_pod_is_named_with_its_last_lines(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    fails(api, code=137, reason="OOMKilled")
    with pytest.raises(ClusterError) as caught:
        stage_step(launch())
    text = str(caught.value)
    assert "JobsFailed: a node failed" in text
    assert "(node 1) ended with exit code 137 (OOMKilled)" in text
    assert text.endswith("  line 29\n  out of memory")
    assert "line 10\n" not in text
    assert stage_step.record["error"]["retryable"] is True
    assert api.jobs == {}


def test_failed_job_is_made_anew_by_the_retry(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path
) -> None:
    fails(api)
    with pytest.raises(ClusterError):
        stage_step(launch())
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    assert len(api.created) == 2
    assert api.created[0] == api.created[1]
    assert stage_step.record["status"] == "succeeded"


def test_pod_that_fails_is_shown_while_the_job_restarts(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose() -> None:
        pod = api.pod(1, terminated={"exitCode": 137, "reason": "OOMKilled"})
        api.say(pod, "update 7", "out of memory")

    def restart() -> None:
        api.pods = []
        api.say(api.pod(0, "second-0", running={"startedAt": "2026-01-01T00:00:00Z"}), "goes on")

    plays(api, lose, lambda: None, restart)
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    said = capsys.readouterr().out
    shown = (
        "(node 1) ended with exit code 137 (OOMKilled); its last lines:\n  update 7\n  out of mem"
    )
    assert said.count(shown) == 1
    assert "goes on" in said.partition(shown)[2]
    assert len(api.created) == 1


def test_error_of_a_process_comes_back_as_it_was(
    api: KubernetesApi, stage_step: StageStep, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        failure = WorkerFailure.of(DataError("split heldout is missing"), 1)
        write_failure(jobs_place(stage_step), failure)

    plays(api, refuse)
    fails(api)
    with pytest.raises(DataError, match=r"^split heldout is missing$"):
        stage_step(launch())
    assert stage_step.record["error"]["retryable"] is False
    assert "out of memory" in capsys.readouterr().out
    with pytest.raises(DataError):  # at once
        stage_step(launch())
    assert len(api.created) == 1


def test_retried_step_goes_on_with_the_job_that_lives(
    api: KubernetesApi,
    stage_step: StageStep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut_after(api, monkeypatch, stage_step)
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    assert len(api.created) == 1
    assert "going on with TrainJob uae/" in capsys.readouterr().out
    assert stage_step.record["status"] == "succeeded"


def test_retried_step_takes_the_result_of_the_job_that_has_ended(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_after(api, monkeypatch, stage_step)
    leave_outputs(stage_step, tmp_path)
    api.condition("Complete")
    stage_step(launch())
    assert len(api.created) == 1
    assert stage_step.record["metrics"] == {"loss": 0.5}


@pytest.mark.parametrize("what", ["recipe", "launch"])
def test_job_of_other_inputs_is_replaced(
    api: KubernetesApi,
    stage_step: StageStep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    cut_after(api, monkeypatch, stage_step)
    api.reads_until_gone = 3  # its pods store a checkpoint
    if what == "recipe":
        stage_step.updates(4)
    succeeds(api, stage_step, tmp_path)
    stage_step(launch(memory="17Gi") if what == "launch" else launch())
    first, second = api.created
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["metadata"]["annotations"] != second["metadata"]["annotations"]


def test_answer_that_was_lost_leaves_one_job(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path
) -> None:
    api.faults.append(Fault("POST", "/trainjobs"))  # it is made, but the step does not hear of it
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    assert api.asked("POST") == 2  # the second one got 409
    assert len(api.created) == 1
    assert stage_step.record["status"] == "succeeded"


def test_server_that_is_away_for_a_while_loses_no_job_and_no_line(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def restart() -> None:
        pod = api.pod(running={"startedAt": "2026-01-01T00:00:00Z"})
        api.say(pod, *(f"update {number}" for number in range(20)))
        api.faults += [
            Fault("GET", "-pretrain", 503, times=3),
            Fault("GET", "-pretrain", times=2),
            Fault("GET", "/pods", 500),
            Fault("GET", "/log", times=2),
        ]

    plays(api, restart, lambda: None, lambda: None)
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    said = capsys.readouterr().out
    assert re.findall(r"^update \d+$", said, re.M) == [f"update {n}" for n in range(20)]
    assert "503 made up by the test; trying again" in said
    assert len(api.created) == 1


def test_server_that_stays_away_fails_the_step_and_keeps_the_job(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    plays(api, lambda: api.faults.append(Fault("GET", "-pretrain", 503, times=1000)))
    with pytest.raises(ClusterError, match=r"503 made up by the test, for 1 s; what runs there"):
        stage_step(launch())
    assert len(api.jobs) == 1
    assert api.asked("DELETE") == 0
    assert stage_step.record["error"]["retryable"] is True


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (401, ClusterError, "check this pod's service account"),
        (403, ClusterError, "give this pod's service account the role"),
        (404, ClusterError, "install Kubeflow Trainer v2"),
        (422, ResourcesError, "made up by the test"),
    ],
)
def test_refusal_says_what_to_do(
    api: KubernetesApi, stage_step: StageStep, status: int, kind: type[Exception], advice: str
) -> None:
    api.faults.append(Fault("POST", "/trainjobs", status))
    with pytest.raises(kind, match=f"cannot create TrainJobs in namespace uae.*{advice}"):
        stage_step(launch())
    assert api.asked("POST") == 0  # no second one
    assert stage_step.record["error"]["retryable"] is (kind is ClusterError)


def test_log_that_may_not_be_read_is_said_once(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.faults.append(Fault("GET", "/log", 403, times=100))
    plays(api, *[lambda: None] * 3)
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    assert capsys.readouterr().out.count("cannot read logs (pods/log)") == 1
    assert stage_step.record["status"] == "succeeded"


def test_pod_that_cannot_start_is_shown(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unmet = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/3 nodes: Insufficient nvidia.com/gpu"}  # fmt: skip
    plays(api, lambda: api.pod(conditions=[unmet]))
    plays(api, lambda: api.pod(waiting={"reason": "ImagePullBackOff", "message": "no such tag"}))
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    said = capsys.readouterr().out
    assert "node 0 Unschedulable: 0/3 nodes: Insufficient nvidia.com/gpu" in said
    assert "node 0 ImagePullBackOff: no such tag" in said


def test_job_that_somebody_deletes_is_no_success(api: KubernetesApi, stage_step: StageStep) -> None:
    plays(api, lambda: api.jobs.clear())
    with pytest.raises(ClusterError, match="was deleted by somebody else"):
        stage_step(launch())


def test_job_that_cannot_be_deleted_in_the_end_is_left_to_the_exit_handler(
    api: KubernetesApi, stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.faults.append(Fault("DELETE", "-pretrain", 403))
    succeeds(api, stage_step, tmp_path)
    stage_step(launch())
    assert stage_step.record["status"] == "succeeded"
    assert "the exit handler deletes it" in capsys.readouterr().out


def test_input_that_lies_nowhere_in_the_store_is_refused(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    stage_step.model_in = Place(str(stage_step.world.bundle))
    with pytest.raises(RunError, match="input model_in of pretrain_decoder"):
        stage_step(launch())
    assert api.requests == []


def test_unknown_word_in_a_toleration_is_refused(api: KubernetesApi, stage_step: StageStep) -> None:
    with pytest.raises(ResourcesError, match="seconds: Extra inputs are not permitted, got 3"):
        stage_step(launch(), tolerations=[{"key": "gpu", "seconds": 3}])
    assert api.requests == []
