"""Models behind an OpenAI-compatible server as a system under test.

Source: OpenAI's API reference, "Create chat completion" and "Create image".
"""

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from uae.evaluation.pictures import Pixels
from uae.evaluation.server.chat import MAX_SEED, ChatModel
from uae.evaluation.server.client import ServerClient
from uae.evaluation.server.faults import FieldRefused, RequestFailed
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.recipe import ServerSystemRecipe

PATH = "images/generations"
UNKNOWN = "unknown"  # a server shows no weights; the models' names are all that is known
_FORMATS = ("PNG", "JPEG", "WEBP")
_DATA, _BASE64 = "data:", ";base64"


class ServerSystem:
    """A chat model that writes captions, an image model that paints, or both.

    `sha256` is "unknown" in its identity: the operator may change what answers to a name.
    """

    def __init__(self, recipe: ServerSystemRecipe) -> None:
        """Describe the system; nothing is sent.

        Raises:
            EvaluationError: If the variable with the key is not set, or the address is wrong.
        """
        self._recipe = recipe
        self._client = ServerClient(recipe.server)
        self._chat = self._chat_model(recipe)
        self._names_format = True  # until the server refuses `response_format`
        models = {"chat_model": recipe.chat_model, "image_model": recipe.image_model}
        self.identity = {
            "name": recipe.name,
            "kind": "server",
            "sha256": UNKNOWN,
            "server": self._client.host,
            **{role: model for role, model in models.items() if model is not None},
        }
        self.capabilities = Capabilities(
            captions=recipe.chat_model is not None, pictures=recipe.image_model is not None
        )

    @property
    def settings(self) -> dict[str, Any]:
        """How it writes and paints."""
        return self._recipe.model_dump(include={"captioning", "image_size", "send_seed"})

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture; it is sent in its own size.

        Raises:
            EvaluationError: If the server cannot be used at all.
        """
        return self._client.each(self._write, requests, Failure)

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text, whole: what is too long for the server is a failure.

        Raises:
            EvaluationError: If the server cannot be used at all.
        """
        return self._client.each(self._paint, requests, Failure)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _chat_model(self, recipe: ServerSystemRecipe) -> ChatModel | None:
        if recipe.chat_model is None:
            return None
        return ChatModel(
            self._client,
            recipe.chat_model,
            max_new_tokens=recipe.captioning.max_new_tokens,
            temperature=recipe.captioning.temperature,
        )

    def _write(self, request: CaptionRequest) -> str:
        if self._chat is None:
            raise ValueError("a system without chat_model was asked for captions")
        seed = request.seed if self._recipe.send_seed else None
        return self._chat.ask([request.picture], self._recipe.captioning.prompt, seed=seed).words

    def _paint(self, request: PictureRequest) -> Pixels:
        if self._recipe.image_model is None:
            raise ValueError("a system without image_model was asked for pictures")
        body = {
            "model": self._recipe.image_model,
            "prompt": request.text,
            "n": 1,
            "size": self._recipe.image_size,
        }
        if self._recipe.send_seed:
            body["seed"] = request.seed % MAX_SEED
        return decode_picture(self._file(self._post(body)))

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for the picture itself; newer models of OpenAI always send it, and refuse the field.

        Which way it comes changes no pixel.
        """
        if self._names_format:
            try:
                return self._client.post(PATH, {**body, "response_format": "b64_json"})
            except FieldRefused as error:
                if error.field != "response_format":
                    raise
            self._names_format = False
        return self._client.post(PATH, body)

    def _file(self, body: dict[str, Any]) -> bytes:
        data = body.get("data")
        if not isinstance(data, list) or not data or not isinstance(data[0], dict):
            raise RequestFailed("the answer has no picture")
        inline, url = data[0].get("b64_json"), data[0].get("url")
        if isinstance(inline, str) and inline:
            return _decode_base64(inline)
        if not isinstance(url, str) or not url:
            raise RequestFailed("the answer has neither b64_json nor url")
        if url.startswith(_DATA):
            head, _, text = url.partition(",")
            if not head.endswith(_BASE64):
                raise RequestFailed("the picture's data: address is not in base64")
            return _decode_base64(text)
        return self._client.download(url)


def decode_picture(file: bytes) -> Pixels:
    """Return a PNG, JPEG or WebP file as RGB (H, W, 3).

    Raises:
        RequestFailed: If it is none of them, broken or enormous.
    """
    try:
        with Image.open(io.BytesIO(file), formats=_FORMATS) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestFailed(f"the picture cannot be read: {type(error).__name__}") from error


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestFailed("the picture is not valid base64") from error
