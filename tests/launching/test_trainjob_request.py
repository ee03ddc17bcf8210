"""The TrainJob as it reaches the API server, and as the Trainer's own models read it."""

import re
from typing import Any

import pytest
from kubeflow_trainer_api import models
from launching.kubernetes_api import KubernetesApi
from launching.stage_step import launch

from uae.errors import ResourcesError
from uae.launch.cluster import Cluster
from uae.launch.location import RunLocation
from uae.launch.resources import Launch
from uae.launch.trainjob_request import JobRequest, job_request, run_label, sdk_arguments

RUN = RunLocation("http://seaweedfs.kubeflow:8333", "uae", "Nightly_2026-03-04")
TASK = "s3://uae/runs/Nightly_2026-03-04/jobs/generation_for_understanding"
TOLERATION = {
    "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 300,
}  # fmt: skip


def request(
    how: Launch | None = None,
    stage: str = "generation_for_understanding",
    run: RunLocation = RUN,
    **more: Any,
) -> JobRequest:
    placing: dict[str, Any] = {"tolerations": [], "node_selector": {}} | more
    return job_request(run, stage, "0" * 64, how or launch(), TASK, **placing)


def created(api: KubernetesApi, wanted: JobRequest) -> dict[str, Any]:
    assert Cluster.connect().create_job(**sdk_arguments(wanted))
    return api.created[-1]


LABELS = {
    "app.kubernetes.io/part-of": "uae",
    "uae/run": run_label(RUN),
    "uae/stage": "generation-for-understanding",
    "uae/cost-center": "research",
}


def patch() -> dict[str, Any]:
    """What the job changes of its runtime."""
    weights = {"claimName": "uae-weights", "readOnly": True}
    pod = {
        "containers": [
            {
                "name": "node",
                "volumeMounts": [
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                    {"name": "weights", "mountPath": "/weights", "readOnly": True},
                ],
            }
        ],
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [TOLERATION],
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
            {"name": "weights", "persistentVolumeClaim": weights},
        ],
    }
    template = {"spec": {"template": {"metadata": {"labels": LABELS}, "spec": pod}}}
    return {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}}


def test_whole_job(api: KubernetesApi) -> None:
    wanted = request(tolerations=[TOLERATION], node_selector={"gpu": "a100"})
    node = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert created(api, wanted) == {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": f"uae-{run_label(RUN)}-gfu",
            "labels": LABELS | {"kueue.x-k8s.io/queue-name": "uae"},
            "annotations": {"uae/identity": wanted.identity, "uae/run-id": "Nightly_2026-03-04"},
        },
        "spec": {
            "runtimeRef": {"name": "uae-torch", "kind": "TrainingRuntime"},
            "activeDeadlineSeconds": 3600,
            "trainer": {
                "image": "registry.test/uae-trainer:0.1.0",
                "numNodes": 2,
                "resourcesPerNode": {"requests": node, "limits": node},
                "env": [
                    {"name": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "value": "120"},
                    {"name": "PYTHONUNBUFFERED", "value": "1"},
                ],
                "command": [
                    "python3", "-m", "uae.launch.agent", "--nproc-per-node=2",
                    "--max-restarts=3", "-m", "uae.launch.worker", TASK, "--endpoint=http://seaweedfs.kubeflow:8333",
                ],
            },
            "runtimePatches": [
                {
                    "manager": "trainer.kubeflow.org/kubeflow-sdk",
                    "trainingRuntimeSpec": {"template": patch()},
                }
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize("how", [launch(), launch(accelerators=0, queue=None, weights_claim=None)])
def test_trainer_models_drop_nothing(api: KubernetesApi, how: Launch) -> None:
    sent = created(api, request(how, tolerations=[TOLERATION], node_selector={"gpu": "a100"}))
    job = models.TrainerV1alpha1TrainJob.from_dict(sent)
    assert job is not None
    assert job.to_dict() == sent
    sent["spec"]["podSpecOverrides"] = []  # the name before Trainer v2.3
    known = models.TrainerV1alpha1TrainJob.from_dict(sent)
    assert known is not None
    assert known.to_dict() != sent  # so the comparison above sees what is dropped


def test_what_is_not_asked_for_is_not_there(api: KubernetesApi) -> None:
    sent = created(api, request(launch(accelerators=0, queue=None, weights_claim=None)))
    text = str(sent)
    for absent in ("nvidia.com", "kueue", "weights", "tolerations", "nodeSelector"):
        assert absent not in text
    assert "--nproc-per-node=1" in sent["spec"]["trainer"]["command"]


def test_accelerators_are_asked_for_by_the_trainer_alone(api: KubernetesApi) -> None:
    spec = created(api, request())["spec"]
    assert "nvidia.com/gpu" in str(spec.pop("trainer"))
    assert "nvidia.com/gpu" not in str(spec)


def test_names_are_the_same_for_every_try_and_fit_a_host_name() -> None:
    long = RunLocation("http://s:1", "uae", "A" * 128)
    for stage in ("pretrain_decoder", "cold_start", "understanding_for_generation"):
        name = request(stage=stage, run=long).name
        assert name == request(launch(memory="17Gi"), stage=stage, run=long).name
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(f"{name}-node-0-999-abcde") <= 63
    others = [request(), request(stage="cold_start"), request(run=long)]
    assert len({one.name for one in others}) == 3


def test_identity_changes_with_all_that_a_job_is_made_from() -> None:
    different = [
        request(),
        request(launch(image="registry.test/uae-trainer:0.1.1")),
        request(launch(num_nodes=3)),
        request(tolerations=[TOLERATION]),
        request(node_selector={"gpu": "a100"}),
        job_request(RUN, "cold_start", "1" * 64, launch(), TASK, [], {}),
    ]
    assert len({one.identity for one in different}) == len(different)
    assert request().identity == request().identity


def test_numbers_of_a_toleration_may_arrive_as_kfp_sends_them() -> None:
    assert (
        request(tolerations=[{"key": "a", "tolerationSeconds": 300.0}]).tolerations[0]
        == (request(tolerations=[{"key": "a", "tolerationSeconds": 300}]).tolerations[0])
    )


@pytest.mark.parametrize(
    ("placing", "fault"),
    [
        (
            {"tolerations": [{"key": "a", "operator": "exists"}]},
            "'Equal', got 'exists'",
        ),
        ({"tolerations": [{"tolerationSeconds": 1.5}]}, "fractional part, got 1.5"),
        ({"tolerations": ["gpu"]}, "got 'gpu'"),
        ({"node_selector": {"gpu": 1}}, "valid string, got 1"),
    ],
)
def test_what_kubernetes_would_not_take_is_named(placing: dict[str, Any], fault: str) -> None:
    with pytest.raises(ResourcesError, match=re.escape(fault)):
        request(**placing)
