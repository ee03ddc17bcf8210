"""The step `validate_data`."""

from typing import NamedTuple

from kfp import dsl

from uae_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_data(
    recipe: str,
    data: str,
    seed: int,
    base_model: str,
    run_id: str,
    endpoint: str,
    bucket: str,
    job: str,
    dataset: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Settled", [("recipe", str), ("run", str)]):
    """Settle the recipe, profile every image-caption pair, and refuse a broken data set."""
    from uae.launch.validation import run_validation

    return run_validation(
        recipe,
        data,
        seed=seed,
        base_model=base_model,
        run_id=run_id,
        endpoint=endpoint,
        bucket=bucket,
        job=job,
        dataset=dataset,
        report=report,
        metrics=metrics,
    )
