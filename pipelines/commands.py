"""`uae compile` and `uae run`: the commands that need the pipeline."""

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from kfp import local
from rich.console import Console

from uae.errors import RunError, StoreError
from uae.launch.console import RunConsole
from uae.launch.events import EVENTS_VARIABLE, Event
from uae.launch.interruption import Interruption
from uae.launch.location import JOB_VARIABLE
from uae.launch.lock import run_lock
from uae.launch.outcome import (
    collect,
    explain_failure,
    finish_metrics,
    how_to_resume,
    summarise,
)
from uae.launch.parent import announce_parent
from uae.launch.processes import Usage, adopt_orphans
from uae.launch.reporting import (
    USAGE_VARIABLE,
    describe_run,
    fail_unfinished,
    fetch_run,
    read_records,
)
from uae.launch.request import Request
from uae.launch.validation import settle_recipe
from uae.recipe_files import dump_recipe
from uae.replacement import replaced_file
from uae.store.embedded import EmbeddedStore
from uae.store.s3 import Store, parse_endpoint
from uae_pipelines.compile import compile_pipeline
from uae_pipelines.pipeline import build_pipeline

__all__ = ["compile_pipeline", "report", "run"]

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
STORE_FOLDER = "store"  # beside the runs, so that they share the registry
SPEED = {  # of torch on a few CPU cores; results do not depend on it
    "GOMP_SPINCOUNT": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 29),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
}


def run(
    *,
    recipe: str,
    data: str,
    seed: int | None,
    resume: str | None,
    run_root: Path,
    endpoint: str,
    bucket: str,
) -> None:
    """Run the whole pipeline on this machine and leave its report, model and metrics.

    Raises:
        RunError: If a step failed, naming it and how to resume; if disk or store failed; if a
            path cannot be handed to the steps.
        StoreError: If the endpoint is malformed or holds a password; nothing is written then.
        KeyboardInterrupt: If a signal ended the run; it can be resumed.
    """
    run_root = run_root.resolve()
    if resume:
        run_id = resume
        request = Request.read(run_root / run_id)
    else:
        with _environment({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}):
            settled = settle_recipe(recipe, seed=-1 if seed is None else seed)
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{settled.name}"
        is_path = data != "starter" and Path(data).exists()
        source = str(Path(data).resolve()) if is_path else data
        for what, address in (("data", source), ("models.base", settled.models.base)):
            if address.startswith("s3://") and not endpoint:
                raise RunError(
                    f"{what} {address!r} lies in a bucket, but no store is named: give its "
                    "address, --endpoint https://... (make run ENDPOINT=https://...); the embedded "
                    "store holds only runs"
                )
        request = Request(dump_recipe(settled), source, endpoint, bucket)
    if request.endpoint:
        parse_endpoint(request.endpoint)
    folder = run_root / run_id
    request.check_for_kfp(folder)
    with run_lock(folder):
        if not resume:
            request.write(folder)
        try:
            _run_locked(request, folder, Console(file=sys.stdout))
        except (StoreError, OSError) as error:  # such as a full disk
            raise RunError(f"{error}\n{how_to_resume(folder)}") from error


def report(run_id: str, run_root: Path) -> Path:
    """Write the report of a run anew from what the store holds, and return its path.

    Raises:
        RunError: If there is no such run, or it is running.
    """
    from uae.report.run_report import write_report

    folder = run_root.resolve() / run_id
    request = Request.read(folder)
    with (
        run_lock(folder),
        _store(request, folder.parent) as server,
        tempfile.TemporaryDirectory() as temporary,
        _environment({USAGE_VARIABLE: str(folder / "usage.json")}),
    ):
        endpoint = server.endpoint if server else request.endpoint
        store, prefix = Store.connect(endpoint, request.bucket), f"runs/{run_id}"
        fetch_run(store, prefix, Path(temporary))
        records = read_records(store, prefix)
        succeeded = all(record["status"] == "succeeded" for record in records)
        describe_run(Path(temporary), run_id, succeeded=succeeded)
        with replaced_file(folder / "report.html") as fresh:
            write_report(Path(temporary), fresh)
    return folder / "report.html"


def _run_locked(request: Request, folder: Path, console: Console) -> None:
    console.print(f"run {folder.name} in {folder}", **PLAIN)
    adopt_orphans()
    with ExitStack() as stack:
        usage = stack.enter_context(Usage(folder / "usage.json"))
        stack.enter_context(_environment(_variables(folder)))
        server = stack.enter_context(_store(request, folder.parent))
        endpoint = server.endpoint if server else request.endpoint
        interruption = stack.enter_context(Interruption(server.pid if server else None))
        try:
            failure = _run_pipeline(request, folder, endpoint, console, interruption)
            store = Store.connect(endpoint, request.bucket)
            if failure:
                fail_unfinished(store, f"runs/{folder.name}", job="")  # the lock: none other lives
            collect(store, folder)
            records = read_records(store, f"runs/{folder.name}")
        except KeyboardInterrupt:
            console.print(f"stopped; {how_to_resume(folder)}", **PLAIN)
            raise
        finally:
            shutil.rmtree(folder / "tmp", ignore_errors=True)
    finish_metrics(folder, usage, records)
    if failure:
        raise RunError(explain_failure(folder, records, failure.event, failure.message))
    console.print(summarise(folder), **PLAIN)


def _variables(folder: Path) -> dict[str, str]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return SPEED | announce_parent() | {
        EVENTS_VARIABLE: "1",
        JOB_VARIABLE: uuid.uuid4().hex,  # this execution; nothing that is drawn depends on it
        USAGE_VARIABLE: str(folder / "usage.json"),
        "TMPDIR": str(temporary),
    }  # fmt: skip


class Failure(NamedTuple):
    """What is known of a failed pipeline before the records are read."""

    event: Event | None  # the last failure that a step told of
    message: str  # kfp's own


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the steps; restore them for whoever called us."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _store(request: Request, run_root: Path) -> Iterator[EmbeddedStore | None]:
    """Run the embedded store, unless the request names another one."""
    if request.endpoint:
        yield None
        return
    with (
        EmbeddedStore(run_root / STORE_FOLDER, request.bucket) as server,
        _environment(server.environment()),
    ):
        yield server


def _run_pipeline(
    request: Request, folder: Path, endpoint: str, console: Console, interruption: Interruption
) -> Failure | None:
    """Run the pipeline; return what went wrong, if anything did.

    Raises:
        KeyboardInterrupt: If a signal ended it.
        StoreError: If the embedded store ended.
    """
    artifacts, logs = folder / "artifacts", folder / "logs"
    shutil.rmtree(artifacts, ignore_errors=True)  # of an earlier execution; the store has them
    logs.mkdir(exist_ok=True)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts),
        workspace_root=str(folder / "tmp" / "workspace"),
    )
    with ExitStack() as stack:
        log = stack.enter_context((logs / "pipeline.log").open("a", 1, encoding="utf-8"))
        pipeline = build_pipeline()
        output = RunConsole(
            log,
            _num_steps(pipeline),
            console,
            on_output=interruption.raise_if_due,
            on_fault=interruption.kill_step,
        )
        stack.enter_context(output.shown())
        stack.enter_context(contextlib.redirect_stdout(output))  # type: ignore[type-var]
        stack.enter_context(contextlib.redirect_stderr(log))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # on settings that only a cluster has
        try:
            pipeline(
                recipe=request.recipe,
                data=request.data,
                run_id=folder.name,
                endpoint=endpoint,
                bucket=request.bucket,
            )
        except RuntimeError as error:  # the only thing kfp says of a failed step
            return Failure(output.last_failure, str(error))
    return None


def _num_steps(pipeline: Any) -> int:
    components = pipeline.pipeline_spec.components.values()
    executed = [len(c.dag.tasks) for c in components if c.WhichOneof("implementation") == "dag"]
    return sum(executed) + 1  # the exit handler
