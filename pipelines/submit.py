"""`uae submit`: start the pipeline on a cluster."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uae_pipelines.api import ApiFault, PipelinesApi
from uae_pipelines.parameters import Package
from uae_pipelines.watching import Waiting, watch


@dataclass(frozen=True)
class Submission:
    """What is to be run."""

    parameters: Mapping[str, str]
    package: Path | None  # None: compile one from the cluster files
    cluster_files: Mapping[str, Any]  # resources and images, where they are not the shipped ones
    experiment: str
    name: str | None
    service_account: str


def submit(
    submission: Submission, connect: Callable[[], PipelinesApi], waiting: Waiting | None
) -> int:
    """Check everything, start the run, and wait for its end.

    Args:
        submission: What is to be run.
        connect: Opens the API; called once the package and its parameters are found good.
        waiting: How to wait; None returns once the run is started.

    Returns:
        0 if it succeeded or nobody waits for it, 1 if it failed, was cancelled or skipped.

    Raises:
        SubmitError: If a parameter is wrong. Nothing was sent then.
        RecipeError: If the recipe is not valid. Nothing was sent then.
        ApiFault: If the API refuses or is out of reach.
        RunError: If the run did not end in time.
    """
    package = load_package(submission.package, submission.cluster_files)
    parameters = package.from_texts(submission.parameters, Path())
    name = submission.name or parameters.get("run_id") or f"uae-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    api = connect()
    if "ui_url" in package.definitions and api.ui != api.host:
        parameters.setdefault("ui_url", api.ui)
    body = {
        "experiment_id": api.experiment(submission.experiment),
        "display_name": name,
        "pipeline_spec": package.spec,
        "runtime_config": {"parameters": parameters},
    }
    if submission.service_account:
        body["service_account"] = submission.service_account
    run_id = _start(api, body)
    where = f"run {name} ({run_id}) in experiment {submission.experiment}"
    print(f"{where}\n{api.link(run_id)}", flush=True)
    return 0 if waiting is None else watch(api, run_id, waiting)


def load_package(package: Path | None, cluster_files: Mapping[str, Any]) -> Package:
    """Read a compiled package, or compile one.

    Raises:
        SubmitError: If the file is no package.
        UaeError: If resources or image references are not valid.
    """
    if package is not None:
        return Package.read(package)
    from uae_pipelines.compile import compile_pipeline

    with tempfile.TemporaryDirectory() as folder:
        return Package.read(compile_pipeline(Path(folder) / "uae.yaml", **cluster_files))


def _start(api: PipelinesApi, body: Mapping[str, Any]) -> str:
    unsure = (
        f"the run may have started all the same: look for {body['display_name']!r} at "
        f"{api.ui}/#/runs before you submit it again"
    )
    try:
        return str(api.create_run(dict(body))["run_id"])
    except ApiFault as fault:
        if fault.status is None:  # sent perhaps, and only the answer was lost
            raise ApiFault(f"{fault}; {unsure}") from fault
        raise
    except KeyboardInterrupt:
        print(unsure, file=sys.stderr)
        raise
