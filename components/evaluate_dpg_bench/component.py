"""The step `evaluate_dpg_bench`."""

from kfp import dsl

from uae_components.image import EVALUATOR


@dsl.component(base_image=EVALUATOR, install_kfp_package=False)
def evaluate_dpg_bench(
    recipe: str,
    run: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    judge_self_test: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Ask a judge yes/no questions about the pictures of dense prompts."""
    from uae.launch.evaluation import run_evaluation

    run_evaluation(
        "evaluate_dpg_bench",
        "dpg_bench",
        recipe,
        run,
        data=data,
        model=model,
        results=results,
        page=page,
        metrics=metrics,
        classifications={"self_test": judge_self_test},
    )
