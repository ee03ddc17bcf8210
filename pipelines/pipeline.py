"""The pipeline: the whole loop, from image-caption pairs to a promoted model.

validate_data
  -> pretrain_decoder -> cold_start -> generation_for_understanding
  -> understanding_for_generation -> gate -> export_model
Unified-Bench after every training stage, GenEval and DPG-Bench after the last one; the gate
waits for all of them. `report_run` runs at the end, also after a failure.
"""

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
from uae_components.understanding_for_generation.component import understanding_for_generation
from uae_components.validate_data.component import validate_data

NUM_RETRIES = 2  # a step that no retry cures fails at once, with the stored error
BACKOFF = "5s"
Channel = Any  # what a task passes on: kfp has no public name for it


def _step(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Retry what a retry can cure."""
    return _never_cached(task).set_retry(NUM_RETRIES, backoff_duration=BACKOFF)


def _never_cached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Leave resuming to the records, which know the outputs' content; kfp's cache does not."""
    return task.set_caching_options(False)


def _bench(stage: str, model: Channel, given: dict[str, Channel]) -> Channel:
    """Judge the model of a stage; return its results."""
    task = evaluate_unified_bench(**given, stage=stage, model=model)
    return _step(task.set_display_name(f"unified-bench after {stage}")).outputs["results"]


@dsl.pipeline(name="uae", description="Train a unified multimodal model as an auto-encoder")
def uae_pipeline(
    recipe: str = "starter",
    data: str = "starter",
    base_model: str = "",
    seed: int = -1,
    run_id: str = "",
    endpoint: str = "http://seaweedfs.kubeflow:8333",
    bucket: str = "uae",
    promote: bool = True,
) -> None:
    """Train, evaluate, gate and export.

    Args:
        recipe: YAML text, or the name of a shipped recipe.
        data: "starter", a folder, or s3://bucket/prefix.
        base_model: Replaces the recipe's base weights; empty keeps them.
        seed: Replaces the recipe's seed; negative keeps it.
        run_id: Name of the run; the name of an earlier one resumes it. Empty takes a new one.
        endpoint: Address of the S3 store.
        bucket: Bucket for records, checkpoints, artifacts and promoted models.
        promote: Whether a model that passes the gate becomes the champion.
    """
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    where = {"run_id": run_id, "endpoint": endpoint, "bucket": bucket, "job": job}
    with dsl.ExitHandler(_never_cached(report_run(**where)), name="train and evaluate"):
        validated = _step(
            validate_data(recipe=recipe, data=data, seed=seed, base_model=base_model, **where)
        ).outputs
        run = {"recipe": validated["recipe"], "run": validated["run"]}
        given = {**run, "data": validated["dataset"]}

        stage_1 = _step(pretrain_decoder(**given)).outputs["model"]
        stage_1_bench = _bench("pretrain_decoder", stage_1, given)
        cold = _step(cold_start(**given, model_in=stage_1)).outputs["model"]
        _bench("cold_start", cold, given)
        gfu = _step(generation_for_understanding(**given, model_in=cold)).outputs["model"]
        _bench("generation_for_understanding", gfu, given)
        ufg = _step(understanding_for_generation(**given, model_in=gfu)).outputs["model"]
        results = {
            "unified_bench": _bench("understanding_for_generation", ufg, given),
            "geneval": _step(evaluate_geneval(**given, model=ufg)).outputs["results"],
            "dpg_bench": _step(evaluate_dpg_bench(**given, model=ufg)).outputs["results"],
        }

        decided = gate(**run, stage_1=stage_1_bench, candidate=results["unified_bench"])
        decision = _step(decided).outputs["decision"]
        _step(export_model(**given, promote=promote, model=ufg, **results, decision=decision))
