"""`uae submit / watch / schedule`: runs on a cluster, through the API of Kubeflow Pipelines."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from uae.commands.options import Commands, seconds, seed
from uae.commands.pipeline import add_cluster_files, cluster_files
from uae.errors import SubmitError

if TYPE_CHECKING:
    from uae_pipelines.api import PipelinesApi

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"  # kfp's own
NAMED_PARAMETERS = ("recipe", "data", "seed", "run_id", "endpoint", "bucket")


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    _add_submit(commands)
    watch = commands.add_parser("watch", help="wait for a submitted run, as `uae submit` does")
    watch.add_argument("run_id", help="id that Kubeflow Pipelines gave the run")
    _add_connection(watch)
    _add_waiting(watch)
    watch.set_defaults(command=_watch)
    _add_schedule(commands)


def _add_submit(commands: Commands) -> None:
    submit = commands.add_parser("submit", help="run the pipeline on a cluster, and wait for it")
    submit.add_argument("--recipe", help="name, or a YAML file; default: the package's")
    submit.add_argument("--data", help='"starter" or s3://...; default: the package\'s')
    submit.add_argument("--seed", type=seed, help="whole number; default: the recipe's")
    submit.add_argument(
        "--run-id", help="name in the bucket, an earlier one goes on; default: a new one"
    )
    submit.add_argument("--endpoint", help="address of the S3 store; default: the package's")
    submit.add_argument("--bucket", help="bucket of the store; default: the package's")
    submit.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the pipeline, lists and objects as JSON; default: none",
    )
    submit.add_argument("--package", type=Path, help="compiled pipeline; default: compile it now")
    add_cluster_files(submit)
    submit.add_argument(
        "--experiment", default="uae", help="created if it is not there; default: %(default)s"
    )
    submit.add_argument("--name", help="of the run in the UI; default: the run id, or the time")
    submit.add_argument(
        "--service-account",
        default="uae-pipeline",
        help='of the run\'s pods, "" leaves it to the server; default: %(default)s',
    )
    _add_connection(submit)
    submit.add_argument(
        "--no-wait", action="store_true", help="return once it is submitted; default: wait"
    )
    _add_waiting(submit)
    submit.set_defaults(command=_submit)


def _add_schedule(commands: Commands) -> None:
    schedule = commands.add_parser("schedule", help="run the pipeline again and again on a cluster")
    actions = schedule.add_subparsers(
        title="actions", metavar="ACTION", required=True, help="what to do"
    )
    create = actions.add_parser("create", help="make a cluster's schedule what a file says")
    create.add_argument(
        "-f", "--file", type=Path, required=True, help="schedule as YAML; no default"
    )
    create.set_defaults(command=_create_schedule)
    list_ = actions.add_parser("list", help="list the schedules")
    list_.set_defaults(command=_list_schedules)
    for action, what in (("pause", "start no more runs"), ("resume", "start runs again")):
        parser = actions.add_parser(action, help=what)
        parser.add_argument("name", help="of the schedule")
        parser.set_defaults(command=_switch_schedule, enabled=action == "resume")
    delete = actions.add_parser("delete", help="remove a schedule; its runs stay in the UI")
    delete.add_argument("name", help="of the schedule")
    delete.add_argument(
        "--end-runs",
        action="store_true",
        help="delete it although that ends a run in progress; default: refuse",
    )
    delete.set_defaults(command=_delete_schedule)
    for parser in actions.choices.values():
        _add_connection(parser)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    """Add how the API is reached."""
    parser.add_argument(
        "--host",
        help=f"address of the API, such as http://localhost:8888; default: ${HOST_VARIABLE}",
    )
    parser.add_argument("--ui", help="address of the UI, for links; default: the host")
    parser.add_argument(
        "--namespace", help='of the runs; default: "uae" on a multi-user Kubeflow, else none'
    )
    parser.add_argument(
        "--token-file", type=Path, help="file with a bearer token, read anew; default: none"
    )
    parser.add_argument(
        "--ca-cert", type=Path, help="certificates to trust, PEM; default: the usual ones"
    )


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    """Add how long, and how patiently."""
    parser.add_argument(
        "--timeout", type=seconds, help="stop waiting after these seconds; default: never"
    )
    parser.add_argument(
        "--patience",
        type=seconds,
        default=900.0,
        help="go on waiting while the API is out of reach for these seconds; default: %(default)g",
    )
    parser.add_argument(
        "--poll", type=seconds, default=5.0, help="seconds between two looks; default: %(default)g"
    )


def _submit(options: argparse.Namespace) -> int:
    from uae_pipelines.submit import Submission, submit
    from uae_pipelines.watching import Waiting

    submission = Submission(
        parameters=_parameters(options),
        package=options.package,
        cluster_files=cluster_files(options),
        experiment=options.experiment,
        name=options.name,
        service_account=options.service_account,
    )
    if submission.package and submission.cluster_files:
        raise SubmitError(
            "--package is compiled already, --resources and --images say what to compile it from: "
            "give either that or these"
        )
    waiting = Waiting(options.timeout, options.patience, options.poll)
    code: int = submit(submission, lambda: _api(options), None if options.no_wait else waiting)
    return code


def _parameters(options: argparse.Namespace) -> dict[str, str]:
    """Return the parameters as texts, as they were given."""
    named = {name: getattr(options, name) for name in NAMED_PARAMETERS}
    given = {name: str(value) for name, value in named.items() if value is not None}
    for text in options.param:
        name, separator, value = text.partition("=")
        if not separator:
            raise SubmitError(f"--param {text!r} has no '=': write --param name=value")
        if name in given:
            raise SubmitError(f"parameter {name!r} is given twice: give it once")
        given[name] = value
    return given


def _watch(options: argparse.Namespace) -> int:
    from uae_pipelines.watching import Waiting, watch

    waiting = Waiting(options.timeout, options.patience, options.poll)
    code: int = watch(_api(options), options.run_id, waiting)
    return code


def _create_schedule(options: argparse.Namespace) -> None:
    from uae_pipelines.schedule_file import ScheduleFile
    from uae_pipelines.scheduling import create

    create(ScheduleFile.read(options.file), lambda: _api(options))


def _list_schedules(options: argparse.Namespace) -> None:
    from uae_pipelines.scheduling import describe

    print(describe(_api(options)))


def _switch_schedule(options: argparse.Namespace) -> None:
    from uae_pipelines.scheduling import switch

    switch(_api(options), options.name, enabled=options.enabled)


def _delete_schedule(options: argparse.Namespace) -> None:
    from uae_pipelines.scheduling import delete

    delete(_api(options), options.name, end_runs=options.end_runs)


def _api(options: argparse.Namespace) -> PipelinesApi:
    """Connect to the API."""
    from uae_pipelines.api import PipelinesApi

    host = options.host or os.environ.get(HOST_VARIABLE)
    if not host:
        raise SubmitError(
            "no address of Kubeflow Pipelines: give --host, such as http://localhost:8888 while "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline 8888` runs, or set "
            f"{HOST_VARIABLE}"
        )
    return PipelinesApi(
        host,
        ui=options.ui,
        namespace=options.namespace,
        token_file=options.token_file,
        ca_certificates=options.ca_cert,
    )
