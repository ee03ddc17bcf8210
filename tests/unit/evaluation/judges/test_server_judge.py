import math

import numpy as np
import pytest
from openai_server import asked, openai_server

from uae.errors import EvaluationError
from uae.evaluation.judges.base import ChatRequest, JudgeError
from uae.evaluation.judges.server import ServerJudge, p_yes, yes_or_no
from uae.evaluation.server.faults import RequestFailed
from uae.recipe import ServerJudgeRecipe

PICTURES = [np.full((6, 8, 3), level, np.uint8) for level in (0, 100)]


def judge_of(url, *, log_probs=False, **server):
    recipe = {
        "kind": "server",
        "server": {
            "base_url": url,
            "api_key_env": None,
            "timeout_seconds": 5.0,
            "max_attempts": 2,
            "backoff_seconds": 0.0,
            "concurrency": 3,
        }
        | server,
        "model": "judge-1",
        "max_new_tokens": 30,
        "log_probs": log_probs,
    }
    return ServerJudge(ServerJudgeRecipe.model_validate(recipe))


@pytest.fixture
def server():
    with openai_server() as running:
        yield running


def test_words_become_one_or_zero_in_the_order_of_the_questions(server):
    server.answer = lambda pictures, text: "Yes." if pictures[0].max() else "no"
    found = judge_of(server.url).probabilities(PICTURES, ["a?", "b?", "c?"], [1, 0, 1])
    assert found == [1.0, 0.0, 1.0]
    texts = {came.body["messages"][0]["content"][1]["text"] for came in server.requests}
    assert texts == {f"{letter}? Answer with yes or no." for letter in "abc"}
    assert all(came.body["temperature"] == 0 for came in server.requests)
    assert all("logprobs" not in came.body for came in server.requests)


def test_log_probabilities_become_p_yes(server):
    server.answer = lambda pictures, text: {"Yes": 0.3, " yes": 0.15, "No": 0.1, "NO": 0.05, "I": 0}
    (found,) = judge_of(server.url, log_probs=True).probabilities(PICTURES, ["a?"], [0])
    assert found == pytest.approx(0.45 / 0.6)
    sent = server.requests[0].body
    assert (sent["logprobs"], sent["top_logprobs"], sent["max_tokens"]) == (True, 20, 30)


def test_an_answer_that_is_neither_is_no_verdict(server):
    server.answer = lambda pictures, text: "Maybe" if "b?" in text else "No, none."
    found = judge_of(server.url).probabilities(PICTURES, ["a?", "b?"], [0, 0])
    assert found == [0.0, JudgeError("the answer is neither yes nor no: 'Maybe'")]


def test_alternatives_without_yes_and_no_are_no_verdict(server):
    server.answer = lambda pictures, text: {"The": 0.9, "A": 0.1}
    (found,) = judge_of(server.url, log_probs=True).probabilities(PICTURES, ["a?"], [0])
    assert isinstance(found, JudgeError)
    assert "likeliest is 'The'" in found.reason


def test_a_server_without_log_probabilities_stops_the_evaluation(server):
    server.log_probs = False
    with pytest.raises(EvaluationError, match="set log_probs to false"):
        judge_of(server.url, log_probs=True).probabilities(PICTURES, ["a?"], [0])
    server.refuses = ("top_logprobs",)
    with pytest.raises(EvaluationError, match="set log_probs to false"):
        judge_of(server.url, log_probs=True).probabilities(PICTURES, ["a?"], [0])


def test_log_probabilities_that_are_missing_once_are_one_missing_verdict(server):
    judge = judge_of(server.url, log_probs=True)
    server.answer = lambda pictures, text: {"Yes": 1.0}
    assert judge.probabilities(PICTURES, ["a?"], [0]) == [1.0]
    server.log_probs = False
    assert judge.probabilities(PICTURES, ["a?"], [0]) == [
        JudgeError("the answer has no log-probabilities")
    ]


@pytest.mark.parametrize("log_probs", [True, False])
@pytest.mark.parametrize(
    "fault", ["refusal", "content_filter", "content_policy", "empty_choices", "html", "500"]
)
def test_a_failed_request_is_no_verdict(server, fault, log_probs):
    server.answer = lambda pictures, text: "Yes"
    server.misbehave("", fault, fault)
    judge = judge_of(server.url, log_probs=log_probs, concurrency=1)
    good, failed = judge.probabilities(PICTURES, ["a?", "b?"], [0, 1])
    assert good == 1.0
    assert isinstance(failed, JudgeError)


@pytest.mark.parametrize("fault", ["401", "403", "404"])
def test_a_wrong_key_or_model_stops_the_evaluation(server, fault):
    server.misbehave(fault)
    with pytest.raises(EvaluationError, match=fault):
        judge_of(server.url).answer([ChatRequest((), "hello")])


def test_answers_in_words(server):
    server.answer = lambda pictures, text: f"{[int(p[0, 0, 0]) for p in pictures]} {text}"
    requests = [
        ChatRequest((PICTURES[1], PICTURES[0]), "a", "Be strict."),
        ChatRequest((), "b"),
        ChatRequest((PICTURES[0],), "picture"),
    ]
    server.fault = lambda body: "refusal" if asked(body)[1] == "b" else ""
    found = judge_of(server.url).answer(requests)
    assert found == [
        "[100, 0] a",
        JudgeError("the model refused: I cannot help with that."),
        "[0] picture",
    ]
    system = [m for came in server.requests for m in came.body["messages"] if m["role"] == "system"]
    assert system == [{"role": "system", "content": "Be strict."}]


def test_identity_says_how_it_answers(server):
    identity = judge_of(server.url, log_probs=True).identity
    assert identity == {
        "kind": "server", "sha256": "unknown", "server": "127.0.0.1", "model": "judge-1",
        "instruction": "Answer with yes or no.", "max_new_tokens": "30",
        "yes_no": "log-probabilities",
    }  # fmt: skip
    assert judge_of(server.url).identity["yes_no"] == "words"


def test_a_server_on_another_port_is_the_same_judge():
    one, other = (judge_of(f"https://judge.example:{port}/v1") for port in (8000, 8001))
    assert one.identity == other.identity
    assert one.identity["server"] == "judge.example"
    elsewhere = judge_of("https://other.example:8000/v1")
    assert elsewhere.identity != one.identity


def test_the_key_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-0123456789abcdef")
    judge = judge_of(server.url, api_key_env="TEST_KEY")
    server.misbehave("echo_key")
    (found,) = judge.answer([ChatRequest((), "a")])
    assert "sk-0123" not in f"{found} {judge!r} {judge.identity}"
    assert server.requests[0].headers["Authorization"] == "Bearer sk-0123456789abcdef"
    judge.close()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", 1.0), ("YES!", 1.0), ("**Yes**, there is.", 1.0), ('"Yes"', 1.0),
        ("Yes. Yes.", 1.0),
        ("no", 0.0), ("No.", 0.0), ("No, there is no dog.", 0.0), (" - no", 0.0),
        ("Yes, there is no dog.", 1.0), ("No, no dog.", 0.0), ("No no", 0.0),
    ],
)  # fmt: skip
def test_the_leading_word_decides(text, answer):
    assert yes_or_no(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not sure",
        "nothing",
        "yesterday",
        "I say yes",
        "Yes or no",
        "yes/no",
        "No, yes",
        "yes_no",
    ],
)
def test_any_other_leading_word_is_no_answer(text):
    with pytest.raises(RequestFailed, match="neither yes nor no"):
        yes_or_no(text)


def test_p_yes_by_hand():
    half, quarter = math.log(0.5), math.log(0.25)
    assert p_yes({"Yes": half, "No": quarter, "x": quarter}) == pytest.approx(2 / 3)
    assert p_yes({"\u0120yes": quarter, "\u2581YES": quarter, "no\n": half}) == pytest.approx(0.5)
    assert p_yes({"Yes": half, "x": half}) == 1.0
    assert p_yes({"No": half, "Yes": -9999.0}) == 0.0


@pytest.mark.parametrize(
    "first", [{"The": 0.0}, {"yes": -9999.0, "no": -9999.0}, {"yes": math.nan}, {"yes": -math.inf}]
)
def test_no_p_yes_without_either_word(first):
    with pytest.raises(RequestFailed, match="neither yes nor no"):
        p_yes(first)
