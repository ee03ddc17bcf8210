"""`uae schedule` against a recorder of the API: created, replaced in place, cut off anywhere."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from kfp_recorder import KfpRecorder, running

from uae import cli
from uae_pipelines.compile import PACKAGE
from uae_pipelines.schedule_file import ScheduleFile

NIGHTLY = PACKAGE.parent / "schedules" / "nightly.yaml"
RUNNING = {"run_id": "run-1", "display_name": "nightly 7", "experiment_id": "experiment-1"}
BY_HAND = {"recurring_run_id": "by-hand", "display_name": "nightly", "mode": "ENABLE"}
RUNNING |= {"recurring_run_id": "recurring-1", "state": "RUNNING"}


@pytest.fixture
def write(package, tmp_path):
    """Write a schedule of the small package and return its path."""

    def file(**changes):
        values = {"name": "nightly", "cron": "0 2 * * *", "package": str(package)}
        values |= {"parameters": {"data": "s3://pictures/daily", "seed": 3}, **changes}
        path = tmp_path / "schedule.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
        return path

    return file


def schedule(server, action, *arguments):
    return cli.main(["schedule", action, *map(str, arguments), "--host", server.host])


def create(server, path):
    return schedule(server, "create", "-f", path)


def test_shipped_example_is_created_with_types_kept(server, capsys, compiled_once):
    assert create(server, NIGHTLY) == 0
    assert "schedule nightly: created; next 20" in capsys.readouterr().out
    (body,) = server.sent("POST", "/recurringruns")
    assert server.experiments[body["experiment_id"]]["display_name"] == "nightly"
    assert body["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert (body["max_concurrency"], body["no_catchup"], body["mode"]) == (1, True, "ENABLE")
    assert body["service_account"] == "uae-pipeline"
    parameters = body["runtime_config"]["parameters"]
    assert parameters["recipe"].startswith("name: starter")
    assert parameters["promote"] is True
    assert parameters["seed"] == -1
    assert parameters["tolerations"][0]["operator"] == "Exists"
    before = len(server.changes())
    assert create(server, NIGHTLY) == 0
    assert "unchanged" in capsys.readouterr().out
    assert len(server.changes()) == before


def test_what_is_sent_is_what_the_sdk_sends(server, write, monkeypatch, tmp_path, package):
    """`kfp recurring-run create` would send every parameter as text; the SDK keeps types."""
    import kfp

    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    assert create(server, write()) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = kfp.Client(server.host)
        client.create_recurring_run(
            "experiment-1",
            "nightly",
            description=server.recurring_runs["recurring-1"]["description"],
            cron_expression="0 0 2 * * *",
            max_concurrency=1,
            no_catchup=True,
            params={"data": "s3://pictures/daily", "seed": 3},
            pipeline_package_path=str(package),
            service_account="uae-pipeline",
        )
    ours, theirs = server.sent("POST", "/recurringruns")
    assert ours == theirs


def test_other_content_replaces_in_place(server, write, capsys):
    create(server, write())
    before = len(server.changes())
    assert create(server, write(cron="0 3 * * *")) == 0
    assert "schedule nightly: replaced; enabled; next" in capsys.readouterr().out
    assert server.changes()[before:] == [
        "POST /recurringruns",
        "POST /recurringruns/ID:disable",
        "POST /recurringruns/ID:enable",
        "DELETE /recurringruns/ID",
    ]
    (one,) = server.recurring_runs.values()
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert one["mode"] == "ENABLE"
    assert server.most_enabled == 1


@pytest.mark.parametrize(
    "change",
    [{"parameters": {"seed": 4}}, {"experiment": "other"}, {"description": "new"},
     {"service_account": "other"}],
)  # fmt: skip
def test_every_part_of_the_content_counts(server, write, change):
    create(server, write())
    create(server, write(**change))
    assert list(server.recurring_runs) == ["recurring-2"]


def test_enabling_is_no_replacement(server, write, capsys):
    create(server, write(enabled=False))
    assert "created; paused" in capsys.readouterr().out
    create(server, write(enabled=True))
    assert "unchanged; enabled; next" in capsys.readouterr().out
    create(server, write(enabled=False))
    assert "unchanged; paused" in capsys.readouterr().out
    assert server.recurring_runs["recurring-1"]["mode"] == "DISABLE"
    create(server, write(enabled=False, cron="0 3 * * *"))
    assert server.recurring_runs["recurring-2"]["mode"] == "DISABLE"
    assert server.most_enabled == 1


@pytest.mark.parametrize("after_work", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_replacement_that_is_cut_off_anywhere_goes_on(server, write, capsys, number, after_work):
    """From the given change on the server is gone; then it is back and the command comes again."""
    create(server, write())
    done = len(server.changes())
    replacement = write(cron="0 3 * * *")

    def go_away(call):
        if call.method != "GET" and len(server.changes()) == done + number:
            server.fail(call.method, call.path + "$", after_work=after_work)
            server.fail("GET", ".*", times=-1)
            server.fail("POST", ".*", times=-1)
            server.fail("DELETE", ".*", times=-1)

    server.on_call = go_away
    assert create(server, replacement) == 2
    left = [one["display_name"] for one in server.recurring_runs.values()]
    assert left in (["nightly"], ["nightly"] * 2), "none is lost"
    server.on_call = lambda call: None
    server.faults.clear()
    assert create(server, replacement) == 0
    (one,) = server.recurring_runs.values()
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert one["mode"] == "ENABLE"
    assert server.most_enabled == 1


def test_killed_between_two_calls(write, package):
    """A real process, killed when it asks for the old one to be disabled."""
    with running(KfpRecorder()) as server:
        create(server, write())
        replacement = write(cron="0 3 * * *")
        command = [sys.executable, "-m", "uae.cli", "schedule", "create", "-f", str(replacement)]
        process = subprocess.Popen([*command, "--host", server.host])

        def kill(call):
            if call.path.endswith(":disable"):
                os.kill(process.pid, signal.SIGKILL)

        server.on_call = kill
        assert process.wait(60) == -signal.SIGKILL
        assert len(server.recurring_runs) == 2
        server.on_call = lambda call: None
        assert create(server, replacement) == 0
        assert len(server.recurring_runs) == 1
        assert len(server.enabled("nightly")) == 1
        assert server.most_enabled == 1


def test_refused_replacement_changes_nothing(server, write, capsys):
    create(server, write())
    server.fail("POST", "/recurringruns$", 400, body='{"message": "no such account"}')
    assert create(server, write(service_account="other")) == 2
    assert "no such account" in capsys.readouterr().err
    assert server.enabled("nightly") == ["recurring-1"]


def test_run_in_progress_is_not_ended_by_a_replacement(server, write, capsys):
    create(server, write())
    server.runs["run-1"] = dict(RUNNING)
    for number in range(150):  # the lists have pages
        server.runs[f"old-{number}"] = {**RUNNING, "state": "SUCCEEDED"}
    replacement = write(cron="0 3 * * *")
    assert create(server, replacement) == 0
    assert "kept the replaced one, paused, because deleting" in capsys.readouterr().out
    assert server.runs["run-1"]["state"] == "RUNNING"
    assert server.enabled("nightly") == ["recurring-2"]
    assert schedule(server, "list") == 0
    assert "nightly: 2 versions" in capsys.readouterr().out

    schedule(server, "pause", "nightly")
    assert server.enabled("nightly") == []
    schedule(server, "resume", "nightly")
    assert server.enabled("nightly") == ["recurring-2"]

    server.runs["run-1"]["state"] = "SUCCEEDED"
    assert create(server, replacement) == 0
    assert list(server.recurring_runs) == ["recurring-2"]
    assert server.most_enabled == 1


def test_going_back_to_the_version_that_is_left_over(server, write):
    create(server, write())
    server.runs["run-1"] = dict(RUNNING)
    create(server, write(cron="0 3 * * *"))
    create(server, write())
    assert list(server.recurring_runs) == ["recurring-1"]
    assert server.enabled("nightly") == ["recurring-1"]


def test_two_that_create_at_once_agree_on_one(server, write):
    """Both found none; the other one's was created first."""

    def overtake(call):
        if (call.method, call.path) == ("POST", "/recurringruns"):
            server.on_call = lambda call: None
            server.create_recurring_run(call)

    server.on_call = overtake
    assert create(server, write()) == 0
    assert list(server.recurring_runs) == ["recurring-1"]
    assert len(server.enabled("nightly")) == 1


def test_list_pause_resume_delete(server, write, capsys):
    assert schedule(server, "list") == 0
    assert "no schedules" in capsys.readouterr().out
    create(server, write(description="Every\n night"))
    create(server, write(name="weekly", cron="0 4 * * SUN", enabled=False))
    server.recurring_runs["by-hand"] = {**BY_HAND, "display_name": "by hand"}
    capsys.readouterr()
    assert schedule(server, "list") == 0
    head, nightly, weekly = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "NAME", "STATE", "CRON", "(UTC)", "NEXT", "(UTC)", "ACCOUNT", "DESCRIPTION",
    ]  # fmt: skip
    assert nightly.startswith("nightly  enabled  0 0 2 * * *    20")
    assert nightly.endswith("02:00:00  uae-pipeline  Every night")
    assert weekly == "weekly   paused   0 0 4 * * SUN  -                    uae-pipeline  -"

    assert schedule(server, "pause", "nightly") == 0
    assert server.enabled("nightly") == []
    assert schedule(server, "resume", "nightly") == 0
    assert server.enabled("nightly") == ["recurring-1"]
    assert schedule(server, "pause", "hourly") == 2
    assert "no schedule 'hourly': there is nightly, weekly" in capsys.readouterr().err

    server.runs["run-1"] = dict(RUNNING)
    assert schedule(server, "delete", "nightly") == 2
    error = capsys.readouterr().err
    assert "nightly 7 (run-1)" in error
    assert "--end-runs" in error
    assert schedule(server, "delete", "nightly", "--end-runs") == 0
    assert schedule(server, "delete", "weekly") == 0
    assert list(server.recurring_runs) == ["by-hand"]


def test_recurring_run_of_somebody_else_is_left_alone(server, write, capsys):
    server.recurring_runs["by-hand"] = BY_HAND
    for action in (["create", "-f", write()], ["pause", "nightly"], ["delete", "nightly"]):
        assert schedule(server, *action) == 2
        assert "that `uae schedule` did not make (by-hand)" in capsys.readouterr().err
    assert server.changes() == []


def test_delete_that_was_done_already_is_no_fault(server, write):
    create(server, write())
    server.fail("DELETE", "/recurringruns/recurring-1", after_work=True)
    assert schedule(server, "delete", "nightly") == 0
    assert server.recurring_runs == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crom": "x"}, "crom: unknown key (value 'x'); allowed: name, cron,"),
        ({"cron": None}, "cron: missing"),
        ({"cron": "0 25 * * *"}, "hour '25' must lie within 0 to 23"),
        ({"name": "Nightly run"}, "name: must be lower-case letters"),
        ({"enabled": "yes"}, "enabled: Input should be a valid boolean"),
        ({"resources": "starter"}, "package is compiled already"),
        ({"description": "x" * 191}, "description: String should have at most 190"),
        ({"parameters": {"seed": "3"}}, "seed: must be a whole number, got '3'"),
        ({"parameters": {"seed": True}}, "seed: must be a whole number, got True"),
        ({"parameters": {"scale": 1}}, None),  # a whole number is a number
        ({"parameters": {"promote": 1}}, "promote: must be true or false, got 1"),
        ({"parameters": {"tolerations": [float("inf")]}}, "tolerations: must be a list"),
        ({"parameters": {"secret": "x"}}, "secret: no such parameter"),
        ({"parameters": {"run_id": "night"}}, "run_id: every night would go on with one run"),
        ({"parameters": {"data": "s3://a/[[ScheduledTime]]"}}, "does not replace [[...]]"),
        ({"parameters": {"recipe": "nothing"}}, "no recipe"),
        ({"package": "none.yaml"}, "none.yaml is no compiled pipeline"),
        ({"package": None, "resources": "none.yaml"}, "no resources file"),
    ],
)
def test_wrong_files_are_refused_before_anything_is_sent(server, write, capsys, change, words):
    code = create(server, write(**change))
    if words is None:
        assert code == 0
        return
    assert code == 2
    assert words in capsys.readouterr().err
    assert server.calls == []


@pytest.mark.parametrize("text", ["- 1", "a: [", "name: a\nname: b", ""])
def test_files_that_are_no_schedule_are_refused(server, capsys, tmp_path, text):
    (tmp_path / "schedule.yaml").write_text(text)
    assert create(server, tmp_path / "schedule.yaml") == 2
    assert "schedule.yaml" in capsys.readouterr().err


def test_files_that_are_not_there_are_named(server, write, capsys):
    for path in ("none.yaml", write(package=None, images="none.yaml")):
        assert create(server, path) == 2
        assert "none.yaml" in capsys.readouterr().err
    assert server.calls == []


def test_paths_are_relative_to_the_file(write, package, tmp_path):
    from uae.recipe_files import dump_recipe, load_recipe

    text = dump_recipe(load_recipe("smoke")).replace("seed: 0", "seed: 7")
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "package.yaml").write_text(package.read_text("utf-8"))
    path = write(package="package.yaml", parameters={"recipe": "mine.yaml"})
    content = ScheduleFile.read(path).content()
    assert content.values["runtime_config"]["parameters"]["recipe"] == text


def test_fingerprint_is_the_same_in_every_process(compiled_once):
    script = (
        "from pathlib import Path; from uae_pipelines.schedule_file import ScheduleFile\n"
        f"print(ScheduleFile.read(Path({str(NIGHTLY)!r})).content().fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    here = ScheduleFile.read(Path(NIGHTLY)).content().fingerprint
    assert done.stdout.strip() == here
