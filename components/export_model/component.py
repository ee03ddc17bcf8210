"""The step `export_model`."""

from kfp import dsl

from uae_components.image import CONTROL


@dsl.component(base_image=CONTROL, install_kfp_package=False)
def export_model(
    recipe: str,
    run: str,
    promote: bool,
    model_registry: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    unified_bench: dsl.Input[dsl.Artifact],
    geneval: dsl.Input[dsl.Artifact],
    dpg_bench: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    exported: dsl.Output[dsl.Model],
    card: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Write the model in standard layouts with its card, and promote it if the gate says so."""
    from uae.launch.promotion import run_export

    run_export(
        recipe,
        run,
        promote=promote,
        model_registry=model_registry,
        data=data,
        model=model,
        evidence={"unified_bench": unified_bench, "geneval": geneval, "dpg_bench": dpg_bench},
        decision=decision,
        exported=exported,
        card=card,
        metrics=metrics,
    )
