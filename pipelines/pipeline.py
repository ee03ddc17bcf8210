"""The pipeline: the whole loop, from image-caption pairs to a promoted model.

start_run -> validate_data
  -> pretrain_decoder -> cold_start -> generation_for_understanding
  -> understanding_for_generation -> gate -> export_model
Unified-Bench after every training stage, GenEval and DPG-Bench after the last one; the gate
waits for all of them. `report_run` runs at the end, also after a failure.
"""

from functools import partial
from typing import Any

from kfp import dsl

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
from uae_pipelines.machine import Machine, Platform

Channel = Any  # what a task passes on: kfp has no public name for it


def build_pipeline(platform: Platform | None = None) -> Any:
    """Return the pipeline, which is run by calling it or compiled to a package.

    Args:
        platform: What its steps get, such as a `Cluster`. None is this machine.
    """
    platform = platform or Machine()
    graph: Any = partial(_uae, platform)
    graph.__name__, graph.__doc__ = "uae", _uae.__doc__  # kfp reads the parameters' meaning there
    return dsl.pipeline(
        name="uae",
        description="Train a unified multimodal model as an auto-encoder",
        pipeline_config=dsl.PipelineConfig(ttl_seconds_after_finished=platform.ttl_seconds),
    )(graph)


def _uae(
    platform: Platform,
    recipe: str = "starter",
    data: str = "starter",
    data_revision: str = "",
    base_model: str = "",
    evaluation: dict = {},  # noqa: B006
    seed: int = -1,
    run_id: str = "",
    endpoint: str = "http://seaweedfs.kubeflow:8333",
    bucket: str = "uae",
    promote: bool = True,
    model_registry: str = "",
    tolerations: list = [],  # noqa: B006
    node_selector: dict = {},  # noqa: B006
    ui_url: str = "",
) -> None:
    """Train, evaluate, gate and export.

    Args:
        recipe: YAML text, or the name of a shipped recipe.
        data: "starter", a folder, or s3://bucket/prefix.
        data_revision: Name of the data's state, by which results are found again; empty computes
            one from what the source lists.
        base_model: Replaces the recipe's base weights; empty keeps them.
        evaluation: Replaces keys of the recipe's section: prompt files, judges, sample counts.
        seed: Replaces the recipe's seed; negative keeps it.
        run_id: Name of the run; the name of an earlier one resumes it. Empty takes a new one.
        endpoint: Address of the S3 store.
        bucket: Bucket for records, checkpoints, artifacts and promoted models.
        promote: Whether a model that passes the gate becomes the champion.
        model_registry: Address of a Kubeflow Model Registry that is told of a new champion.
        tolerations: Kubernetes tolerations of the steps that train or evaluate.
        node_selector: Labels of the nodes on which such a step may run.
        ui_url: Address of the Kubeflow UI, for the link in notifications.
    """
    where = {"run_id": run_id, "endpoint": endpoint, "bucket": bucket}
    reported = platform.exit_handler(report_run(**where, ui_url=ui_url))
    with dsl.ExitHandler(reported, name="train and evaluate"):
        chosen = {"recipe": recipe, "data": data, "seed": seed, "base_model": base_model}
        chosen |= {"data_revision": data_revision, "evaluation": evaluation}
        started = platform.control(start_run(**chosen, **where))
        nodes = {"tolerations": tolerations, "node_selector": node_selector}
        _loop(
            Steps(platform, started.outputs, data, nodes),
            {"promote": promote, "model_registry": model_registry},
        )


def _loop(steps: "Steps", promotion: dict[str, Channel]) -> None:
    """Train the stages in the paper's order, judge each model, and let the gate decide."""
    stage_1 = steps.train(pretrain_decoder)
    first = steps.bench("pretrain_decoder", stage_1)
    cold = steps.train(cold_start, model_in=stage_1)
    steps.bench("cold_start", cold)
    gfu = steps.train(generation_for_understanding, model_in=cold)
    steps.bench("generation_for_understanding", gfu)
    ufg = steps.train(understanding_for_generation, model_in=gfu)
    results = {
        "unified_bench": steps.bench("understanding_for_generation", ufg),
        "geneval": steps.evaluate(evaluate_geneval, model=ufg),
        "dpg_bench": steps.evaluate(evaluate_dpg_bench, model=ufg),
    }
    platform, run = steps.platform, steps.run
    decided = gate(**run, stage_1=first, candidate=results["unified_bench"])
    decision = platform.control(decided).outputs["decision"]
    given = {**run, "data": steps.dataset, "model": ufg, **promotion}
    platform.control(export_model(**given, **results, decision=decision))


class Steps:
    """Adds steps to the graph that have their run and its data set in common."""

    def __init__(
        self, platform: Platform, started: Any, data: Channel, nodes: dict[str, Channel]
    ) -> None:
        self.platform = platform
        self.run = {"recipe": started["recipe"], "run": started["run"]}
        self._nodes = nodes
        validated = validate_data(**self.run, data=data, data_revision=started["data_revision"])
        self.dataset = platform.control(validated, cached=True).outputs["dataset"]

    def train(self, component: Any, **model_in: Channel) -> Channel:
        """Train one stage; return its model."""
        stage = component.name.replace("-", "_")
        launch = self.platform.launch(stage)
        task = component(**self.run, data=self.dataset, launch=launch, **self._nodes, **model_in)
        return self.platform.stage(task, stage, **self._nodes).outputs["model"]

    def bench(self, stage: str, model: Channel) -> Channel:
        """Judge the model of a stage by Unified-Bench; return its results."""
        shown = f"unified-bench after {stage}"
        return self.evaluate(evaluate_unified_bench, shown, stage=stage, model=model)

    def evaluate(self, component: Any, shown: str | None = None, **given: Channel) -> Channel:
        """Judge a model; return the results."""
        task = component(**self.run, data=self.dataset, **given)
        if shown:
            task.set_display_name(shown)
        return self.platform.evaluation(task, **self._nodes).outputs["results"]
