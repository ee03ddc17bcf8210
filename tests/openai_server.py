"""An OpenAI-compatible server on loopback: answers from plain functions, misbehaves if told.

    from openai_server import openai_server

    with openai_server(answer=lambda pictures, text: "a red cube") as server:
        recipe = ServerRecipe(base_url=server.url, ...)

`answer(pictures, text)` gets the pictures of the last user turn as RGB arrays (H, W, 3) and its
text, and returns the text of the answer, or {token: probability} of the first token, which is sent
as log-probabilities if they are asked for (the likeliest token is the text).
`paint(prompt, seed)` returns an RGB array, or bytes that are sent as the file, whatever they are.

    server.misbehave("500", "html")           # the next two requests; "" stands for a good answer
    server.fault = lambda body: "timeout" if "cat" in str(body) else ""   # depends on the request
    server.refuses = ("response_format",)     # 400 for a request with this field
    server.sends = "url"                      # pictures as "b64_json" (default), "url" or "data"
    openai_server(..., key="secret")          # 401 for any other key
    server.requests                           # what came: path, headers, body; in order of arrival
    server.most_at_once                       # the most requests that were open at one time

Faults: see `FAULTS`; and any status of HTTP as a text, such as "500", "404" or "429", the latter
with the header `Retry-After: server.retry_after`. "timeout" answers after `server.slow_seconds`.
"""

import base64
import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

FAULTS = (
    "timeout",  # no answer in time
    "dropped",  # the connection is closed without an answer
    "cut",  # ... in the middle of the answer
    "trickle",  # a byte now and then, for `slow_seconds`
    "html",  # a web page, with status 200
    "invalid_json",
    "list",  # JSON, but not an object
    "error_200",  # {"error": ...} with status 200, as gateways send it
    "refusal",  # message.refusal
    "content_filter",  # finish_reason
    "content_policy",  # status 400
    "empty_choices",  # or no picture
    "empty_text",  # or a picture without content
    "quota",  # 429 that no waiting helps
    "echo_key",  # status 400 whose message holds the Authorization header
)
Answer = Callable[[list[np.ndarray], str], str | dict[str, float]]
Paint = Callable[[str, int | None], np.ndarray | bytes]


class Came(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]  # {} of a GET


def a_picture(pictures: list[np.ndarray], text: str) -> str:
    return "a picture"


def grey(prompt: str, seed: int | None) -> np.ndarray:
    return np.full((16, 16, 3), 128, np.uint8)


class OpenAIServer(ThreadingHTTPServer):
    """Its state may be changed between requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Answer, paint: Paint, key: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.paint, self.key = answer, paint, key
        self.fault: Callable[[dict[str, Any]], str] = lambda body: ""
        self.refuses: tuple[str, ...] = ()
        self.sends = "b64_json"
        self.log_probs = True  # False: the field is ignored
        self.slow_seconds, self.retry_after = 1.0, "0"
        self.requests: list[Came] = []
        self.files: list[bytes] = []
        self.most_at_once = 0
        self.lock, self.closing = threading.Lock(), threading.Event()
        self._faults: list[str] = []
        self._open = 0

    @property
    def url(self) -> str:
        """Its base_url."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def misbehave(self, *faults: str) -> None:
        """Let the next requests fail, one each."""
        unknown = [f for f in faults if f and f not in FAULTS and not f.isdecimal()]
        assert not unknown, f"no such fault: {unknown}"
        with self.lock:
            self._faults += faults

    def next_fault(self, came: Came) -> str:
        with self.lock:
            self.requests.append(came)
            queued = self._faults.pop(0) if self._faults else ""
        return queued or self.fault(came.body)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self.lock:
                self._open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: that clients hang up is part of the tests."""

    def chat(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        pictures, text = asked(body)
        if fault:
            words: str | dict[str, float] = ""
        else:
            words = self.answer(pictures, text)
        chances = words if isinstance(words, dict) else {words: 1.0}
        said = max(chances, key=lambda token: chances[token])
        message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": None}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        elif fault == "content_filter":
            message["content"] = None
        reason = "content_filter" if fault == "content_filter" else "stop"
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": reason}
        choice["logprobs"] = None
        if body.get("logprobs") and self.log_probs:
            first = _log_probs(chances)[: body.get("top_logprobs", 0)]
            choice["logprobs"] = {"content": [{**_log_probs({said: chances[said]})[0],
                                               "top_logprobs": first}]}  # fmt: skip
        choices = [] if fault == "empty_choices" else [choice]
        return {"id": "chat-1", "object": "chat.completion", "choices": choices,
                "model": body.get("model")}  # fmt: skip

    def images(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        if fault == "empty_choices":
            return {"created": 0, "data": []}
        if fault:
            return {"created": 0, "data": [{}]}
        painted = self.paint(body["prompt"], body.get("seed"))
        file = painted if isinstance(painted, bytes) else png(painted)
        text = base64.b64encode(file).decode()
        if self.sends == "url":
            with self.lock:
                self.files.append(file)
                number = len(self.files) - 1
            return {"data": [{"url": f"http://127.0.0.1:{self.server_port}/files/{number}"}]}
        if self.sends == "data":
            return {"data": [{"url": f"data:image/png;base64,{text}"}]}
        return {"created": 0, "data": [{"b64_json": text}]}


def asked(body: dict[str, Any]) -> tuple[list[np.ndarray], str]:
    """Return the pictures and the text of the last user turn."""
    content = [m for m in body["messages"] if m["role"] == "user"][-1]["content"]
    if isinstance(content, str):
        return [], content
    pictures, texts = [], []
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            head, _, data = part["image_url"]["url"].partition(",")
            assert head == "data:image/png;base64", head
            with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
                assert image.format == "PNG"
                pictures.append(np.array(image.convert("RGB")))
    return pictures, "\n".join(texts)


def png(pixels: np.ndarray) -> bytes:
    """Return a picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _log_probs(chances: dict[str, float]) -> list[dict[str, Any]]:
    best = sorted(chances.items(), key=lambda item: -item[1])
    return [
        {"token": token, "logprob": math.log(p) if p else -9999.0, "bytes": [*token.encode()]}
        for token, p in best
    ]


class _Handler(BaseHTTPRequestHandler):
    server: OpenAIServer
    protocol_version = "HTTP/1.1"  # connections are kept, as real servers do

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.counted():
            self.respond(Came(self.path, dict(self.headers), body))

    def do_GET(self) -> None:
        came = Came(self.path, dict(self.headers), {})
        fault = self.server.next_fault(came)
        if fault:
            self.misbehave(fault)
            return
        number = self.path.removeprefix("/files/")
        file = self.server.files[int(number)]
        self.send(200, file, "image/png")

    def respond(self, came: Came) -> None:
        server = self.server
        fault = server.next_fault(came)
        if server.key is not None and self.headers["Authorization"] != f"Bearer {server.key}":
            self.error(401, "invalid_api_key", f"Incorrect key: {self.headers['Authorization']}")
        elif fault in ("refusal", "content_filter", "empty_choices", "empty_text") or not fault:
            self.good(came, fault)
        else:
            self.misbehave(fault)

    def good(self, came: Came, fault: str) -> None:
        refused = [name for name in self.server.refuses if name in came.body]
        if refused:
            said = f"Unknown parameter: '{refused[0]}'."
            self.error(400, "unknown_parameter", said, refused[0])
        elif came.path == "/v1/chat/completions":
            self.json(self.server.chat(came.body, fault))
        elif came.path == "/v1/images/generations":
            self.json(self.server.images(came.body, fault))
        else:
            self.error(404, "not_found", f"no such path: {came.path}")

    def misbehave(self, fault: str) -> None:
        if fault.isdecimal():
            self.error(int(fault), "failed", f"this is a {fault}")
        elif fault == "timeout":
            self.server.closing.wait(self.server.slow_seconds)
            self.close_connection = True
        elif fault == "dropped":
            self.close_connection = True
        elif fault == "cut":
            self.send(200, b'{"choices": [', "application/json", missing=100)
            self.close_connection = True
        elif fault == "trickle":
            self.trickle()
        elif fault == "html":
            self.send(200, b"<!DOCTYPE html><html>Sign in</html>", "text/html")
        elif fault == "invalid_json":
            self.send(200, b'{"choices": [', "application/json")
        elif fault == "list":
            self.send(200, b"[]", "application/json")
        elif fault == "error_200":
            self.json({"error": {"message": "the provider is overloaded", "code": 502}})
        elif fault == "content_policy":
            said = "Your request was rejected as a result of our safety system."
            self.error(400, "content_policy_violation", said)
        elif fault == "quota":
            self.error(429, "insufficient_quota", "You exceeded your current quota.")
        elif fault == "echo_key":
            self.error(400, "bad", f"cannot understand {self.headers['Authorization']}")
        else:
            raise AssertionError(f"no such fault: {fault}")

    def trickle(self) -> None:
        self.send(200, b" ", "application/json", missing=100)
        for _ in range(50):
            self.wfile.write(b" ")
            if self.server.closing.wait(self.server.slow_seconds / 50):
                break
        self.close_connection = True

    def json(self, values: Any) -> None:
        self.send(200, json.dumps(values).encode(), "application/json")

    def error(self, status: int, code: str, message: str, param: str | None = None) -> None:
        kind = "invalid_request_error"
        values = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.send(status, json.dumps(values).encode(), "application/json")

    def send(self, status: int, data: bytes, kind: str, *, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) + missing))
        if status == 429:
            self.send_header("Retry-After", self.server.retry_after)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def openai_server(
    answer: Answer = a_picture, paint: Paint = grey, *, key: str | None = None
) -> Iterator[OpenAIServer]:
    """Let a server answer until the block ends."""
    with OpenAIServer(answer, paint, key) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
