"""Every way in which a server fails, for real, over loopback."""

import socket
import threading
import time

import pytest
from openai_server import openai_server

from uae.errors import EvaluationError
from uae.evaluation.server.client import ServerClient
from uae.evaluation.server.faults import FieldRefused, RequestFailed
from uae.recipe.judges import ServerRecipe

KEY = "sk-test-0123456789abcdef/+"
PATH = "chat/completions"


def recipe(url, **changes):
    settings = {
        "base_url": url,
        "api_key_env": None,
        "timeout_seconds": 5.0,
        "max_attempts": 3,
        "backoff_seconds": 0.0,
        "concurrency": 1,
    }
    return ServerRecipe(**settings | changes)


def body(text="what?", **more):
    return {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


@pytest.fixture
def server():
    with openai_server(answer=lambda pictures, text: text.upper()) as running:
        yield running


@pytest.fixture
def client(server):
    return ServerClient(recipe(server.url))


def free_url():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


TRANSIENT = (
    ("429", "answered 429: this is a 429"),
    ("408", "answered 408"),
    ("500", "answered 500"),
    ("502", "answered 502"),
    ("503", "answered 503"),
    ("504", "answered 504"),
    ("html", "a web page, not JSON"),
    ("invalid_json", "not valid JSON"),
    ("list", "not a JSON object"),
    ("dropped", "closed the connection"),
    ("cut", "closed the connection"),
    ("error_200", "answered 502: the provider is overloaded"),
)


@pytest.mark.parametrize("fault", [fault for fault, _ in TRANSIENT])
def test_a_transient_fault_is_tried_again(server, client, fault):
    server.misbehave(fault, fault)
    assert text_of(client.post(PATH, body("good"))) == "GOOD"
    assert len(server.requests) == 3


@pytest.mark.parametrize(("fault", "reason"), TRANSIENT)
def test_a_lasting_fault_is_the_requests_own(server, client, fault, reason):
    server.misbehave(fault, fault, fault)
    with pytest.raises(RequestFailed, match=rf"{reason}.* \(3 attempts\)"):
        client.post(PATH, body())
    assert text_of(client.post(PATH, body("next"))) == "NEXT"


@pytest.mark.parametrize("fault", ["timeout", "trickle"])
def test_an_answer_that_takes_too_long_is_tried_again_and_then_a_failure(server, fault):
    client = ServerClient(recipe(server.url, timeout_seconds=0.15, max_attempts=2))
    server.slow_seconds = 5.0
    server.misbehave(fault, "", fault, fault)
    assert text_of(client.post(PATH, body("good"))) == "GOOD"
    began = time.monotonic()
    with pytest.raises(RequestFailed, match=r"no whole answer within 0\.15 seconds \(2 attempts"):
        client.post(PATH, body())
    assert time.monotonic() - began < server.slow_seconds


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("content_policy", "content policy: Your request was rejected"),
        ("400", "answered 400: this is a 400"),
        ("413", "answered 413"),
        ("422", "answered 422"),
    ],
)
def test_a_refused_request_is_not_tried_again(server, client, fault, reason):
    server.misbehave(fault)
    with pytest.raises(RequestFailed, match=reason):
        client.post(PATH, body())
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["302", "402", "403", "404", "405", "501", "quota"])
def test_what_no_other_request_could_mend_stops_the_evaluation(server, client, fault):
    server.misbehave(fault)
    with pytest.raises(EvaluationError, match=rf"{client.host} answered \d+") as raised:
        client.post(PATH, body())
    assert not isinstance(raised.value, FieldRefused)
    assert len(server.requests) == 1


def test_a_field_that_all_requests_have_stops_the_evaluation(server, client):
    server.refuses = ("seed",)
    with pytest.raises(FieldRefused, match=r"'seed'.*set send_seed to false") as raised:
        client.post(PATH, body(seed=3))
    assert raised.value.field == "seed"


def test_a_wrong_address_stops_the_evaluation(server):
    client = ServerClient(recipe(f"{server.url}/v2"))
    with pytest.raises(EvaluationError, match=r"answered 404: no such path.*check base_url"):
        client.post(PATH, body())


def test_a_server_that_was_never_reached_stops_the_evaluation():
    client = ServerClient(recipe(free_url(), max_attempts=2))
    with pytest.raises(EvaluationError, match=r"no connection to 127\.0\.0\.1:\d+; check base_url"):
        client.post(PATH, body())
    with pytest.raises(EvaluationError, match="no connection"):
        client.each(lambda text: client.post(PATH, body(text)), ["a", "b"], lambda reason: reason)


def test_a_server_that_goes_away_is_each_requests_failure():
    with openai_server() as server:
        client = ServerClient(recipe(server.url))
        client.post(PATH, body())
        client.close()
    with pytest.raises(RequestFailed, match=r"no connection to 127.*\(3 attempts\)"):
        client.post(PATH, body())


def test_tls_with_a_server_that_has_none_stops_the_evaluation(server):
    client = ServerClient(recipe(server.url.replace("http:", "https:")))
    with pytest.raises(EvaluationError, match="no TLS with"):
        client.post(PATH, body())


def test_retry_after_is_waited_for(server, client):
    server.retry_after = "0.3"
    server.misbehave("429")
    began = time.monotonic()
    client.post(PATH, body())
    assert 0.3 <= time.monotonic() - began < 3


def test_backoff_doubles(server):
    client = ServerClient(recipe(server.url, backoff_seconds=0.1))
    server.misbehave("500", "500")
    began = time.monotonic()
    client.post(PATH, body())
    assert 0.1 + 0.2 <= time.monotonic() - began < 3


def test_answers_come_in_order_however_they_arrive():
    three = threading.Barrier(3, timeout=20)

    def first_ones_last(pictures, text):
        if text in ("0", "1", "2"):
            three.wait()  # all of them are being answered
        time.sleep(0.1 if text == "0" else 0.0)
        return text

    with openai_server(answer=first_ones_last) as server:
        client = ServerClient(recipe(server.url, concurrency=3))
        server.fault = lambda sent: "400" if sent["messages"][0]["content"] == "4" else ""
        found = client.each(
            lambda text: text_of(client.post(PATH, body(text))),
            [str(n) for n in range(8)],
            lambda reason: f"failed: {reason}",
        )
        arrived = [came.body["messages"][0]["content"] for came in server.requests]
    assert [one for one in found if one.isdecimal()] == list("0123567")
    assert found[4].startswith("failed: 127.0.0.1:")
    assert server.most_at_once == 3
    assert sorted(arrived) == list("01234567")


def test_each_of_nothing_is_nothing(server, client):
    assert client.each(lambda text: text, [], lambda reason: reason) == []
    assert server.requests == []


def test_an_error_of_all_stops_those_that_wait(server):
    client = ServerClient(recipe(server.url, concurrency=2, backoff_seconds=30.0))
    server.fault = lambda sent: "404" if sent["messages"][0]["content"] == "1" else "500"
    began = time.monotonic()
    with pytest.raises(EvaluationError, match="answered 404"):
        client.each(lambda n: client.post(PATH, body(n)), list("0123456789"), lambda reason: reason)
    assert time.monotonic() - began < 10
    assert len(server.requests) <= 4
    server.fault = lambda sent: ""
    assert client.each(lambda n: text_of(client.post(PATH, body(n))), ["a"], str) == ["A"]


def test_the_key_is_sent_and_a_missing_one_is_named(server, monkeypatch):
    server.key = KEY
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")
    ServerClient(recipe(server.url, api_key_env="TEST_KEY")).post(PATH, body())
    monkeypatch.setenv("TEST_KEY", " ")
    with pytest.raises(EvaluationError, match="set the environment variable TEST_KEY"):
        ServerClient(recipe(server.url, api_key_env="TEST_KEY"))


def test_a_refused_key_stops_the_evaluation_and_is_not_shown(server, monkeypatch):
    server.key = "another"
    monkeypatch.setenv("TEST_KEY", KEY)
    with pytest.raises(EvaluationError) as raised:
        ServerClient(recipe(server.url, api_key_env="TEST_KEY")).post(PATH, body())
    assert "refuses the key in TEST_KEY (401)" in str(raised.value)
    assert KEY not in str(raised.value)
    with pytest.raises(EvaluationError, match=r"refuses requests without a key \(api_key_env\)"):
        ServerClient(recipe(server.url)).post(PATH, body())


def test_a_key_in_the_servers_words_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    client = ServerClient(recipe(server.url, api_key_env="TEST_KEY"))
    server.misbehave("echo_key")
    with pytest.raises(RequestFailed, match=r"cannot understand Bearer \*\*\*$"):
        client.post(PATH, body())
    server.answer = lambda pictures, text: f"your key is {KEY}"
    assert text_of(client.post(PATH, body())) == "your key is ***"
    assert KEY not in repr(client)


def test_a_short_key_does_not_change_answers(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "EMPTY")
    client = ServerClient(recipe(server.url, api_key_env="TEST_KEY"))
    assert text_of(client.post(PATH, body("an empty room"))) == "AN EMPTY ROOM"


@pytest.mark.parametrize("key", ["two words", "line\nend", "schlüssel"])
def test_a_key_that_no_header_may_hold_is_refused_and_not_shown(key, monkeypatch):
    monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(EvaluationError, match="the key in TEST_KEY has characters") as raised:
        ServerClient(recipe("http://127.0.0.1:1/v1", api_key_env="TEST_KEY"))
    assert key not in str(raised.value)


@pytest.mark.parametrize("url", ["https://me:topsecret@host/v1", "https://host/v1?key=topsecret"])
def test_a_secret_in_the_address_is_refused_and_not_shown(url):
    with pytest.raises(EvaluationError, match="base_url of host: give it without") as raised:
        ServerClient(recipe(url))
    assert "topsecret" not in str(raised.value)


@pytest.mark.parametrize("url", ["https://host:many/v1", "http://[::1/v1"])
def test_a_malformed_address_is_refused(url):
    with pytest.raises(EvaluationError, match="base_url is malformed"):
        ServerClient(recipe(url))


def test_a_file_is_downloaded_without_the_key(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    client = ServerClient(recipe(server.url, api_key_env="TEST_KEY"))
    server.files = [b"a file"]
    address = server.url.removesuffix("/v1") + "/files/0"
    server.misbehave("503", "dropped")
    assert client.download(address) == b"a file"
    assert all("Authorization" not in came.headers for came in server.requests)


@pytest.mark.parametrize(
    ("fault", "reason"), [("403", "answered 403$"), ("302", "answered 302$"), ("500", "500")]
)
def test_a_file_that_cannot_be_had_is_the_requests_failure(server, client, fault, reason):
    server.misbehave(fault, fault, fault)
    with pytest.raises(RequestFailed, match=f"where the picture should be, .*{reason}") as raised:
        client.download(server.url + "/files/0?signature=topsecret")
    assert "topsecret" not in str(raised.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/files/0", "ftp://host/x"])
def test_only_files_of_the_web_are_downloaded(client, url):
    with pytest.raises(RequestFailed, match="not one of http or https"):
        client.download(url)


def test_an_enormous_answer_is_not_read_to_its_end(server, client, monkeypatch):
    monkeypatch.setattr("uae.evaluation.server.exchange.MAX_BYTES", 1000)
    with pytest.raises(RequestFailed, match="larger than 1000 bytes"):
        client.post(PATH, body("long" * 1000))
    assert text_of(client.post(PATH, body("short"))) == "SHORT"


def test_connections_are_opened_again_after_close(server, client):
    client.post(PATH, body())
    client.close()
    assert text_of(client.post(PATH, body("again"))) == "AGAIN"


def test_threads_end_with_the_batch(server):
    client = ServerClient(recipe(server.url, concurrency=4))
    before = threading.active_count()
    client.each(lambda n: n, list(range(20)), str)
    assert threading.active_count() <= before
