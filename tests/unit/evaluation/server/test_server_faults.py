import json
import time
from email.utils import formatdate

import pytest

from uae.errors import EvaluationError
from uae.evaluation.server.faults import (
    MAX_WAIT_SECONDS,
    Complaint,
    FieldRefused,
    RequestFailed,
    Transient,
    fault_of,
    read_complaint,
    read_object,
    retry_after,
)


def fault(status, text, sent=("model", "max_tokens", "size", "temperature")):
    return fault_of(status, {}, text, server="host", sent=sent, key_env="KEY")


def error(message, code=None, param=None):
    return json.dumps({"error": {"message": message, "code": code, "param": param}})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (error("no", "c", "p"), Complaint("no", "c", "p")),
        (json.dumps({"message": "no", "code": 400}), Complaint("no", "400", "")),
        (json.dumps({"error": "no"}), Complaint("no", "", "")),
        (json.dumps({"detail": "Not Found"}), Complaint("Not Found", "", "")),
        (
            json.dumps({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}),
            Complaint("Extra inputs", "", "seed"),
        ),
        ("plain\n  text", Complaint("plain text", "", "")),
        ("[1]", Complaint("[1]", "", "")),
        (" <!DOCTYPE html><p>hello", Complaint("a web page", "", "")),
        ("x" * 1000, Complaint("x" * 300, "", "")),
        ("", Complaint("", "", "")),
    ],
)
def test_complaints_are_read_in_every_shape(text, complaint):
    assert read_complaint(text) == complaint


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "86400"}, MAX_WAIT_SECONDS),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": formatdate(0, usegmt=True)}, 0.0),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header) == seconds


def test_retry_after_as_a_date():
    later = formatdate(time.time() + 20, usegmt=True)
    assert 15 < retry_after({"Retry-After": later}) <= 20


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (error("Invalid value: '64x64'", "invalid_value", "size"), "size"),
        (error("Use 'max_completion_tokens' instead.", None, "max_tokens"), "max_tokens"),
        (error("max_tokens must be below 100"), "max_tokens"),
        (error("unsupported value for 'temperature'"), "temperature"),
        (error("Unknown parameter: 'n'", "unknown_parameter", "n"), "n"),
        (json.dumps({"detail": [{"loc": ["body", "size"], "msg": "Extra"}]}), "size"),
    ],
)
def test_a_refused_field_is_found(text, field):
    found = fault(400, text)
    assert isinstance(found, FieldRefused)
    assert found.field == field


@pytest.mark.parametrize(
    "text",
    [
        error("Invalid image", "invalid_image", "messages"),
        error("the size of the picture is wrong"),  # an ordinary word
        error("maximum context length is 4096, 'max_tokens' is too large", None, "max_tokens"),
        error("too long", "context_length_exceeded", "max_tokens"),
        error("safety system: 'size'", None, "size"),
    ],
)
def test_what_is_about_one_sample_is_that_samples_failure(text):
    assert type(fault(400, text)) is RequestFailed


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no", "content_policy_violation"),
        ("no", "moderation_blocked"),
        ("no", "content_filter"),
        ("Blocked by Azure OpenAI's content management policy.", None),
        ("Your input was flagged by moderation", None),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_content_policy_is_one_samples_failure_whatever_the_status(status, message, code):
    found = fault(status, error(message, code))
    assert isinstance(found, RequestFailed)
    assert "content policy" in str(found)


def test_a_busy_server_says_how_long_to_wait():
    found = fault_of(429, {"Retry-After": "3"}, "", server="h", sent=(), key_env=None)
    assert isinstance(found, Transient)
    assert found.wait_seconds == 3


def test_a_refused_key_is_named_by_its_variable_and_the_servers_words_are_not_shown():
    found = fault(401, error("Incorrect API key: sk-ab***yz"))
    assert isinstance(found, EvaluationError)
    assert str(found) == "host refuses the key in KEY (401)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html>", "a web page"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('"text"', "not a JSON object"),
    ],
)
def test_what_is_no_object_may_be_one_the_next_time(text, reason):
    with pytest.raises(Transient, match=reason):
        read_object(text)
