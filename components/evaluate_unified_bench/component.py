"""The step `evaluate_unified_bench`."""

from kfp import dsl

from uae_components.image import EVALUATOR


@dsl.component(base_image=EVALUATOR, install_kfp_package=False)
def evaluate_unified_bench(
    recipe: str,
    run: str,
    stage: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Caption, regenerate from the caption alone, and compare with the original."""
    from uae.launch.evaluation import run_evaluation

    run_evaluation(
        f"evaluate_unified_bench/{stage}",
        "unified_bench",
        recipe,
        run,
        data=data,
        model=model,
        results=results,
        page=page,
        metrics=metrics,
    )
