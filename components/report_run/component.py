"""The step `report_run`: the exit handler."""

from kfp import dsl

from uae_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report_run(
    run_id: str,
    endpoint: str,
    bucket: str,
    job: str,
    status: dsl.PipelineTaskFinalStatus,
    report: dsl.Output[dsl.HTML],
    numbers: dsl.Output[dsl.Artifact],
) -> None:
    """Report the whole run, also after a failure."""
    from uae.launch.location import run_location
    from uae.launch.reporting import run_reporting

    run = run_location(run_id, endpoint, bucket, job)
    run_reporting(run, succeeded=status.state == "SUCCEEDED", report=report, numbers=numbers)
