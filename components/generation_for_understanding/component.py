"""The step `generation_for_understanding`."""

from kfp import dsl

from uae_components.image import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def generation_for_understanding(
    recipe: str,
    run: str,
    launch: str,
    tolerations: list,
    node_selector: dict,
    data: dsl.Input[dsl.Dataset],
    model_in: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the encoder to write captions that its decoder can reconstruct from."""
    from uae.launch.stage import run_stage

    run_stage(
        "generation_for_understanding",
        recipe,
        run,
        launch=launch,
        tolerations=tolerations,
        node_selector=node_selector,
        data=data,
        model_in=model_in,
        model_out=model,
        logs=logs,
        curves=curves,
        metrics=metrics,
    )
