"""Run the steps of compiled packages in the built images, as a cluster does. Part of
`make test-images`, not of `make test`."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_images.package_runner import ARTIFACTS, Command, PackageRun
from built_images.sandbox import Finished, Sandbox
from built_images.storage import compressed_bytes

from uae.store.embedded import EmbeddedStore
from uae_images.build import OUT
from uae_images.figures import MEASURED, PAGE, STEP_TIMES, Figures, write
from uae_images.references import ImageReferences
from uae_pipelines.cluster import RESOURCES_FOLDER
from uae_pipelines.compile import compile_pipeline

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines" / "uae.yaml"
pytestmark = pytest.mark.timeout(3600)


class Pods:
    """Runs steps of a package in their images, against a store on loopback."""

    def __init__(self, images: Mapping[str, Sandbox], store: EmbeddedStore) -> None:
        self.images = images
        self.finished: dict[str, Finished] = {}
        self._variables = store.environment() | {"UAE_JOB": "job-1"}

    def execute(self, step: Command) -> None:
        image = self.images[step.image]
        if step.image == ImageReferences.read().image("control"):
            image.forget()  # its start is what counts; the others' first import takes longer anyway
        done = image.run(
            step.command,
            environment=step.environment | self._variables,
            writable={"/tmp": step.output_folder, ARTIFACTS: step.artifact_folder},
        )
        print(f"{step.task}: {done.seconds:.1f} s", flush=True)
        assert done.code == 0, f"{step.task}:\n{done.output}"
        self.finished[step.task] = done


def records(server: EmbeddedStore, run_id: str) -> list[dict[str, Any]]:
    store = server.store()
    return [store.get_json(key) for key in store.list(f"runs/{run_id}/steps/")]


def test_every_step_of_a_run_runs_in_its_image(images, tmp_path, keep):
    """The package's own commands, each on what the steps before left."""
    with EmbeddedStore(tmp_path / "store") as server:
        pods = Pods(images, server)
        run = PackageRun(PACKAGE, tmp_path, pods.execute)
        run.run({"recipe": "smoke", "endpoint": server.endpoint, "run_id": "images"})
        written = records(server, "images")
    assert len(run.done) == len(run.executors) == len(written)
    assert {record["status"] for record in written} == {"succeeded"}
    if not keep:
        write_figures({task: times(done, written) for task, done in pods.finished.items()})


class Enough(Exception):
    """The steps that a test wants have run."""


def test_a_stage_trains_in_two_processes_of_its_pod(images, tmp_path):
    """With accelerators a stage starts torchrun; on a node without any they are processes."""
    resources = yaml.safe_load((RESOURCES_FOLDER / "starter.yaml").read_text(encoding="utf-8"))
    resources["stages"]["pretrain_decoder"]["accelerators"] = 2
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(resources), encoding="utf-8")
    package = compile_pipeline(tmp_path / "two-uae.yaml", resources=str(tmp_path / "two.yaml"))
    with EmbeddedStore(tmp_path / "store") as server:
        pods = Pods(images, server)

        def execute(step: Command) -> None:
            pods.execute(step)
            if step.task == "pretrain-decoder":
                raise Enough

        run = PackageRun(package, tmp_path, execute)
        with pytest.raises(Enough):
            run.run({"recipe": "smoke", "endpoint": server.endpoint, "run_id": "two"})
        written = {record["step"]: record for record in records(server, "two")}
    assert written["pretrain_decoder"]["status"] == "succeeded"
    # Processes refuse to train when there are more or fewer of them than the task says.
    launch = next(text for text in package.read_text().splitlines() if '"accelerators":2' in text)
    assert '"launcher":"pod"' in launch


def times(done: Finished, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return when the first line came, when the step's record began, and when all was over."""
    begun = [datetime.fromisoformat(record["started_at"]) - done.started for record in records]
    seconds = [after.total_seconds() for after in begun]
    (begin,) = (after for after in seconds if 0 <= after <= done.seconds)
    return dict(zip(STEP_TIMES, (done.first_line_seconds, begin, done.seconds), strict=True))


def write_figures(steps: dict[str, dict[str, float]]) -> None:
    """Put what was measured into docs/performance.md."""
    references = dict(ImageReferences.read().images)
    sizes = compressed_bytes([reference.tagged for reference in references.values()])
    images = {}
    for name, size in zip(references, sizes, strict=True):
        built = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
        images[name] = built | {"compressed_bytes": size}
    machine = f"{platform.machine()} with {os.cpu_count()} CPUs"
    figures = Figures(machine, images, steps)
    MEASURED.write_text(json.dumps(figures._asdict()) + "\n", encoding="utf-8")
    write(PAGE, figures)
