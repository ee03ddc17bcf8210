"""The step `start_run`."""

from typing import NamedTuple

from kfp import dsl

from uae_components.image import CONTROL


@dsl.component(base_image=CONTROL, install_kfp_package=False)
def start_run(
    recipe: str,
    data: str,
    data_revision: str,
    seed: int,
    base_model: str,
    evaluation: dict,
    run_id: str,
    endpoint: str,
    bucket: str,
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Start", [("recipe", str), ("run", str), ("data_revision", str)]):
    """Settle the recipe, the run's location and the revision of its data."""
    from uae.launch.start import run_start

    return run_start(
        recipe,
        data,
        data_revision,
        seed=seed,
        base_model=base_model,
        evaluation=evaluation,
        run_id=run_id,
        endpoint=endpoint,
        bucket=bucket,
        metrics=metrics,
    )
