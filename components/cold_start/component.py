"""The step `cold_start`."""

from kfp import dsl

from uae_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def cold_start(
    recipe: str,
    run: str,
    data: dsl.Input[dsl.Dataset],
    model_in: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train encoder, connector and decoder on the semantic reconstruction loss."""
    from uae.launch.stage import run_stage

    run_stage(
        "cold_start",
        recipe,
        run,
        data=data,
        model_in=model_in,
        model_out=model,
        logs=logs,
        curves=curves,
        metrics=metrics,
    )
