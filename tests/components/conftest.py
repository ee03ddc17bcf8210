"""The steps of a run called one after another as plain functions, on small real files."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from tiny_run import write_data, write_recipe

from uae.store.embedded import EmbeddedStore
from uae_components.cold_start.component import cold_start
from uae_components.evaluate_dpg_bench.component import evaluate_dpg_bench
from uae_components.evaluate_geneval.component import evaluate_geneval
from uae_components.evaluate_unified_bench.component import evaluate_unified_bench
from uae_components.export_model.component import export_model
from uae_components.gate.component import gate
from uae_components.generation_for_understanding.component import generation_for_understanding
from uae_components.pretrain_decoder.component import pretrain_decoder
from uae_components.report_run.component import report_run
from uae_components.start_run.component import start_run
from uae_components.understanding_for_generation.component import understanding_for_generation
from uae_components.validate_data.component import validate_data

Outputs = dict[str, Any]  # name -> artifact
CLASSIFICATIONS = {
    "evaluate_geneval": ("colors_asked_and_seen", "judge_self_test"),
    "evaluate_dpg_bench": ("judge_self_test",),
}


class Steps:
    """One run; each step is made when its outputs are first asked for."""

    def __init__(self, folder: Path, server: EmbeddedStore) -> None:
        self.folder = folder
        self.store = server.store()
        self.where = {
            "run_id": "small",
            "endpoint": server.endpoint,
            "bucket": server.bucket,
        }
        self.recipe_file = write_recipe(folder)
        self.data_folder = write_data(folder / "pairs")

    def outputs(self, step: str, **kinds: type[dsl.Artifact]) -> Outputs:
        """Return artifacts for a step to write, each in its own place."""
        (self.folder / step).mkdir(parents=True)
        return {
            name: kind(name=name, uri=str(self.folder / step / name), metadata={})
            for name, kind in kinds.items()
        }

    def train(self, component: Any, before: Outputs | None) -> Outputs:
        name = component.python_func.__name__
        outputs = self.outputs(
            name, model=dsl.Model, logs=dsl.Artifact, curves=dsl.HTML, metrics=dsl.Metrics
        )
        start = {"model_in": before["model"]} if before else {}
        here = {"launch": "", "tolerations": [], "node_selector": {}}
        component.python_func(**self.given, **here, **start, **outputs)
        return outputs

    def evaluate(self, component: Any, trained: Outputs, **more: str) -> Outputs:
        name = "-".join((component.python_func.__name__, *more.values()))
        shown = CLASSIFICATIONS.get(name, ())
        classifications = dict.fromkeys(shown, dsl.ClassificationMetrics)
        outputs = self.outputs(
            name, results=dsl.Artifact, page=dsl.HTML, metrics=dsl.Metrics, **classifications
        )
        component.python_func(**self.given, **more, model=trained["model"], **outputs)
        return outputs

    def start(self, run_id: str, recipe: str, data: str, seed: int = -1) -> Any:
        """Return what `start_run` hands to the other steps."""
        chosen = {"recipe": recipe, "data": data, "data_revision": "", "base_model": ""}
        chosen |= {"evaluation": {}}
        outputs = self.outputs(f"start_run-{run_id}", metrics=dsl.Metrics)
        where = self.where | {"run_id": run_id}
        return start_run.python_func(**chosen, seed=seed, **where, **outputs)

    @cached_property
    def started(self) -> Any:
        data = str(self.data_folder)
        return self.start("small", self.recipe_file.read_text(), data, seed=7)

    @cached_property
    def validated(self) -> Outputs:
        outputs = self.outputs(
            "validate_data", dataset=dsl.Dataset, report=dsl.HTML, metrics=dsl.Metrics
        )
        given = self.started._asdict()
        validate_data.python_func(**given, data=str(self.data_folder), **outputs)
        return outputs

    @property
    def given(self) -> dict[str, Any]:
        started = self.started
        data = self.validated["dataset"]
        return {"recipe": started.recipe, "run": started.run, "data": data}

    @cached_property
    def pretrained(self) -> Outputs:
        return self.train(pretrain_decoder, None)

    @cached_property
    def cold_started(self) -> Outputs:
        return self.train(cold_start, self.pretrained)

    @cached_property
    def gfu(self) -> Outputs:
        return self.train(generation_for_understanding, self.cold_started)

    @cached_property
    def ufg(self) -> Outputs:
        return self.train(understanding_for_generation, self.gfu)

    @cached_property
    def first_bench(self) -> Outputs:
        return self.evaluate(evaluate_unified_bench, self.pretrained, stage="pretrain_decoder")

    @cached_property
    def last_bench(self) -> Outputs:
        stage = "understanding_for_generation"
        return self.evaluate(evaluate_unified_bench, self.ufg, stage=stage)

    @cached_property
    def geneval(self) -> Outputs:
        return self.evaluate(evaluate_geneval, self.ufg)

    @cached_property
    def dpg_bench(self) -> Outputs:
        return self.evaluate(evaluate_dpg_bench, self.ufg)

    @cached_property
    def gated(self) -> Outputs:
        outputs = self.outputs("gate", decision=dsl.Artifact, page=dsl.HTML, metrics=dsl.Metrics)
        gate.python_func(
            recipe=self.given["recipe"],
            run=self.given["run"],
            stage_1=self.first_bench["results"],
            candidate=self.last_bench["results"],
            **outputs,
        )
        return outputs

    @cached_property
    def exported(self) -> Outputs:
        outputs = self.outputs(
            "export_model", exported=dsl.Model, card=dsl.Markdown, metrics=dsl.Metrics
        )
        export_model.python_func(
            **self.given,
            promote=True,
            model_registry="",
            model=self.ufg["model"],
            unified_bench=self.last_bench["results"],
            geneval=self.geneval["results"],
            dpg_bench=self.dpg_bench["results"],
            decision=self.gated["decision"],
            **outputs,
        )
        return outputs

    @cached_property
    def reported(self) -> Outputs:
        outputs = self.outputs(
            "report_run", report=dsl.HTML, numbers=dsl.Artifact, metrics=dsl.Metrics
        )
        status = dsl.PipelineTaskFinalStatus(
            state="SUCCEEDED",
            pipeline_job_resource_name="job",
            pipeline_task_name="task",
            error_code=None,
            error_message=None,
        )
        report_run.python_func(**self.where, ui_url="", status=status, **outputs)
        return outputs


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    folder = tmp_path_factory.mktemp("steps")
    with EmbeddedStore(folder / "store") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield Steps(folder, server)
