"""The step `evaluate_geneval`."""

from kfp import dsl

from uae_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_geneval(
    recipe: str,
    run: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
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
    )
