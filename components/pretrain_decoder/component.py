"""The step `pretrain_decoder`."""

from kfp import dsl

from uae_components.image import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def pretrain_decoder(
    recipe: str,
    run: str,
    launch: str,
    tolerations: list,
    node_selector: dict,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Stage 1: pretrain the connector and the decoder on long captions."""
    from uae.launch.stage import run_stage

    run_stage(
        "pretrain_decoder",
        recipe,
        run,
        launch=launch,
        tolerations=tolerations,
        node_selector=node_selector,
        data=data,
        model_in=None,
        model_out=model,
        logs=logs,
        curves=curves,
        metrics=metrics,
    )
