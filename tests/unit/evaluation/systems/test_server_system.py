import base64
import io
import json

import numpy as np
import pytest
from openai_server import openai_server, png
from PIL import Image

from uae.errors import EvaluationError
from uae.evaluation.server.faults import RequestFailed
from uae.evaluation.systems.base import CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.server import ServerSystem, decode_picture
from uae.recipe import ServerSystemRecipe

KEY = "sk-test-0123456789abcdef"
PICTURES = [np.full((6, 8, 3), level, np.uint8) for level in range(0, 60, 10)]
CUT = png(np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3))[:100]


def recipe(url, server=None, **changes):
    settings = {
        "kind": "server",
        "name": "Remote",
        "server": {
            "base_url": url,
            "api_key_env": None,
            "timeout_seconds": 5.0,
            "max_attempts": 2,
            "backoff_seconds": 0.0,
            "concurrency": 3,
        }
        | (server or {}),
        "chat_model": "writer",
        "image_model": "painter",
        "captioning": {"prompt": "Describe it.", "max_new_tokens": 40, "temperature": 0.0},
        "image_size": "16x16",
        "send_seed": True,
    }
    return ServerSystemRecipe.model_validate(settings | changes)


def level_of(pictures, text):
    return f"level {pictures[0][0, 0, 0]}"


def seeded(prompt, seed):
    return np.full((16, 16, 3), [len(prompt), (seed or 0) % 256, 7], np.uint8)


@pytest.fixture
def server():
    with openai_server(level_of, seeded) as running:
        yield running


@pytest.fixture
def system(server):
    return ServerSystem(recipe(server.url))


def captions(pictures):
    return [CaptionRequest(picture, 2**40 + 7, f"x/{n}") for n, picture in enumerate(pictures)]


def texts(*words):
    return [PictureRequest(word, 5, f"x/{word}.png") for word in words]


def test_captions_come_in_the_order_of_the_pictures(server, system):
    assert system.caption(captions(PICTURES)) == [f"level {n}" for n in range(0, 60, 10)]
    sent = server.requests[0].body
    assert sent["messages"][0]["content"][1] == {"type": "text", "text": "Describe it."}
    assert (sent["model"], sent["max_tokens"], sent["seed"]) == ("writer", 40, 7)


def test_pictures_come_in_the_order_of_the_texts(server, system):
    found = system.generate(texts("a", "bb", "ccc", "dddd"))
    assert [picture[0, 0].tolist() for picture in found] == [[n, 5, 7] for n in (1, 2, 3, 4)]
    assert found[0].shape == (16, 16, 3)
    assert server.requests[0].body == {
        "model": "painter", "prompt": server.requests[0].body["prompt"], "n": 1,
        "size": "16x16", "seed": 5, "response_format": "b64_json",
    }  # fmt: skip


@pytest.mark.parametrize("sends", ["url", "data"])
def test_pictures_may_come_behind_an_address(server, system, sends):
    server.sends = sends
    (found,) = system.generate(texts("abc"))
    assert np.array_equal(found, seeded("abc", 5))


def test_a_server_that_refuses_response_format_is_asked_without(server, system):
    server.refuses = ("response_format",)
    first, second = system.generate(texts("a"))[0], system.generate(texts("bb"))[0]
    assert (first[0, 0, 0], second[0, 0, 0]) == (1, 2)
    assert ["response_format" in came.body for came in server.requests] == [True, False, False]


def test_a_seed_is_not_sent_unless_asked_for(server):
    system = ServerSystem(recipe(server.url, send_seed=False))
    system.caption(captions(PICTURES[:1]))
    system.generate(texts("a"))
    assert all("seed" not in came.body for came in server.requests)


def test_a_refused_seed_stops_the_evaluation_and_says_what_to_do(server, system):
    server.refuses = ("seed",)
    with pytest.raises(EvaluationError, match="set send_seed to false"):
        system.caption(captions(PICTURES[:2]))
    with pytest.raises(EvaluationError, match="set send_seed to false"):
        system.generate(texts("a"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("content_policy", "content policy"),
        ("empty_choices", "has no picture"),
        ("empty_text", "neither b64_json nor url"),
        ("400", "answered 400"),
    ],
)
def test_what_fails_for_one_text_is_its_own_failure(server, system, fault, reason):
    server.fault = lambda body: fault if body.get("prompt") == "bb" else ""
    first, failed, third = system.generate(texts("a", "bb", "ccc"))
    assert (first[0, 0, 0], third[0, 0, 0]) == (1, 3)
    assert isinstance(failed, Failure)
    assert reason in failed.reason


@pytest.mark.parametrize(
    "fault", ["refusal", "content_filter", "empty_choices", "empty_text", "html", "500", "dropped"]
)
def test_what_fails_for_one_picture_is_its_own_failure(server, fault):
    system = ServerSystem(recipe(server.url, {"concurrency": 1}))
    server.misbehave("", fault, fault)
    good, failed = system.caption(captions(PICTURES[:2]))
    assert good == "level 0"
    assert isinstance(failed, Failure)


def test_a_wrong_model_stops_the_evaluation(server, system):
    server.misbehave("404")
    with pytest.raises(EvaluationError, match="answered 404"):
        system.caption(captions(PICTURES))


@pytest.mark.parametrize("file", [b"", b"no picture", CUT, b"GIF89a"])
@pytest.mark.parametrize("sends", ["b64_json", "url"])
def test_a_broken_picture_is_a_failure(server, system, file, sends):
    server.paint = lambda prompt, seed: file
    server.sends = sends
    (found,) = system.generate(texts("a"))
    assert isinstance(found, Failure)
    assert "picture" in found.reason or "neither" in found.reason


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"b64_json": "!!!"}, "not valid base64"),
        ({"url": "data:image/png,abc"}, "not in base64"),
        ({"url": "data:image/png;base64,!"}, "not valid base64"),
        ({"url": "file:///etc/hostname"}, "not one of http or https"),
        ({"url": "media/1.png"}, "not one of http or https"),
        ({"url": 3}, "neither b64_json nor url"),
    ],
)
def test_a_picture_in_another_shape_is_a_failure(server, system, monkeypatch, entry, reason):
    monkeypatch.setattr(server, "images", lambda body, fault: {"data": [entry]})
    assert reason in system.generate(texts("a"))[0].reason


def test_line_ends_in_base64_are_taken(server, system, monkeypatch):
    data = base64.encodebytes(png(PICTURES[3])).decode()
    monkeypatch.setattr(server, "images", lambda body, fault: {"data": [{"b64_json": data}]})
    assert np.array_equal(system.generate(texts("a"))[0], PICTURES[3])


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("WEBP", "RGBA"), ("PNG", "P")])
def test_pictures_of_any_kind_become_rgb(kind, mode):
    stream = io.BytesIO()
    Image.new(mode, (9, 5)).save(stream, format=kind)
    found = decode_picture(stream.getvalue())
    assert (found.shape, found.dtype) == ((5, 9, 3), np.uint8)


def test_an_enormous_picture_is_a_failure(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(RequestFailed, match="DecompressionBombError"):
        decode_picture(png(PICTURES[0]))


def test_capabilities_and_identity_follow_the_models(server):
    painter = ServerSystem(recipe(server.url, chat_model=None))
    writer = ServerSystem(recipe(server.url, image_model=None))
    assert painter.capabilities == (False, True)
    assert writer.capabilities == (True, False)
    assert painter.identity == {
        "name": "Remote", "kind": "server", "sha256": "unknown",
        "server": f"127.0.0.1:{server.server_port}", "image_model": "painter",
    }  # fmt: skip
    assert "image_model" not in writer.identity
    with pytest.raises(ValueError, match="without chat_model"):
        painter.caption(captions(PICTURES[:1]))
    with pytest.raises(ValueError, match="without image_model"):
        writer.generate(texts("a"))


def test_the_key_stands_nowhere(server, monkeypatch):
    server.key = KEY
    monkeypatch.setenv("TEST_KEY", KEY)
    system = ServerSystem(recipe(server.url, {"api_key_env": "TEST_KEY"}))
    server.misbehave("echo_key")
    found = system.caption(captions(PICTURES[:2]))
    stamped = json.dumps([system.identity, system.settings, [str(one) for one in found]])
    assert KEY not in stamped + repr(system)
    assert "TEST_KEY" not in json.dumps(system.settings)


def test_it_can_be_asked_again_after_close(system):
    system.caption(captions(PICTURES[:1]))
    system.close()
    assert system.caption(captions(PICTURES[1:2])) == ["level 10"]
