"""`uae submit` where the API refuses, is gone, or is not what it should be."""

import shutil
import ssl
import subprocess

import pytest
from kfp_recorder import KfpRecorder, running

from uae import cli


def test_token_is_read_anew_and_never_shown(multi_user_server, submit, capsys, tmp_path):
    server = multi_user_server
    token = tmp_path / "token"
    token.write_text("old-token\n")
    assert submit("--token-file", str(token)) == 2
    error = capsys.readouterr().err
    assert "answered 401: Unauthenticated: Bearer ***" in error
    assert "--token-file" in error
    assert "old-token" not in error

    token.write_text("s3cret-token\n")
    server.script = [{"state": "RUNNING"}] * 3 + [{"state": "SUCCEEDED"}]

    def renew(call):
        if len(server.sent("GET", "/runs/run-1")) == 2:
            server.token = "renewed"
            token.write_text("renewed\n")

    server.on_call = renew
    server.calls.clear()
    assert submit("--token-file", str(token)) == 0
    shown = capsys.readouterr()
    assert "answered 401" in shown.out, "the request on its way had the old one"
    assert "s3cret" not in shown.out + shown.err
    listed = [call for call in server.calls if call[:2] == ("GET", "/experiments")]
    assert [call.query["namespace"] for call in listed] == ["uae"]
    assert server.experiments["experiment-1"]["namespace"] == "uae"


@pytest.mark.parametrize("text", ["", "two words", "two\nlines"])
def test_a_file_without_a_token_is_refused(server, submit, capsys, tmp_path, text):
    (tmp_path / "token").write_text(text)
    assert submit("--token-file", str(tmp_path / "token")) == 2
    error = capsys.readouterr().err
    assert "holds no token" in error
    assert "words" not in error
    assert server.calls == []


@pytest.mark.parametrize("option", ["--package", "--token-file", "--ca-cert"])
def test_files_that_are_not_there_are_named(server, submit, capsys, option):
    assert submit(option, "none.pem") == 2
    assert "none.pem" in capsys.readouterr().err
    assert server.calls == []


def test_namespace_is_for_servers_that_keep_users_apart(server, submit, capsys):
    assert submit("--namespace", "team") == 2
    assert "leave out --namespace team" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"message": "no token"}', "answered 401: no token; give a token"),
        (403, '{"message": "not yours"}', "and the --namespace in which it may"),
        (404, '{"message": "unknown"}', "answered 404: unknown"),
        (409, '{"message": "exists"}', "answered 409: exists"),
        (500, '{"error": "boom", "code": 13}', "answered 500: boom"),
        (302, "", "answered 302"),
        (200, "<html>log in</html>", "this is not Kubeflow Pipelines, it answers '<html>log in"),
        (200, "[]", "this is not Kubeflow Pipelines"),
    ],
)
def test_refused_runs_say_why(server, submit, capsys, status, body, words):
    server.fail("POST", "/runs$", status, body=body, headers={"Location": "/login"})
    assert submit() == 2
    assert words in capsys.readouterr().err
    assert len(server.sent("POST", "/runs")) == 1, "a second one might be a second run"


def test_run_whose_answer_was_lost_may_have_started(server, submit, capsys):
    server.fail("POST", "/runs$", after_work=True)
    assert submit("--name", "tonight") == 2
    error = capsys.readouterr().err
    assert "the run may have started all the same: look for 'tonight'" in error
    assert len(server.runs) == 1


def test_passing_faults_before_the_run_are_tried_again(server, submit):
    server.fail("GET", "/healthz")
    server.fail("GET", "/experiments", 500)
    assert submit("--no-wait") == 0


def test_experiment_that_somebody_else_creates_meanwhile_is_taken(server, submit):
    def overtake(call):
        if (call.method, call.path) == ("POST", "/experiments"):
            server.experiments["experiment-9"] = {**call.body, "experiment_id": "experiment-9"}

    server.on_call = overtake
    assert submit("--no-wait") == 0
    assert server.sent("POST", "/runs")[0]["experiment_id"] == "experiment-9"


def test_server_that_is_gone_or_silent_is_told(server, submit, capsys, monkeypatch):
    monkeypatch.setattr("uae_pipelines.api.REQUEST_SECONDS", (1, 0.1))
    server.fail("GET", "/healthz", times=-1, delay_seconds=0.3)
    assert submit() == 2
    assert "ReadTimeoutError" in capsys.readouterr().err
    assert submit("--host", "http://127.0.0.1:9") == 2
    assert "no connection" in capsys.readouterr().err
    assert submit("--host", "localhost:8888") == 2
    assert "bad address" in capsys.readouterr().err
    assert submit("--host", "http://me:pass@h") == 2
    assert "pass" not in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_own_certificates_are_trusted_only_when_told(package, capsys, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    recorder = KfpRecorder()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    recorder.socket = context.wrap_socket(recorder.socket, server_side=True)
    with running(recorder):
        given = ["submit", "--no-wait", "--package", str(package)]
        given += ["--host", recorder.host.replace("http:", "https:")]
        assert cli.main(given) == 2
        error = capsys.readouterr().err
        assert "SSLError" in error
        assert "trust its certificate with --ca-cert" in error
        assert cli.main([*given, "--ca-cert", str(certificate)]) == 0


def test_address_may_come_from_the_environment_and_must_come_from_somewhere(
    server, package, capsys, monkeypatch
):
    command = ["submit", "--package", str(package), "--no-wait"]
    assert cli.main(command) == 2
    assert "give --host" in capsys.readouterr().err
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.host)
    assert cli.main(command) == 0
