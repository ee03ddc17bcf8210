"""What a server's answer means: try again, this sample failed, or nothing can be evaluated.

Shape of an error: {"error": {"message", "type", "param", "code"}}, from OpenAI's API reference.
Compatible servers also send {"message", "code"}, {"detail": [{"loc", "msg"}]} or plain text.
"""

import json
import math
import re
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from uae.errors import EvaluationError

SHOWN = 300  # characters of a server's words
MAX_WAIT_SECONDS = 60.0  # whatever Retry-After asks for
BUSY = {408, 429}
WHOLE = {402, 403, 404, 405, 501}  # payment, permission, address or model: not this sample's
HINTS = {
    "seed": "set send_seed to false",
    "logprobs": "set log_probs to false",
    "top_logprobs": "set log_probs to false",
    "temperature": "this model takes no such temperature; change it, or choose another model",
    "size": "give an image_size that the model has",
}
_POLICY_CODES = {"content_policy_violation", "moderation_blocked", "content_filter"}
_POLICY_WORDS = re.compile(
    r"content[ _-]*(management )?(policy|policies|filter)|safety system|moderation|responsible ?ai",
    re.IGNORECASE,
)
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_FIELD_CODES = {"unknown_parameter", "unsupported_parameter", "unsupported_value"}
_MANY_TOKENS = re.compile(r"context.{0,10}length|too many tokens", re.IGNORECASE)
_WEB_PAGE = re.compile(r"\s*<(!doctype|html|head|body)", re.IGNORECASE)


class RequestFailed(Exception):
    """One request failed for good, and why; the others may do well."""


class Transient(Exception):
    """A fault that another attempt may mend."""

    def __init__(
        self, reason: str, *, wait_seconds: float = 0.0, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_seconds, self.unreachable = wait_seconds, unreachable


class FieldRefused(EvaluationError):
    """The server does not take a field, or its value, that all requests have."""

    def __init__(self, server: str, field: str, said: str) -> None:
        hint = HINTS.get(field, "correct the recipe, or use another server")
        super().__init__(f"{server} refuses the field {field!r}: {said}; {hint}")
        self.field = field


class Complaint(NamedTuple):
    """What a server says is wrong; "" where it does not say."""

    message: str
    code: str
    param: str


def read_complaint(text: str) -> Complaint:
    """Return what is wrong, from the body of an answer in any of the usual shapes."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return Complaint("a web page" if is_web_page(text) else one_line(text), "", "")
    error = body.get("error") or body
    if not isinstance(error, dict):
        return Complaint(one_line(str(error)), "", "")
    detail = error.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):  # FastAPI's
        place = [str(part) for part in detail[0].get("loc") or ()]
        return Complaint(one_line(str(detail[0].get("msg", ""))), "", "".join(place[1:2]))
    said = error.get("message") or detail or text
    return Complaint(
        one_line(str(said)), str(error.get("code") or ""), str(error.get("param") or "")
    )


def fault_of(
    status: int,
    headers: Mapping[str, str],
    text: str,
    *,
    server: str,
    sent: Collection[str],
    key_env: str | None,
) -> Transient | RequestFailed | EvaluationError:
    """Return what an answer that is no success means.

    Args:
        status: Of HTTP.
        headers: Of the answer; `Retry-After` counts.
        text: Its body, without secrets.
        server: Its host, for the error.
        sent: Fields of the request that are the same in every request.
        key_env: The variable that holds the key, if there is one.

    Returns:
        `Transient` of a server that is busy or broken at the moment, `RequestFailed` of a request
        that was refused for itself, `FieldRefused` for what all requests have, and
        `EvaluationError` where key, credit, permission, address or model are wrong.
    """
    complaint = read_complaint(text)
    said = f"{server} answered {status}: {complaint.message}"
    if status == 401:  # some servers repeat part of the key in their words
        key = f"the key in {key_env}" if key_env else "requests without a key (api_key_env)"
        return EvaluationError(f"{server} refuses {key} (401)")
    if complaint.code in _QUOTA_CODES:
        return EvaluationError(f"{said}; no waiting helps: mind the account's credit and limits")
    if status in BUSY or (status >= 500 and status not in WHOLE):
        return Transient(said, wait_seconds=retry_after(headers))
    if _is_policy(complaint):
        return RequestFailed(f"refused for the server's content policy: {complaint.message}")
    if status in WHOLE or status < 400:
        return EvaluationError(f"{said}; check base_url, the model's name and what the key may do")
    field = _refused_field(complaint, sent)
    return FieldRefused(server, field, complaint.message) if field else RequestFailed(said)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return how many seconds the server asks to wait, as a number or a date; 0 if it does not."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS) if not math.isnan(seconds) else 0.0


def is_web_page(text: str) -> bool:
    """Return whether an answer is HTML: a sign-in page, or a proxy's error."""
    return _WEB_PAGE.match(text) is not None


def read_object(text: str) -> dict[str, Any]:
    """Return the object of an answer with status 200.

    Raises:
        Transient: If it is HTML, no JSON, or no object.
    """
    if is_web_page(text):
        raise Transient("the server answered with a web page, not JSON")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Transient("the server's answer is not valid JSON") from None
    if not isinstance(body, dict):
        raise Transient("the server's answer is not a JSON object")
    return body


def one_line(text: str) -> str:
    """Return a server's words as they are shown: short, and fit to be stored."""
    return storable(" ".join(text.split())[:SHOWN])


def storable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_policy(complaint: Complaint) -> bool:
    return complaint.code in _POLICY_CODES or bool(_POLICY_WORDS.search(complaint.message))


def _refused_field(complaint: Complaint, sent: Collection[str]) -> str:
    """Return the field that all requests have and that this complaint is about, or ""."""
    if complaint.code == "context_length_exceeded" or _MANY_TOKENS.search(complaint.message):
        return ""  # this sample's picture or text is too long, whichever field is blamed
    if complaint.param in sent:
        return complaint.param
    for field in sent:
        name = rf"['\"`]{field}['\"`]" + (rf"|\b{field}\b" if "_" in field else "")
        if re.search(name, complaint.message):
            return field
    return complaint.param if complaint.code in _FIELD_CODES else ""
