"""`uae schedule`: recurring runs of Kubeflow Pipelines, kept as a file says.

The API cannot change a recurring run, and deleting one ends its run in progress. So it is replaced:

1. create the new one, disabled (what can be refused is refused here, and nothing has changed)
2. disable the old one
3. enable the new one
4. delete the old one, unless a run of it is in progress: then the next `create` does

Two are never enabled at once, and wherever this is cut off both are there: the same command again
goes on. Between 2 and 3 neither is enabled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from uae.errors import RunError, SubmitError
from uae_pipelines.api import PipelinesApi
from uae_pipelines.cron import Cron
from uae_pipelines.schedule_file import (
    Content,
    ScheduleFile,
    fingerprint_of,
    plain_description,
)

HEAD = ("NAME", "STATE", "CRON (UTC)", "NEXT (UTC)", "ACCOUNT", "DESCRIPTION")
RecurringRun = dict[str, Any]


def create(schedule: ScheduleFile, connect: Callable[[], PipelinesApi]) -> None:
    """Make the cluster's schedule what the file says, and print what was done.

    Args:
        schedule: The file.
        connect: Opens the API; called once everything in the file is found good.

    Raises:
        SubmitError: If a parameter is wrong, or another one of this name is not from `uae`.
        RecipeError: If the recipe is not valid.
        ApiFault: If the API refuses or is out of reach. The same command again goes on.
        RunError: If somebody else deleted it meanwhile.
    """
    content = schedule.content()
    api = connect()
    before = _find(api, schedule.name)
    if not any(fingerprint_of(one) == content.fingerprint for one in before):
        experiment_id = api.experiment(schedule.experiment)
        api.create_recurring_run(
            content.body(experiment_id, enabled=schedule.enabled and not before)
        )
    changes = _settle(api, schedule, content)
    what = "unchanged" if before else "created"
    if before and not any(fingerprint_of(one) == content.fingerprint for one in before):
        what = "replaced"
    _report(schedule, [what, *changes])


def _settle(api: PipelinesApi, schedule: ScheduleFile, content: Content) -> list[str]:
    """Leave the one that the file describes, in the state that it says; return what was done."""
    found = _find(api, schedule.name)
    same = [one for one in found if fingerprint_of(one) == content.fingerprint]
    if not same:
        raise RunError(f"schedule {schedule.name} was deleted by somebody else meanwhile")
    current = same[0]  # the oldest, so that two who create it at once agree on one
    others = [one for one in found if one is not current]
    for other in others:
        if _is_enabled(other):
            api.switch_recurring_run(other["recurring_run_id"], enabled=False)
    changes = []
    if _is_enabled(current) != schedule.enabled:
        api.switch_recurring_run(current["recurring_run_id"], enabled=schedule.enabled)
        changes.append("enabled" if schedule.enabled else "paused")
    for other in others:
        if active := api.active_runs(other):
            changes.append(
                f"kept the replaced one, paused, because deleting it would end its run "
                f"{active[0].get('display_name')} ({active[0].get('run_id')}): create again "
                "after that has ended"
            )
        else:
            api.delete_recurring_run(other["recurring_run_id"])
    return changes


def describe(api: PipelinesApi) -> str:
    """Return the schedules as a table, and what of them is left over.

    Raises:
        ApiFault: If the API refuses or is out of reach.
    """
    found = [one for one in api.recurring_runs() if fingerprint_of(one)]
    if not found:
        return f"no schedules of uae at {api.host}"
    rows = [HEAD, *(_row(one) for one in sorted(found, key=lambda one: str(one["display_name"])))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    names = [one["display_name"] for one in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        lines.append(
            f"{name}: {names.count(name)} versions: a replacement was cut off, or waits for the "
            "old one's run to end; `uae schedule create` with its file goes on"
        )
    return "\n".join(lines)


def switch(api: PipelinesApi, name: str, *, enabled: bool) -> None:
    """Pause or resume a schedule. Where a replaced one is left over, that stays paused.

    Raises:
        RunError: If there is no such schedule.
        ApiFault: If the API refuses or is out of reach.
    """
    found = _find_some(api, name)
    for one in found[:-1]:
        if _is_enabled(one):
            api.switch_recurring_run(one["recurring_run_id"], enabled=False)
    if _is_enabled(found[-1]) != enabled:
        api.switch_recurring_run(found[-1]["recurring_run_id"], enabled=enabled)
    if enabled:
        print(f"schedule {name}: enabled, next {_next(found[-1])} UTC; a missed time runs at once")
    else:
        print(f"schedule {name}: paused, until resumed or created with enabled: true")


def delete(api: PipelinesApi, name: str, *, end_runs: bool = False) -> None:
    """Delete a schedule.

    Args:
        api: The API.
        name: Of the schedule.
        end_runs: Whether to do it although that ends a run in progress.

    Raises:
        RunError: If there is no such schedule, or a run is in progress.
        ApiFault: If the API refuses or is out of reach.
    """
    found = _find_some(api, name)
    active = [run for one in found for run in api.active_runs(one)]
    if active and not end_runs:
        shown = ", ".join(f"{run.get('display_name')} ({run.get('run_id')})" for run in active)
        raise RunError(
            f"schedule {name} has a run in progress, which deleting it would end: {shown}; "
            f"`uae schedule pause {name}` now and delete it afterwards, or give --end-runs"
        )
    for one in found:
        api.delete_recurring_run(one["recurring_run_id"])
    print(f"schedule {name}: deleted")


def _find(api: PipelinesApi, name: str) -> list[RecurringRun]:
    """Return the recurring runs of this name, oldest first."""
    found = [one for one in api.recurring_runs() if one.get("display_name") == name]
    foreign = [one["recurring_run_id"] for one in found if not fingerprint_of(one)]
    if foreign:
        raise SubmitError(
            f"there is a recurring run {name!r} that `uae schedule` did not make "
            f"({', '.join(foreign)}): delete it in the UI, or choose another name"
        )
    return found


def _find_some(api: PipelinesApi, name: str) -> list[RecurringRun]:
    found = _find(api, name)
    if not found:
        known = {str(one["display_name"]) for one in api.recurring_runs() if fingerprint_of(one)}
        raise RunError(f"no schedule {name!r}: there is {', '.join(sorted(known)) or 'none'}")
    return found


def _report(schedule: ScheduleFile, done: Sequence[str]) -> None:
    moment = Cron.parse(schedule.cron).after(datetime.now(UTC))
    when = f"next {moment:%Y-%m-%d %H:%M:%S} UTC" if schedule.enabled else "paused"
    print(f"schedule {schedule.name}: {'; '.join(done)}; {when}")


def _row(one: RecurringRun) -> tuple[str, ...]:
    enabled = _is_enabled(one)
    return (
        str(one["display_name"]),
        "enabled" if enabled else "paused",
        _cron(one),
        _next(one) if enabled else "-",
        str(one.get("service_account") or "-"),
        " ".join(plain_description(one).split()) or "-",
    )


def _next(one: RecurringRun) -> str:
    try:
        moment = Cron.parse(_cron(one)).after(datetime.now(UTC))
    except ValueError:
        return "-"
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _cron(one: RecurringRun) -> str:
    return str(((one.get("trigger") or {}).get("cron_schedule") or {}).get("cron") or "-")


def _is_enabled(one: RecurringRun) -> bool:
    return one.get("mode") == "ENABLE"
