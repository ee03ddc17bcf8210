"""A run's model, judged by the recipe's benchmarks: what the pipeline's evaluation steps call."""

from pathlib import Path
from typing import Literal

from uae.evaluation.context import Context
from uae.evaluation.results import Result
from uae.evaluation.suite import run_benchmark
from uae.evaluation.systems.bundle import BundleSystem
from uae.models.bundle import weights_root
from uae.recipe import Recipe
from uae.training.numerics import exact_numerics

Benchmark = Literal["unified_bench", "geneval", "dpg_bench"]


def evaluate(
    benchmark: Benchmark,
    recipe: Recipe,
    data: Path,
    model: Path,
    out: Path,
    *,
    endpoint: str | None = None,
) -> Result:
    """Judge a model bundle.

    Args:
        benchmark: Its section in the recipe's `evaluation`.
        recipe: Says which prompts, judges and how many samples.
        data: Folder that `validate_data` wrote.
        model: Model bundle.
        out: Receives results.json, samples.parquet and images/.
        endpoint: Of the S3 store, for prompt files in a bucket.

    Returns:
        The content of results.json.

    Raises:
        EvaluationError: If nothing can be scored honestly: bad prompts, a failed self-test.
        ModelError: If the model or a judge cannot be loaded.
    """
    settings = recipe.evaluation
    with exact_numerics(recipe.models.num_threads) as device:
        context = Context(
            seed=recipe.seed,
            judging=settings,
            weights=weights_root(recipe.models.base, recipe.models.manifest),
            data=data,
            device=device,
            endpoint=endpoint,
        )
        system = BundleSystem.of_run(model, settings, device=device)
        result = run_benchmark(benchmark, getattr(settings, benchmark), context, system, out)
    if result is None:
        raise RuntimeError(f"{benchmark} did not finish in one process")
    return result
