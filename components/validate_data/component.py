"""The step `validate_data`."""

from kfp import dsl

from uae_components.image import CONTROL


@dsl.component(base_image=CONTROL, install_kfp_package=False)
def validate_data(
    recipe: str,
    run: str,
    data: str,
    data_revision: str,
    dataset: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Profile every image-caption pair, and refuse a broken data set."""
    from uae.launch.validation import run_validation

    run_validation(
        recipe, run, data, data_revision, dataset=dataset, report=report, metrics=metrics
    )
