"""Requests to one OpenAI-compatible server: several at a time, retried, with answers in order.

The key comes from the environment variable that the recipe names. It is in no error, no result and
no repr; words of the server that hold it are shown without it.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from uae.errors import EvaluationError
from uae.evaluation.server.exchange import Exchange, host_of
from uae.evaluation.server.faults import (
    MAX_WAIT_SECONDS,
    RequestFailed,
    Transient,
    fault_of,
    read_object,
)
from uae.recipe.judges import ServerRecipe

MIN_SECRET = 16  # a shorter key, such as "EMPTY", may stand in an honest answer
HIDDEN = "***"
_OWN_FIELDS = {"messages", "prompt"}  # what differs from request to request
_ANSWERS = {"choices", "data"}
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Failed = TypeVar("Failed")


class ServerClient:
    """One server. Connections are kept between requests."""

    def __init__(self, recipe: ServerRecipe) -> None:
        """Describe the server; nothing is sent.

        Raises:
            EvaluationError: If the variable with the key is not set, or the address is malformed
                or holds a secret.
        """
        self._recipe = recipe
        self.host = _server_host(recipe.base_url)
        self._key = _read_key(recipe.api_key_env)
        self._stop = threading.Event()
        self._exchange = Exchange(
            timeout_seconds=recipe.timeout_seconds, connections=recipe.concurrency
        )

    def __repr__(self) -> str:
        return f"ServerClient({self.host})"

    def each(
        self,
        work: Callable[[Item], Answer],
        items: Sequence[Item],
        failed: Callable[[str], Failed],
    ) -> list[Answer | Failed]:
        """Do the work of each item, `concurrency` at a time.

        Args:
            work: Sends the requests of one item; a `RequestFailed` is that item's own.
            items: Any number.
            failed: Makes the value of an item that failed from the reason.

        Returns:
            Answers in the order of the items.

        Raises:
            EvaluationError: As soon as one item shows that the server cannot be used at all.
        """

        def one(item: Item) -> Answer | Failed:
            if self._stop.is_set():
                return failed("stopped")
            try:
                return work(item)
            except RequestFailed as error:
                return failed(str(error))
            except BaseException:
                self._stop.set()  # nobody will read the others' answers
                raise

        if not items:
            return []
        self._stop.clear()
        with ThreadPoolExecutor(min(self._recipe.concurrency, len(items))) as threads:
            try:
                return list(threads.map(one, items))
            except BaseException:
                self._stop.set()  # Ctrl-C reaches this thread alone
                raise

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request, again after a transient fault, and return its answer.

        Args:
            path: Below `base_url`, such as "chat/completions".
            body: JSON.

        Raises:
            RequestFailed: If this request failed for good.
            FieldRefused: If the server does not take a field that all requests have.
            EvaluationError: If key, address or model are wrong, or nothing was ever reached.
        """
        url = f"{self._recipe.base_url}/{path}"
        data = json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return self._attempts(lambda: self._post_once(url, headers, data, body))

    def download(self, url: str) -> bytes:
        """Return the file behind an http(s) address that the server gave; the key is not sent.

        Raises:
            RequestFailed: If it cannot be had; the reason has only the host, as the rest of such
                an address may be a signature.
        """
        try:
            host = host_of(url)
        except ValueError:
            raise RequestFailed("the picture's address is not one of http or https") from None

        def send() -> bytes:
            came = self._exchange.send("GET", url, {})
            if came.status == 200:
                return came.content
            said = f"{host}, where the picture should be, answered {came.status}"
            if came.status == 429 or came.status >= 500:
                raise Transient(said)
            raise RequestFailed(said)

        return self._attempts(send)

    def close(self) -> None:
        """Let go of the connections; a later request opens new ones."""
        self._exchange.close()

    def _post_once(
        self, url: str, headers: Mapping[str, str], data: bytes, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        came = self._exchange.send("POST", url, headers, data)
        text = came.content.decode("utf-8", "replace")
        status = came.status
        if 200 <= status < 300:
            found = read_object(self._without_key(text, shortest=MIN_SECRET))
            if not found.get("error") or _ANSWERS & found.keys():
                return found
            status = _status_within(found["error"])
        raise fault_of(
            status,
            came.headers,
            self._without_key(text),
            server=self.host,
            sent=[field for field in body if field not in _OWN_FIELDS],
            key_env=self._recipe.api_key_env,
        )

    def _attempts(self, send: Callable[[], Answer]) -> Answer:
        fault = Transient("")
        for attempt in range(self._recipe.max_attempts):
            if attempt:
                self._pause(attempt, fault.wait_seconds)
            try:
                return send()
            except Transient as error:
                fault = error
        if fault.unreachable and not self._exchange.reached:
            raise EvaluationError(f"{fault}; check base_url, and that the server runs") from fault
        raise RequestFailed(f"{fault} ({self._recipe.max_attempts} attempts)") from fault

    def _pause(self, attempt: int, asked_seconds: float) -> None:
        backoff = self._recipe.backoff_seconds * 2.0 ** min(attempt - 1, 30)
        if self._stop.wait(max(min(backoff, MAX_WAIT_SECONDS), asked_seconds)):
            raise RequestFailed("stopped")

    def _without_key(self, text: str, *, shortest: int = 1) -> str:
        if len(self._key) < shortest:
            return text
        escaped = self._key.replace("/", r"\/")  # as some writers of JSON do
        return text.replace(self._key, HIDDEN).replace(escaped, HIDDEN)


def _read_key(variable: str | None) -> str:
    """Return the key, or "" if the server needs none."""
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EvaluationError(f"no key: set the environment variable {variable} (api_key_env)")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EvaluationError(
            f"the key in {variable} has characters that no key can have, such as spaces: set it "
            "to the key alone"
        )
    return key


def _server_host(base_url: str) -> str:
    """Return the host; an address that may hold a secret is refused and not shown."""
    try:
        host = host_of(base_url)
    except ValueError:
        raise EvaluationError("base_url is malformed: give one such as https://host/v1") from None
    parts = urlsplit(base_url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise EvaluationError(
            f"base_url of {host}: give it without user, password, query and fragment; a key "
            "belongs into the environment variable that api_key_env names"
        )
    return host


def _status_within(error: Any) -> int:
    """Return the status of an error that came with status 200, as some gateways send it."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 400
