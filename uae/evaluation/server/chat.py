"""POST /chat/completions: pictures and text in, text or the first token's log-probabilities out.

Source: OpenAI's API reference, "Create chat completion".
"""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from uae.evaluation.pictures import Pixels
from uae.evaluation.server.client import ServerClient
from uae.evaluation.server.faults import FieldRefused, RequestFailed, one_line, storable

PATH = "chat/completions"
TOP_LOG_PROBS = 20  # as many as the API gives
MAX_SEED = 2**31  # more than a C int is refused by some servers


class Reply(NamedTuple):
    """One answer."""

    text: str  # "" if the server sent none
    finish_reason: str
    first_token: dict[str, float] | None  # log-probabilities; None if the server sent none

    @property
    def words(self) -> str:
        """The text.

        Raises:
            RequestFailed: If there is none.
        """
        if self.text:
            return self.text
        cut = self.finish_reason == "length"
        raise RequestFailed(
            "the answer has no text"
            + (": all of max_new_tokens went before it began" if cut else "")
        )


class ChatModel:
    """One model of a server, asked in one way."""

    def __init__(
        self, client: ServerClient, model: str, *, max_new_tokens: int, temperature: float
    ) -> None:
        self._client, self._model = client, model
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._limit = "max_tokens"  # reasoning models of OpenAI call it max_completion_tokens

    def ask(
        self,
        pictures: Sequence[Pixels],
        text: str,
        *,
        system: str = "",
        seed: int | None = None,
        log_probs: bool = False,
    ) -> Reply:
        """Send one conversation: pictures, then text.

        Args:
            pictures: 8-bit RGB; sent as PNG, not resized.
            text: The question.
            system: Instruction before it; "" for none.
            seed: Sent modulo 2**31; None: not sent.
            log_probs: Ask for the first token's alternatives.

        Raises:
            RequestFailed: If there is no answer: a refusal, a filter, or a fault of the server.
            EvaluationError: If the server cannot be used at all.
        """
        body: dict[str, Any] = {
            "model": self._model,
            "messages": _messages(pictures, text, system),
            "temperature": self._temperature,
        }
        if seed is not None:
            body["seed"] = seed % MAX_SEED
        if log_probs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOG_PROBS}
        return read_reply(self._post(body))

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        limit = self._limit
        try:
            return self._client.post(PATH, {**body, limit: self._max_new_tokens})
        except FieldRefused as error:
            if error.field != "max_tokens" or limit != "max_tokens":
                raise
        self._limit = "max_completion_tokens"
        return self._client.post(PATH, {**body, self._limit: self._max_new_tokens})


def read_reply(body: dict[str, Any]) -> Reply:
    """Read the first choice of an answer.

    Raises:
        RequestFailed: If there is none, or the model or a filter refused.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise RequestFailed("the answer has no choices")
    choice, message = choices[0], choices[0].get("message")
    if not isinstance(message, dict):
        raise RequestFailed("the answer has no message")
    if message.get("refusal"):
        raise RequestFailed(f"the model refused: {one_line(str(message['refusal']))}")
    reason = str(choice.get("finish_reason") or "")
    if reason == "content_filter":
        raise RequestFailed("the server's content filter held the answer back")
    return Reply(_text(message.get("content")), reason, _first_token(choice.get("logprobs")))


def png_data_url(picture: Pixels) -> str:
    """Return a picture as data:image/png;base64,..."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _messages(pictures: Sequence[Pixels], text: str, system: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": png_data_url(picture)}} for picture in pictures
    ]
    user = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
    return [{"role": "system", "content": system}, user] if system else [user]


def _text(content: Any) -> str:
    """Return the text of a message, which may come in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    return storable(content).strip() if isinstance(content, str) else ""


def _first_token(log_probs: Any) -> dict[str, float] | None:
    """Return {token: log-probability} of the first token and its alternatives."""
    tokens = log_probs.get("content") if isinstance(log_probs, dict) else None
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], dict):
        return None
    rows = [tokens[0], *(tokens[0].get("top_logprobs") or [])]
    found = {
        row["token"]: float(row["logprob"])
        for row in rows
        if isinstance(row, dict)
        and isinstance(row.get("token"), str)
        and isinstance(row.get("logprob"), int | float)
    }
    return found or None
