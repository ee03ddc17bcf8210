"""How a message leaves: an HTTP POST to a webhook, or a mail through an SMTP server.

Nothing here puts an address of a webhook, a user or a password into an error.
"""

from __future__ import annotations

import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

TIMEOUT_SECONDS = 10.0  # to connect, and for each part of an answer
AGAIN_STATUS = {408, 425, 429}
LOCAL_NAME = "[127.0.0.1]"  # a name that needs no look-up, which may hang in a pod
MAX_ANSWER_BYTES = 300


class DeliveryError(Exception):
    """A message that was not taken; `again` says whether another try may help."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, repr=False)
class MailServer:
    """Where mail is handed in. It has no repr: it holds a password."""

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    user: str = ""
    password: str = ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook that sends us elsewhere does not get the message: it could be anywhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: the answer becomes an error."""


def post(url: str, payload: Mapping[str, Any]) -> None:
    """Send JSON to a webhook.

    Raises:
        DeliveryError: If it does not take the message; a redirect is not followed.
    """
    request = urllib.request.Request(
        url,
        data=json.dumps(payload).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "uae"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None  # its traceback holds the address
    except urllib.error.URLError as error:
        raise DeliveryError(f"no connection ({error.reason})", again=True) from None
    except (OSError, http.client.HTTPException) as error:
        reason = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
        raise DeliveryError(f"no answer ({reason})", again=True) from None


def _refusal(error: urllib.error.HTTPError) -> DeliveryError:
    with error:
        if 300 <= error.code < 400:
            return DeliveryError(
                f"answered HTTP {error.code}, a redirect, which is not followed", again=False
            )
        try:
            said = error.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            said = ""
    again = error.code >= 500 or error.code in AGAIN_STATUS
    return DeliveryError(f"answered HTTP {error.code} {said}".strip(), again=again)


def send_mail(server: MailServer, message: EmailMessage, recipients: Sequence[str]) -> None:
    """Hand a mail to a server.

    Raises:
        DeliveryError: If it does not take the mail, or not for every recipient.
    """
    try:
        with _connect(server) as smtp:
            if server.starttls:
                smtp.starttls(context=ssl.create_default_context())
            if server.user:
                smtp.login(server.user, server.password)
            refused = smtp.send_message(message, to_addrs=list(recipients))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise DeliveryError(
            f"refused every recipient (SMTP {codes[0]})", again=max(codes) < 500
        ) from None
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(
            f"{_step_of(error)} (SMTP {error.smtp_code})", again=400 <= error.smtp_code < 500
        ) from None
    except (smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError) as error:
        raise DeliveryError(str(error), again=False) from None
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError(f"no connection ({type(error).__name__})", again=True) from None
    if refused:
        raise DeliveryError(f"refused {len(refused)} of {len(recipients)} recipients", again=False)


def _connect(server: MailServer) -> smtplib.SMTP:
    if not server.implicit_tls:
        return smtplib.SMTP(server.host, server.port, LOCAL_NAME, TIMEOUT_SECONDS)
    context = ssl.create_default_context()
    return smtplib.SMTP_SSL(
        server.host, server.port, LOCAL_NAME, timeout=TIMEOUT_SECONDS, context=context
    )


def _step_of(error: smtplib.SMTPResponseException) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "refused user and password"
    return "refused the sender" if isinstance(error, smtplib.SMTPSenderRefused) else "refused"
