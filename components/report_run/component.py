"""The step `report_run`: the exit handler."""

from kfp import dsl

from uae_components.image import CONTROL


@dsl.component(base_image=CONTROL, install_kfp_package=False)
def report_run(
    run_id: str,
    endpoint: str,
    bucket: str,
    ui_url: str,
    status: dsl.PipelineTaskFinalStatus,
    report: dsl.Output[dsl.HTML],
    numbers: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Report the whole run and tell how it ended, also after a failure."""
    from uae.launch.reporting import run_reporting

    run_reporting(
        run_id,
        endpoint,
        bucket,
        succeeded=status.state == "SUCCEEDED",
        message=status.error_message or "",
        ui_url=ui_url,
        report=report,
        numbers=numbers,
        metrics=metrics,
    )
