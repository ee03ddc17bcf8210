"""The step `gate`."""

from kfp import dsl

from uae_components.image import CONTROL


@dsl.component(base_image=CONTROL, install_kfp_package=False)
def gate(
    recipe: str,
    run: str,
    stage_1: dsl.Input[dsl.Artifact],
    candidate: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Decide whether the candidate may replace the model promoted last."""
    from uae.launch.promotion import run_gate

    run_gate(
        recipe,
        run,
        stage_1=stage_1,
        candidate=candidate,
        decision=decision,
        page=page,
        metrics=metrics,
    )
