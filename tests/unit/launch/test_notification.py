"""Notifications by webhook, on a real server on loopback: what arrives, what is tried again."""

import json

import pytest
from loopback_mail import PASSWORD, MailServer, running
from loopback_webhook import PATH, webhook

from uae.errors import StoreError
from uae.launch import delivery
from uae.launch.announcement import Ending, StepFailure
from uae.launch.notification import notify
from uae.store.ports import free_ports

WAITS = (0.01, 0.01)
UI = "https://kubeflow.example/_/pipeline"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ending(**changes):
    failure = StepFailure("gate", "StoreError: gone", retryable=True, log_tail=["last line"])
    known = {"run_id": "nightly", "job": "1234", "succeeded": False, "failures": [failure]}
    return Ending(**known | changes)


def tell(environment, capsys, told=None, **options):
    """Notify, and return what the step's log says."""
    notify(told or ending(), UI, environment=environment, waits=WAITS, **options)
    return capsys.readouterr().out


def test_webhook_gets_the_message_as_json(capsys):
    with webhook(200) as server:
        log = tell({"UAE_WEBHOOK_URL": server.url}, capsys)
    [(path, headers, body)] = server.came
    assert path == PATH
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    message = json.loads(body)
    assert set(message) == {"text", "blocks"}
    assert "UAE run nightly failed at gate" in message["text"]
    assert f"{UI}/#/runs/details/1234" in body.decode()
    assert log == "notified: webhook at 127.0.0.1\n"


@pytest.mark.parametrize("first", [500, 503, 429, "slow"])
def test_passing_fault_is_tried_again(first, capsys, monkeypatch):
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.3)
    with webhook(first, 204) as server:
        log = tell({"UAE_WEBHOOK_URL": server.url}, capsys)
    assert len(server.came) == 2
    assert "trying again" in log
    assert log.endswith("notified: webhook at 127.0.0.1\n")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((404,), "answered HTTP 404"),
        ((400,), "answered HTTP 400"),
        ((302,), "a redirect, which is not followed"),
        ((307,), "a redirect, which is not followed"),
        ((500, 500, 500), "answered HTTP 500"),
    ],
)
def test_lasting_refusal_is_told_without_the_secret(answers, said, capsys):
    with webhook(*answers) as server:
        log = tell({"UAE_WEBHOOK_URL": server.url}, capsys)
    assert len(server.came) == len(answers)
    assert {path for path, *_ in server.came} == {PATH}
    assert "not notified: webhook at 127.0.0.1: " in log
    assert said in log
    assert_no_secret(log)


def test_nobody_listens(capsys):
    port = free_ports()["s3"]
    log = tell({"UAE_WEBHOOK_URL": f"http://127.0.0.1:{port}{PATH}?token=abcdefgh"}, capsys)
    assert log.count("refused") == 3
    assert log.count("trying again") == 2
    assert_no_secret(log)
    assert "abcdefgh" not in log


def test_host_that_does_not_exist(capsys):
    log = tell({"UAE_WEBHOOK_URL": f"https://hooks.invalid{PATH}"}, capsys)
    assert "not notified: webhook at hooks.invalid: no connection" in log
    assert_no_secret(log)


@pytest.mark.parametrize(
    "url",
    [
        f"hooks.example{PATH}", f"ftp://hooks.example{PATH}", f"file://{PATH}", "https://",
        f"https://user:{PASSWORD}@hooks.example{PATH}", f"https://hooks.example{PATH} x",
        f"https://hooks.example:secretport{PATH}", f"https://[{PATH}",
        f"https://hooks.example/\n{PATH}",
    ],
)  # fmt: skip
def test_wrong_address_is_refused_without_repeating_it(url, capsys):
    log = tell({"UAE_WEBHOOK_URL": url}, capsys)
    assert "not notified: UAE_WEBHOOK_URL is not an address" in log
    assert_no_secret(log)


def assert_no_secret(log):
    for secret in (PATH, "verysecrettoken", "T0123", PASSWORD, "secretport"):
        assert secret not in log


def test_without_addresses_nothing_is_sent(capsys):
    log = tell({}, capsys)
    assert log == "nobody is notified: neither UAE_WEBHOOK_URL nor UAE_SMTP_URL is set\n"


def test_own_credentials_in_another_step_s_log_are_hidden(capsys):
    failure = StepFailure("gate", f"E: {PATH}", True, ["key AKIDSECRETKEY"])
    with webhook(200) as server:
        environment = {"UAE_WEBHOOK_URL": server.url, "AWS_SECRET_ACCESS_KEY": "AKIDSECRETKEY"}
        tell(environment, capsys, ending(failures=[failure], trouble="AKIDSECRETKEY"))
    body = server.came[0][2].decode()
    assert "AKIDSECRETKEY" not in body
    assert "verysecrettoken" not in body
    assert body.count("***") >= 3


def test_wrong_ui_address_costs_only_the_link(capsys):
    with webhook(200) as server:
        notify(ending(), "not an address", environment={"UAE_WEBHOOK_URL": server.url})
    assert "the notification has no link" in capsys.readouterr().out
    assert "/runs/details/" not in server.came[0][2].decode()


@pytest.fixture
def mail_server():
    with running(MailServer()) as server:
        yield server


class Memory:
    """Stands for the store; `broken` refuses everything."""

    def __init__(self, broken=False):
        self.objects = {}
        self.broken = broken

    def exists(self, key):
        if self.broken:
            raise StoreError("gone")
        return key in self.objects

    def get_json(self, key):
        return self.objects[key]

    def put_json(self, key, value):
        if self.broken:
            raise StoreError("gone")
        self.objects[key] = value


def test_retry_tells_only_those_who_were_not_told(capsys, mail_server):
    store = Memory()
    both = mail_server.environment
    with webhook(404, 200, 200) as server:
        both["UAE_WEBHOOK_URL"] = server.url
        tell(both, capsys, store=store)  # the mail goes out
        assert store.objects == {"runs/nightly/notified/1234.json": {"told": ["mail"]}}
        tell(both, capsys, store=store)  # now the webhook takes it
        tell(both, capsys, store=store)
        assert len(server.came) == 2
        tell(both, capsys, ending(job="5678"), store=store)  # another execution
        assert len(server.came) == 3
    assert len(mail_server.mails) == 2


def test_without_a_store_people_are_told_all_the_same(capsys):
    with webhook(200, 200) as server:
        for _ in range(2):
            log = tell({"UAE_WEBHOOK_URL": server.url}, capsys, store=Memory(broken=True))
    assert len(server.came) == 2
    assert "could not be stored" in log


def test_whatever_happens_nothing_is_raised(capsys):
    class Odd(Memory):
        def exists(self, key):
            raise RuntimeError(PATH)

    with webhook() as server:
        log = tell({"UAE_WEBHOOK_URL": server.url}, capsys, store=Odd())
    assert "not notified: RuntimeError" in log
    assert_no_secret(log)
