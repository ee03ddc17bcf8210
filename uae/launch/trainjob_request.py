"""The TrainJob of one stage: its name, and what is asked of the `kubeflow` SDK to make it.

The job holds no secret and names none. The runtime gives its pods the store's credentials: the API
takes environment from a secret for the container that trains from the runtime alone, and the SDK
from nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from kubeflow.trainer.options.common import Name
from kubeflow.trainer.options.kubernetes import (
    ActiveDeadlineSeconds,
    Annotations,
    ContainerPatch,
    JobSetSpecPatch,
    JobSetTemplatePatch,
    JobSpecPatch,
    JobTemplatePatch,
    Labels,
    PodSpecPatch,
    PodTemplatePatch,
    ReplicatedJobPatch,
    RuntimePatch,
    TrainerCommand,
    TrainingRuntimeSpecPatch,
)
from kubeflow.trainer.types.types import (
    CustomTrainerContainer,
    Runtime,
    RuntimeKind,
    RuntimeTrainer,
    TrainerType,
)
from pydantic import Field, TypeAdapter, ValidationError

from uae.errors import ResourcesError
from uae.fingerprints import json_sha256
from uae.launch.labels import QUEUE_LABEL, RUN_LABEL, common_labels
from uae.launch.location import RunLocation
from uae.launch.pods import TRAINING_CONTAINER
from uae.launch.resources import WEIGHTS_PATH, Launch
from uae.launch.torchrun import SHUTDOWN_SECONDS, SHUTDOWN_VARIABLE, WORKER, agent_command
from uae.recipe import Strict

RUNTIME = "uae-torch"
IDENTITY = "uae/identity"  # annotation: hash of all that the job was made from
RUN_ID = "uae/run-id"  # annotation
SHARED_MEMORY, WEIGHTS = "shared-memory", "weights"  # volumes

# A node's host name in the job is <name>-node-0-<number>, 63 characters at most.
_SHORT = {
    "pretrain_decoder": "pretrain",
    "cold_start": "cold-start",
    "generation_for_understanding": "gfu",
    "understanding_for_generation": "ufg",
}
_RUN_CHARACTERS, _HASH_CHARACTERS = 16, 10


class Toleration(Strict):
    """As Kubernetes has it. The models of its Python packages drop unknown keys in silence."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: Annotated[int, Field(strict=False)] | None = None


class JobRequest(Strict):
    """All that a stage's TrainJob is made from."""

    location: str  # of the run
    stage: str
    inputs: str  # sha256 of all that decides the result
    launch: Launch
    task: str  # address of the task in the store
    tolerations: list[Toleration]
    node_selector: dict[str, str]

    @property
    def name(self) -> str:
        """The job's name: the same for every try of the same step of the same run."""
        return f"uae-{run_label(RunLocation.parse(self.location))}-{_SHORT[self.stage]}"

    @property
    def identity(self) -> str:
        """Hash of the request: a job with another one is of no use to this step."""
        return json_sha256(self.model_dump(mode="json"))


def job_request(
    location: RunLocation,
    stage: str,
    inputs: str,
    launch: Launch,
    task: str,
    tolerations: Sequence[Mapping[str, Any]],
    node_selector: Mapping[str, str],
) -> JobRequest:
    """Return what a stage's TrainJob is made from.

    Raises:
        ResourcesError: If a toleration or the node selector is not what Kubernetes has.
    """
    try:
        return JobRequest(
            location=str(location),
            stage=stage,
            inputs=inputs,
            launch=launch,
            task=task,
            tolerations=TypeAdapter(list[Toleration]).validate_python(list(tolerations)),
            node_selector=dict(node_selector),
        )
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}, "
            f"got {fault['input']!r}"
            for fault in error.errors()
        ]
        raise ResourcesError(
            "tolerations or node_selector are not what Kubernetes takes:\n" + "\n".join(faults)
        ) from error


def run_label(location: RunLocation) -> str:
    """Return the value of the label `uae/run`, by which a run's jobs are found.

    A run id may be longer than a label, and may stand in several stores.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", location.run_id.lower())[:_RUN_CHARACTERS].strip("-")
    return f"{readable}-{json_sha256(str(location))[:_HASH_CHARACTERS]}"


def sdk_arguments(request: JobRequest) -> dict[str, Any]:
    """Return the arguments of the SDK's `train` that make the job."""
    launch = request.launch
    metadata = [
        Name(request.name),
        Labels(_labels(request) | ({QUEUE_LABEL: launch.queue} if launch.queue else {})),
        Annotations(
            {IDENTITY: request.identity, RUN_ID: RunLocation.parse(request.location).run_id}
        ),
    ]
    return {
        "runtime": _runtime(),
        "trainer": CustomTrainerContainer(
            image=launch.image,
            num_nodes=launch.num_nodes,
            resources_per_node=_resources(launch),
            env={SHUTDOWN_VARIABLE: str(SHUTDOWN_SECONDS), "PYTHONUNBUFFERED": "1"},
        ),
        "options": [
            *metadata,
            TrainerCommand(_command(request)),
            ActiveDeadlineSeconds(launch.timeout_seconds),
            RuntimePatch(_patch(request)),
        ],
    }


def _labels(request: JobRequest) -> dict[str, str]:
    run = {RUN_LABEL: run_label(RunLocation.parse(request.location))}
    return common_labels(request.stage, request.launch.cost_center) | run


def _runtime() -> Runtime:
    """Name the runtime; the SDK would ask the server for it, for which a step has no right."""
    trainer = RuntimeTrainer(TrainerType.CUSTOM_TRAINER, framework="torch", image="")
    return Runtime(name=RUNTIME, trainer=trainer, kind=RuntimeKind.TRAINING_RUNTIME)


def _resources(launch: Launch) -> dict[str, str]:
    """Return what each node asks for, which is its limit too."""
    wanted = {"cpu": launch.cpu, "memory": launch.memory}
    if launch.accelerators:
        wanted[launch.accelerator] = str(launch.accelerators)
    return wanted


def _command(request: JobRequest) -> list[str]:
    """Return torchrun's command. Nodes and where they meet come from the Trainer's environment.

    Processes of a node do not: without accelerators the Trainer would take the number of cores.
    """
    launch, endpoint = request.launch, RunLocation.parse(request.location).endpoint
    agent = agent_command("python3", launch.processes_per_node, launch.max_restarts)
    return [*agent, "-m", WORKER, request.task, f"--endpoint={endpoint}"]


def _patch(request: JobRequest) -> TrainingRuntimeSpecPatch:
    volumes, mounts = _volumes(request.launch)
    tolerations = [each.model_dump(exclude_none=True) for each in request.tolerations]
    pod = PodTemplatePatch(
        metadata={"labels": _labels(request)},
        spec=PodSpecPatch(
            volumes=volumes,
            containers=[ContainerPatch(TRAINING_CONTAINER, volume_mounts=mounts)],
            tolerations=tolerations or None,
            node_selector=request.node_selector or None,
        ),
    )
    job = JobTemplatePatch(spec=JobSpecPatch(template=pod))
    nodes = ReplicatedJobPatch(TRAINING_CONTAINER, template=job)
    job_set = JobSetTemplatePatch(spec=JobSetSpecPatch(replicated_jobs=[nodes]))
    return TrainingRuntimeSpecPatch(template=job_set)


def _volumes(launch: Launch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes of a pod and where its container has them."""
    memory = {"medium": "Memory", "sizeLimit": launch.shared_memory}
    volumes: list[dict[str, Any]] = [{"name": SHARED_MEMORY, "emptyDir": memory}]
    mounts: list[dict[str, Any]] = [{"name": SHARED_MEMORY, "mountPath": "/dev/shm"}]
    if launch.weights_claim:
        claim = {"claimName": launch.weights_claim, "readOnly": True}
        volumes.append({"name": WEIGHTS, "persistentVolumeClaim": claim})
        mounts.append({"name": WEIGHTS, "mountPath": WEIGHTS_PATH, "readOnly": True})
    return volumes, mounts
