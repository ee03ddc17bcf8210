"""The step `evaluate_geneval`."""

from kfp import dsl

from uae_components.image import EVALUATOR


@dsl.component(base_image=EVALUATOR, install_kfp_package=False)
def evaluate_geneval(
    recipe: str,
    run: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    colors_asked_and_seen: dsl.Output[dsl.ClassificationMetrics],
    judge_self_test: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Ask a detector whether the pictures hold what their prompts name."""
    from uae.launch.evaluation import run_evaluation

    run_evaluation(
        "evaluate_geneval",
        "geneval",
        recipe,
        run,
        data=data,
        model=model,
        results=results,
        page=page,
        metrics=metrics,
        classifications={"colors": colors_asked_and_seen, "self_test": judge_self_test},
    )
