"""What each step of the pipeline gets on a cluster. It never changes a step's result.

A resources file is one YAML file in which every key stands; `pipelines/resources/starter.yaml` is a
complete example. A trained stage's step is handed its part of it as a `Launch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from uae.errors import ResourcesError
from uae.recipe import Positive, Strict
from uae.strict_yaml import read_yaml, write_yaml

StageName = Literal[
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
]
Launcher = Literal["pod", "trainjob"]
WEIGHTS_PATH = "/weights"  # where the claim with base weights is mounted

_BINARY = {f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {prefix: 1000**power for power, prefix in enumerate("MGTPE", start=2)}
_UNITS: dict[str, int] = {"": 1} | _BINARY | _DECIMAL
# What Kubernetes and kfp both take: kfp knows no fractions of memory, no exponents, and no "k".
_CPU = r"^([1-9]\d*m?|0\.\d{0,2}[1-9]|[1-9]\d*\.\d{1,3})$"
_MEMORY = r"^[1-9]\d*([KMGTPE]i|[MGTPE])?$"
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"  # DNS-1123 subdomain
_LABEL = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_RESOURCE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_WANTED = {
    _CPU: 'must be a number of cores as text, such as "2", "0.5" or "500m"',
    _MEMORY: "must be an amount of memory such as 8Gi or 8G, without a fraction",
    _NAME: "must be lower-case letters, digits, '-' and '.', first and last a letter or digit",
    _LABEL: "must be letters, digits, '-', '_' and '.', first and last a letter or digit",
    _RESOURCE: "must be the name of a resource, such as nvidia.com/gpu",
}

Count = Annotated[int, Field(ge=0)]
Cpu = Annotated[str, Field(pattern=_CPU)]
Memory = Annotated[str, Field(pattern=_MEMORY)]
ObjectName = Annotated[str, Field(pattern=_NAME, max_length=253)]
QueueName = Annotated[str, Field(pattern=_NAME, max_length=63)]  # also the value of a label
LabelValue = Annotated[str, Field(pattern=_LABEL, max_length=63)]
ResourceName = Annotated[str, Field(pattern=_RESOURCE, max_length=253)]


class StepResources(Strict):
    """Of one pod. What is asked for is also the limit."""

    cpu: Cpu  # "2", "0.5" or "500m"
    memory: Memory  # "8Gi" or "8G"
    accelerators: Count
    shared_memory: Memory  # of /dev/shm, which is a part of `memory`
    timeout_seconds: Positive

    @model_validator(mode="after")
    def _shared_memory_fits(self) -> Self:
        if num_bytes(self.shared_memory) >= num_bytes(self.memory):
            raise ValueError(
                f"shared_memory={self.shared_memory} must be less than memory={self.memory}, of "
                "which it is a part"
            )
        return self


class StageResources(StepResources):
    """Of each node that trains a stage."""

    launcher: Launcher
    num_nodes: Positive
    max_restarts: Count  # of its processes where they stand, when one of them was lost

    @model_validator(mode="after")
    def _pod_is_one_node(self) -> Self:
        if self.launcher == "pod" and self.num_nodes != 1:
            raise ValueError(
                f"num_nodes={self.num_nodes} with launcher pod, which is one node: write "
                "launcher: trainjob, or num_nodes: 1"
            )
        return self


class Stages(Strict):
    """By stage name: all of them."""

    pretrain_decoder: StageResources
    cold_start: StageResources
    generation_for_understanding: StageResources
    understanding_for_generation: StageResources


class Retries(Strict):
    """How often a step that a preemption or the store's absence ended is tried again."""

    number: Count
    backoff_seconds: Positive  # before the first one
    factor: Annotated[float, Field(ge=1)]

    def window_seconds(self, timeout_seconds: int) -> int:
        """Return how long all tries of a step may take together, the waits between them included.

        kfp hands it to Argo as the retries' `maxDuration`, which counts from the start of the
        first try: without it a step that ran for an hour is never tried again.
        """
        waits = sum(self.backoff_seconds * self.factor**n for n in range(self.number))
        return (self.number + 1) * timeout_seconds + math.ceil(waits)


class Resources(Strict):
    """What every step gets on a cluster."""

    accelerator: ResourceName  # the resource that pods ask for, such as nvidia.com/gpu
    cost_center: LabelValue  # label uae/cost-center
    queue: QueueName | None  # Kueue's LocalQueue of what trains
    weights_claim: ObjectName | None  # claim with base weights, mounted at /weights
    ttl_seconds: Positive  # how long the finished workflow's objects stay
    retries: Retries
    control: StepResources
    evaluation: StepResources
    stages: Stages

    def launch(self, stage: StageName, image: str) -> Launch:
        """Return what the step of a trained stage must know to start it.

        Args:
            stage: The stage.
            image: The image of the pods that train it.
        """
        section: StageResources = getattr(self.stages, stage)
        return Launch(
            **section.model_dump(),
            accelerator=self.accelerator,
            queue=self.queue,
            cost_center=self.cost_center,
            weights_claim=self.weights_claim,
            image=image,
        )


class Launch(StageResources):
    """Where and with what a trained stage runs; handed to its step as JSON."""

    accelerator: ResourceName
    queue: QueueName | None
    cost_center: LabelValue
    weights_claim: ObjectName | None
    image: str = Field(min_length=1)  # of a TrainJob's pods

    @property
    def processes_per_node(self) -> int:
        """One for each accelerator; one without any."""
        return max(1, self.accelerators)

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return self.num_nodes * self.processes_per_node

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Launch:
        """Read what `to_json` wrote.

        Raises:
            ResourcesError: If the text is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ResourcesError(_explain_all("launch", cls, error)) from error


def load_resources(name_or_path: str | Path, shipped: Path) -> Resources:
    """Read a shipped resources file by name, or a YAML file by path.

    Args:
        name_or_path: Such as `starter`, or a path that ends in .yaml or .yml.
        shipped: Folder with the shipped files.

    Raises:
        ResourcesError: If there is no such file, naming those that exist; or naming every wrong
            key with its value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in shipped.glob("*.yaml"))) or "none"
        raise ResourcesError(
            f"no resources file {str(name_or_path)!r}: give a .yaml file or one of {known}"
        )
    return parse_resources(path.read_text(encoding="utf-8"), source=str(name_or_path))


def parse_resources(text: str, *, source: str = "resources") -> Resources:
    """Read what each step gets from YAML text.

    Raises:
        ResourcesError: Naming every wrong key with its value and what is allowed.
    """
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        raise ResourcesError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ResourcesError(f"{source} must be a mapping, got {type(values).__name__}")
    try:
        return Resources.model_validate(values)
    except ValidationError as error:
        raise ResourcesError(_explain_all(source, Resources, error)) from error


def dump_resources(resources: Resources) -> str:
    """Return the file's text; `parse_resources` gives back an equal value."""
    return write_yaml(resources.model_dump(mode="json"))


def num_bytes(quantity: str) -> int:
    """Return how many bytes a memory quantity is."""
    unit = quantity.lstrip("0123456789")
    return int(quantity.removesuffix(unit)) * _UNITS[unit]


def _explain_all(source: str, root: type[Strict], error: ValidationError) -> str:
    faults = [_explain(root, dict(fault)) for fault in error.errors()]
    return f"{source} is not valid:\n" + "\n".join(faults)


def _explain(root: type[Strict], fault: Mapping[str, Any]) -> str:
    loc = [str(part) for part in fault["loc"]]
    key = ".".join(loc) or "(all)"
    if fault["type"] == "missing":
        return f"  {key}: missing; every key must be given"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_section(root, loc[:-1]).model_fields)
        return f"  {key}: unknown key (value {fault['input']!r}); remove it, allowed: {known}"
    shown = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    pattern = fault.get("ctx", {}).get("pattern")
    text = _WANTED.get(pattern) or fault["msg"].removeprefix("Value error, ")
    return f"  {key}: {text}{shown}"


def _section(root: type[Strict], keys: list[str]) -> type[Strict]:
    """Return the section at a path of keys."""
    section = root
    for key in keys:
        annotation = section.model_fields[key].annotation
        assert isinstance(annotation, type)
        section = annotation
    return section
