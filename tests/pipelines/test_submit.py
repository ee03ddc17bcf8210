"""`uae submit` and the plain kfp command line, against a recorder of the API."""

import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from uae import cli
from uae.recipe_files import dump_recipe, load_recipe
from uae_pipelines.compile import PACKAGE
from uae_pipelines.parameters import Package

ANYWHERE = Path()


def test_kfp_s_own_command_line_submits_the_package(server, tmp_path):
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", server.host]
    named = ["run", "submit", "-e", "nightly", "-r", "tonight", "-f", str(PACKAGE)]
    parameters = ["data=s3://pairs/today", "run_id=night-7", "seed=3", "promote=false"]
    done = subprocess.run(
        [*command, *named, *parameters],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (body,) = server.sent("POST", "/runs")
    assert body["display_name"] == "tonight"
    assert server.experiments[body["experiment_id"]]["display_name"] == "nightly"
    spec = body["pipeline_spec"]["pipeline_spec"]
    assert spec["pipelineInfo"]["name"] == "uae"
    assert (
        "understanding-for-generation" in spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    )
    assert body["runtime_config"]["parameters"] == {
        "data": "s3://pairs/today",
        "run_id": "night-7",
        "seed": 3,
        "promote": False,
    }


def test_kfp_s_own_command_line_names_a_namespace(multi_user_server, tmp_path):
    server = multi_user_server
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", server.host]
    known = ["--namespace", "uae", "--existing-token", "s3cret-token"]
    named = ["run", "submit", "-e", "uae", "-r", "first", "-f", str(PACKAGE)]
    done = subprocess.run(
        [*command, *known, *named],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.experiments["experiment-1"]["namespace"] == "uae"
    (body,) = server.sent("POST", "/runs")
    assert body["experiment_id"] == "experiment-1"


def test_what_is_sent_is_what_the_sdk_sends(server, submit, package, monkeypatch, tmp_path):
    """Of the shipped package too, which has settings for Kubernetes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    import kfp

    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    parameters = {"data": "s3://a/b", "seed": 3, "promote": False, "tolerations": [{"key": "a"}]}
    parameters |= {"recipe": dump_recipe(load_recipe("smoke"))}
    given = ["--recipe", "smoke", "--data", "s3://a/b", "--seed", "3", "--param", "promote=false"]
    given += ["--param", 'tolerations=[{"key": "a"}]', "--name", "tonight", "--no-wait"]
    for path in (package, PACKAGE):
        assert submit("--package", str(path), *given) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = kfp.Client(server.host)
            experiment = client.create_experiment("uae")
            client.run_pipeline(
                experiment.experiment_id,
                "tonight",
                str(path),
                parameters,
                service_account="uae-pipeline",
            )
    for ours, theirs in zip(*[iter(server.sent("POST", "/runs"))] * 2, strict=True):
        assert ours == theirs


def test_the_pipeline_is_compiled_as_told(server, tmp_path):
    images = (Path(__file__).parents[2] / "images" / "images.yaml").read_text("utf-8")
    (tmp_path / "images.yaml").write_text(images.replace("uae-control", "registry/uae-control"))
    command = ["submit", "--host", server.host, "--no-wait", "--resources", "starter"]
    assert cli.main([*command, "--images", str(tmp_path / "images.yaml")]) == 0
    (body,) = server.sent("POST", "/runs")
    executors = body["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert {one["container"]["image"].split(":")[0] for one in executors} >= {
        "registry/uae-control"
    }
    assert re.fullmatch(r"uae-\d{8}-\d{6}", body["display_name"])
    assert cli.main([*command, "--package", str(PACKAGE)]) == 2


def step(name, state, **more):
    return {"task_id": f"id of {name}", "display_name": name, "state": state, **more}


def test_a_succeeding_run_is_followed_to_its_end(server, submit, capsys):
    server.script = [
        {"state": "PENDING"},
        {"state": "RUNNING", "run_details": {"task_details": [
            step("root-driver", "SUCCEEDED"), step("work", "RUNNING"), step("executor", "RUNNING"),
        ]}},
        {"state": "RUNNING", "run_details": {"task_details": [
            step("work", "SUCCEEDED"), step("work-2", "RUNNING"),
        ]}},
        {"state": "RUNNING"},
        {"state": "SUCCEEDED", "run_details": {"task_details": [
            step("work", "SUCCEEDED"), {**step("work-2", None), "status": "SUCCEEDED"},
        ]}},
    ]  # fmt: skip
    assert submit("--ui", "https://kubeflow.example.com/pipeline/", "--run-id", "night-7") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "run night-7 (run-1) in experiment uae",
        "https://kubeflow.example.com/pipeline/#/runs/details/run-1",
    ]
    assert [line.partition("Z  ")[2] for line in lines[2:]] == [
        "run: PENDING",
        "work: RUNNING",
        "run: RUNNING",
        "work: SUCCEEDED",
        "the second: RUNNING",
        "the second: SUCCEEDED",
        "run: SUCCEEDED",
    ]
    parameters = server.sent("POST", "/runs")[0]["runtime_config"]["parameters"]
    assert parameters["ui_url"] == "https://kubeflow.example.com/pipeline"


def test_a_failing_run_names_its_step_and_exits_with_1(server, submit, capsys):
    error = {"code": 13, "message": "the first ratio after a rollout is 1.31"}
    server.script = [
        {"state": "FAILED", "error": {"message": "1 of 2 steps failed"}, "run_details": {
            "task_details": [step("work", "SUCCEEDED"), step("work-2", "FAILED", error=error)]}},
    ]  # fmt: skip
    assert submit() == 1
    out = capsys.readouterr().out
    assert "failed: the second: the first ratio after a rollout is 1.31\n" in out
    assert "the run failed: 1 of 2 steps failed\n" in out
    assert f"look at {server.host}/#/runs/details/run-1" in out


@pytest.mark.parametrize(
    ("state", "words"),
    [("CANCELED", "the run was cancelled"), ("SKIPPED", "the run was skipped")],
)
def test_other_ends_are_failures_too(server, submit, capsys, state, words):
    server.script = [{"state": "CANCELING"}, {"state": state}]
    assert submit() == 1
    assert words in capsys.readouterr().out


def test_lost_connections_and_passing_faults_do_not_end_the_waiting(server, submit, capsys):
    server.fail("GET", "/runs/run-1")
    server.fail("GET", "/runs/run-1", 503, body='{"message": "restarting"}')
    server.script = [{"state": "SUCCEEDED"}]
    assert submit() == 0
    out = capsys.readouterr().out
    assert "the run goes on: GET" in out
    assert "no connection" in out
    assert "restarting" in out


def test_patience_ends(server, submit, capsys):
    server.fail("GET", "/runs/run-1", times=-1)
    assert submit("--patience", "0.1", polling=("--poll", "0.02")) == 2
    error = capsys.readouterr().err
    assert "(--patience)" in error
    assert f"the run goes on: {server.host}/#/runs/details/run-1" in error
    assert f"`uae watch run-1 --host {server.host}` waits again" in error


def test_timeout_ends_the_waiting_and_says_that_the_run_goes_on(server, submit, capsys):
    assert submit("--timeout", "0.1") == 2
    error = capsys.readouterr().err
    assert "is PENDING after 0 s (--timeout)" in error
    assert "the run goes on" in error


def test_a_watched_run_is_waited_for_again(server, submit, capsys):
    assert submit("--no-wait") == 0
    server.script = [{"state": "RUNNING"}, {"state": "FAILED"}]
    assert cli.main(["watch", "run-1", "--host", server.host, "--poll", "0.01"]) == 1
    assert cli.main(["watch", "run-9", "--host", server.host]) == 2
    assert "answered 404: Run not found" in capsys.readouterr().err


def test_steps_of_a_run_that_comes_without_its_pipeline(server, capsys):
    tasks = [step("root", "RUNNING"), step("gate-driver", "SUCCEEDED"), step("executor", "FAILED")]
    tasks.append(step("gate", "FAILED"))
    server.runs["run-1"] = {"state": "FAILED", "run_details": {"task_details": tasks}}
    assert cli.main(["watch", "run-1", "--host", server.host]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("Z  ")[2] for line in lines[:2]] == ["gate: FAILED", "run: FAILED"]
    assert lines[2] == "failed: gate"


def test_ctrl_c_leaves_the_run_alone(server, package):
    command = [sys.executable, "-m", "uae.cli", "submit", "--host", server.host]
    process = subprocess.Popen(
        [*command, "--package", str(package), "--poll", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not server.sent("GET", "/runs/run-1") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "no longer waiting; the run goes on" in error
    assert "Traceback" not in error
    assert server.changes() == ["POST /experiments", "POST /runs"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--param", "recip=x"], "recip: no such parameter; there are data, endpoint, node_sel"),
        (["--param", "seed=x"], "seed: must be a whole number, got 'x'"),
        (["--param", "seed=1.5"], "seed: must be a whole number, got '1.5'"),
        (["--param", f"seed={2**60}"], "seed: must be a whole number"),
        (["--param", "scale=nan"], "scale: must be a number, got 'nan'"),
        (["--param", "promote=yes"], "promote: must be true or false, got 'yes'"),
        (["--param", "tolerations={}"], "tolerations: must be a list as JSON, got '{}'"),
        (["--param", "node_selector=a"], "node_selector: must be an object as JSON, got 'a'"),
        (["--param", "seed"], "'seed' has no '='"),
        (["--seed", "1", "--param", "seed=2"], "parameter 'seed' is given twice"),
        (["--run-id", "a b"], "run_id: must be letters"),
        (["--data", "./pictures"], "data: must be"),
        (["--endpoint", "http://u:pass@h"], "AWS_SECRET_ACCESS_KEY"),
        (["--recipe", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_sent(server, submit, capsys, given, words):
    assert submit(*given) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "pass@" not in error
    assert server.calls == []


def test_recipe_of_a_file_is_checked_and_sent_as_text(server, submit, capsys, tmp_path):
    text = dump_recipe(load_recipe("smoke"))
    (tmp_path / "mine.yaml").write_text(text.replace("seed: 0", "seed: 7"))
    assert submit("--recipe", str(tmp_path / "mine.yaml"), "--no-wait") == 0
    sent = server.sent("POST", "/runs")[0]["runtime_config"]["parameters"]["recipe"]
    assert sent == text.replace("seed: 0", "seed: 7")
    (tmp_path / "mine.yaml").write_text(text.replace("seed: 0", "sed: 0"))
    assert submit("--recipe", str(tmp_path / "mine.yaml")) == 2
    assert "sed: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "a: 1", "- 1", "pipelineInfo: {name: a}", "a: [", "{}\n---\n3"]
)
def test_a_file_that_is_no_package_is_refused(server, submit, capsys, tmp_path, text):
    (tmp_path / "uae.yaml").write_text(text)
    assert submit("--package", str(tmp_path / "uae.yaml")) == 2
    assert "is no compiled pipeline" in capsys.readouterr().err
    assert server.calls == []


def test_a_parameter_without_default_must_be_given(package, tmp_path):
    text = package.read_text("utf-8").replace(
        "defaultValue: http://store:8333\n        isOptional: true", "description: x"
    )
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(Exception, match="endpoint: missing; the pipeline has no default"):
        Package.read(tmp_path / "p.yaml").from_texts({}, ANYWHERE)
