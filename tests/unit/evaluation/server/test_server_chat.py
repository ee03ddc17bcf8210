import numpy as np
import pytest
from openai_server import openai_server

from uae.errors import EvaluationError
from uae.evaluation.server.chat import ChatModel, read_reply
from uae.evaluation.server.client import ServerClient
from uae.evaluation.server.faults import RequestFailed
from uae.recipe.judges import ServerRecipe

PICTURES = [np.full((5, 7, 3), level, np.uint8) for level in (10, 200)]


@pytest.fixture
def server():
    with openai_server(answer=lambda pictures, text: f"{len(pictures)} {text}") as running:
        yield running


@pytest.fixture
def model(server):
    recipe = ServerRecipe(
        base_url=server.url,
        api_key_env=None,
        timeout_seconds=5.0,
        max_attempts=1,
        backoff_seconds=0.0,
        concurrency=1,
    )
    return ChatModel(ServerClient(recipe), "vision-1", max_new_tokens=9, temperature=0.5)


def reply(message=None, **choice):
    return {"choices": [{"message": {"content": "hello"} | (message or {}), **choice}]}


def test_pictures_stand_before_the_text_exactly_as_they_are(server, model):
    seen = []
    server.answer = lambda pictures, text: seen.append((pictures, text)) or "two"
    assert model.ask(PICTURES, "how many?", system="Be brief.", seed=2**31 + 5).words == "two"
    ((pictures, text),) = seen
    assert text == "how many?"
    assert all(np.array_equal(*pair) for pair in zip(pictures, PICTURES, strict=True))
    sent = server.requests[0].body
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in sent["messages"][1]["content"]] == [
        "image_url", "image_url", "text",
    ]  # fmt: skip
    assert {k: v for k, v in sent.items() if k != "messages"} == {
        "model": "vision-1", "temperature": 0.5, "max_tokens": 9, "seed": 5,
    }  # fmt: skip


def test_what_is_not_asked_for_is_not_sent(server, model):
    model.ask([], "hello")
    sent = server.requests[0].body
    assert set(sent) == {"model", "temperature", "max_tokens", "messages"}
    assert [message["role"] for message in sent["messages"]] == ["user"]


def test_a_model_that_refuses_max_tokens_is_asked_with_its_newer_name(server, model):
    server.refuses = ("max_tokens",)
    assert model.ask([], "a").words == "0 a"
    assert model.ask([], "b").words == "0 b"
    assert ["max_tokens" in came.body for came in server.requests] == [True, False, False]
    assert server.requests[-1].body["max_completion_tokens"] == 9


def test_a_model_that_refuses_both_names_stops_the_evaluation(server, model):
    server.refuses = ("max_tokens", "max_completion_tokens")
    with pytest.raises(EvaluationError, match="max_completion_tokens"):
        model.ask([], "a")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refusal", "the model refused: I cannot help with that"),
        ("content_filter", "content filter held the answer back"),
        ("empty_choices", "the answer has no choices"),
        ("empty_text", "the answer has no text"),
    ],
)
def test_an_answer_without_text_is_a_failure_with_its_reason(server, model, fault, reason):
    server.misbehave(fault)
    with pytest.raises(RequestFailed, match=reason):
        _ = model.ask([], "a").words
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "no choices"),
        ({"choices": None}, "no choices"),
        ({"choices": ["x"]}, "no choices"),
        ({"choices": [{}]}, "no message"),
        (reply({"content": None}), "no text"),
        (reply({"content": " \n"}), "no text"),
        (reply({"content": 3}), "no text"),
        (reply({"content": None}, finish_reason="length"), "all of max_new_tokens"),
    ],
)
def test_an_answer_of_another_shape_is_a_failure(body, reason):
    with pytest.raises(RequestFailed, match=reason):
        _ = read_reply(body).words


def test_text_may_come_in_parts():
    parts = [{"type": "text", "text": "a red "}, "x", {"type": "text", "text": "cube\n"}]
    assert read_reply(reply({"content": parts})).words == "a red cube"


@pytest.mark.parametrize(
    "log_probs", [None, {}, {"content": []}, {"content": [{"token": "x"}]}, {"content": ["x"]}]
)
def test_log_probabilities_may_be_missing(log_probs):
    assert read_reply(reply(logprobs=log_probs)).first_token is None


def test_the_chosen_token_counts_though_it_is_not_among_the_alternatives():
    first = {"token": "Yes", "logprob": -0.5, "top_logprobs": [{"token": "No", "logprob": -1}]}
    found = read_reply(reply(logprobs={"content": [first, {"token": ".", "logprob": 0}]}))
    assert found.first_token == {"Yes": -0.5, "No": -1.0}


def test_half_a_character_in_an_answer_can_be_stored():
    assert read_reply(reply({"content": "a \ud83d b"})).words == "a ? b"
    with pytest.raises(RequestFailed, match=r"^the model refused: no \? thanks$"):
        read_reply(reply({"refusal": "no \ud83d thanks"}))


def test_half_a_character_in_a_question_can_be_sent(server, model):
    assert model.ask([], "a \ud83d b").words == "0 a ? b"
