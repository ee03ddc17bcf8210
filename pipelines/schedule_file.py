"""The file that says what a schedule runs, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from uae.errors import SubmitError
from uae.fingerprints import json_sha256
from uae.strict_yaml import read_yaml
from uae_pipelines.cron import Cron
from uae_pipelines.submit import load_package

NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
LONGEST_NAME = 60
LONGEST_DESCRIPTION = 190  # older servers keep 255 characters, the fingerprint takes some
MARKER = "uae-schedule-content"  # in the description, before the fingerprint


class ScheduleFile(BaseModel):
    """A schedule, as it stands in its file. Paths are relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    folder: Path = Field(exclude=True, repr=False)  # of the file, not a key in it
    name: Annotated[str, Field(pattern=NAME, max_length=LONGEST_NAME)]
    cron: str
    experiment: Annotated[str, Field(min_length=1)] = "uae"
    description: Annotated[str, Field(max_length=LONGEST_DESCRIPTION)] = ""
    enabled: bool = True
    service_account: str = "uae-pipeline"
    package: str | None = None  # compiled; None: compiled from the next two
    resources: str | None = None
    images: str | None = None
    parameters: dict[str, Any] = {}

    @classmethod
    def read(cls, path: Path) -> ScheduleFile:
        """Read a schedule.

        Raises:
            SubmitError: Naming every wrong key with its value and what is allowed.
        """
        try:
            values = read_yaml(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise SubmitError(f"{path} is no YAML file that can be read: {error}") from error
        if not isinstance(values, dict) or "folder" in values:
            raise SubmitError(f"{path} must be a mapping with {', '.join(_keys())}")
        try:
            return cls.model_validate({**values, "folder": path.parent})
        except ValidationError as error:
            lines = [_explain(dict(fault)) for fault in error.errors()]
            raise SubmitError(f"{path} is not a valid schedule:\n" + "\n".join(lines)) from error

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, text: str) -> str:
        return Cron.parse(text).text

    @model_validator(mode="after")
    def _package_or_its_sources(self) -> ScheduleFile:
        if self.package and (self.resources or self.images):
            raise ValueError(
                "package is compiled already, resources and images say what to compile it from: "
                "give either that or these"
            )
        return self

    def content(self) -> Content:
        """Return what the server is to run, checked.

        Raises:
            SubmitError: If the package or a parameter is wrong.
            UaeError: If the recipe, the resources or the image references are not valid.
        """
        cluster_files: dict[str, Any] = {}
        if self.resources:
            is_path = self.resources.endswith((".yaml", ".yml"))
            cluster_files["resources"] = (
                str(self.folder / self.resources) if is_path else self.resources
            )
        if self.images:
            cluster_files["images"] = self.folder / self.images
        package = load_package(self.folder / self.package if self.package else None, cluster_files)
        _refuse_what_no_schedule_may_have(self.parameters)
        return Content(self, package.spec, package.from_values(self.parameters, self.folder))


class Content:
    """Everything that the server is to know of a schedule, but whether it is enabled."""

    def __init__(
        self, schedule: ScheduleFile, spec: dict[str, Any], parameters: dict[str, Any]
    ) -> None:
        """Compute the fingerprint, which stands in the description on the server."""
        values: dict[str, Any] = {
            "display_name": schedule.name,
            "pipeline_spec": spec,
            "runtime_config": {"parameters": parameters},
            "max_concurrency": 1,
            "no_catchup": True,
            "trigger": {"cron_schedule": {"cron": schedule.cron}},
        }
        if schedule.service_account:
            values["service_account"] = schedule.service_account
        described = {**values, "experiment": schedule.experiment, "text": schedule.description}
        self.fingerprint = json_sha256(described)[:32]
        marker = f"{MARKER}: {self.fingerprint}"
        text = schedule.description.strip()
        self.values = {**values, "description": f"{text}\n\n{marker}" if text else marker}

    def body(self, experiment_id: str, *, enabled: bool) -> dict[str, Any]:
        """Return what creates the recurring run."""
        mode = "ENABLE" if enabled else "DISABLE"
        return {**self.values, "experiment_id": experiment_id, "mode": mode}


def fingerprint_of(recurring_run: dict[str, Any]) -> str | None:
    """Return the fingerprint of what a recurring run runs, None if `uae` did not make it."""
    _, found, fingerprint = str(recurring_run.get("description") or "").rpartition(f"{MARKER}: ")
    return fingerprint.strip() if found else None


def plain_description(recurring_run: dict[str, Any]) -> str:
    """Return the description without the fingerprint."""
    return str(recurring_run.get("description") or "").rpartition(MARKER)[0].strip()


def _refuse_what_no_schedule_may_have(parameters: dict[str, Any]) -> None:
    faults = []
    if parameters.get("run_id"):
        faults.append("  run_id: every night would go on with one run; leave it empty")
    faults += [
        f"  {name}: {value!r}: Kubeflow Pipelines does not replace [[...]] in a v2 pipeline's "
        "parameters; write the value itself"
        for name, value in parameters.items()
        if isinstance(value, str) and "[[" in value and "]]" in value and "\n" not in value
    ]
    if faults:
        raise SubmitError("parameters that no schedule may have:\n" + "\n".join(faults))


def _keys() -> list[str]:
    return [name for name in ScheduleFile.model_fields if name != "folder"]


def _explain(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
    if fault["type"] == "extra_forbidden":
        return f"  {key}: unknown key (value {fault['input']!r}); allowed: {', '.join(_keys())}"
    if fault["type"] == "missing":
        return f"  {key}: missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "string_pattern_mismatch":
        message = "must be lower-case letters, digits, '-' and '.', first and last no sign"
    shown = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"  {key}: {message}{shown}"
