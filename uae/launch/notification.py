"""Telling people how a run ended: by webhook, by mail, by both, or by neither.

Who is told is the environment's business, on a cluster from the secret `uae-notify`; it is no part
of a recipe, so it changes no result. Every ending is told, a success in a few lines. Not being able
to tell never fails a run: it is tried a few times and then written to the log, without the secrets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from uae.errors import StoreError
from uae.launch.announcement import Ending, chat_message, mail_text, run_link, title
from uae.launch.delivery import DeliveryError, MailServer, post, send_mail
from uae.launch.plain_words import one_line

if TYPE_CHECKING:
    from uae.store.s3 import Store

WEBHOOK, SMTP, SENDER, RECIPIENTS = (
    "UAE_WEBHOOK_URL", "UAE_SMTP_URL", "UAE_MAIL_FROM", "UAE_MAIL_TO",
)  # fmt: skip
CREDENTIALS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
WAITS_SECONDS = (2.0, 10.0)  # between the three attempts
PORTS = {"smtp": 25, "smtps": 465}
STARTTLS_PORT = 587
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
HIDDEN = "***"
MIN_SECRET = 8  # of a part of a webhook's path


@dataclass(frozen=True, repr=False)
class Channel:
    """One way to tell people. It has no repr: it holds secrets."""

    name: str
    shown: str  # name and host, for the log
    send: Callable[[Ending, str | None], None]
    secrets: tuple[str, ...]


def notify(
    ending: Ending,
    ui_url: str,
    *,
    store: Store | None = None,
    environment: Mapping[str, str] = os.environ,
    waits: tuple[float, ...] = WAITS_SECONDS,
) -> None:
    """Tell whoever is to be told. It raises nothing.

    Args:
        ending: What is told.
        ui_url: Address of the Kubeflow UI, for the link; empty for none.
        store: Remembers who was told of this execution, so that a retry does not tell twice.
        environment: Holds the addresses.
        waits: Seconds between the attempts, one less than there are.
    """
    try:
        channels = _channels(environment)
        told = _already_told(store, ending)
        link = _link(ui_url, ending.job)
        shown = _without_secrets(ending, environment, channels)
        fresh = [c.name for c in channels if c.name not in told and _tell(c, shown, link, waits)]
        if fresh:
            _remember(store, ending, [*told, *fresh])
    except Exception as error:  # whatever it is, the run has ended as it has
        print(f"not notified: {type(error).__name__} while the notification was prepared")


def _channels(environment: Mapping[str, str]) -> list[Channel]:
    found = []
    for variable, read in ((WEBHOOK, _webhook), (SMTP, _mail)):
        if not environment.get(variable):
            continue
        try:
            found.append(read(environment))
        except ValueError as error:  # its text is ours, without the value
            print(f"not notified: {error}")
    if not environment.get(WEBHOOK) and not environment.get(SMTP):
        print(f"nobody is notified: neither {WEBHOOK} nor {SMTP} is set")
    return found


def _webhook(environment: Mapping[str, str]) -> Channel:
    url = environment[WEBHOOK].strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    usable = host and parts.scheme in ("http", "https") and "@" not in parts.netloc
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{WEBHOOK} is not an address such as https://host/path")

    def send(ending: Ending, link: str | None) -> None:
        post(url, chat_message(ending, link))

    words = [word for word in parts.path.split("/") if len(word) >= MIN_SECRET]
    secrets = (url, url.partition(parts.netloc)[2], parts.path, parts.query, *words)
    return Channel("webhook", f"webhook at {host}", send, _longest_first(secrets))


def _mail(environment: Mapping[str, str]) -> Channel:
    server = parse_mail_server(environment[SMTP].strip())
    senders = getaddresses([environment.get(SENDER, "")])
    recipients = [address for _, address in getaddresses([environment.get(RECIPIENTS, "")])]
    if len(senders) != 1 or "@" not in senders[0][1]:
        raise ValueError(f"{SENDER} is not one mail address")
    if not recipients or not all("@" in address for address in recipients):
        raise ValueError(f"{RECIPIENTS} is not a list of mail addresses, with commas between")

    def send(ending: Ending, link: str | None) -> None:
        message = EmailMessage()
        message["Subject"] = title(ending)
        message["From"] = environment[SENDER].strip()
        message["To"] = ", ".join(recipients)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=senders[0][1].rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail_text(ending, link))
        send_mail(server, message, recipients)

    secrets = (environment[SMTP], server.password, quote(server.password, safe=""))
    return Channel("mail", f"mail through {server.host}", send, _longest_first(secrets))


def parse_mail_server(url: str) -> MailServer:
    """Read smtp://user:password@host:587?starttls or smtps://user:password@host.

    User and password are percent-encoded where they hold reserved characters.

    Raises:
        ValueError: If it is none of these, or would send a password without encryption to another
            machine. The text does not hold the value.
    """
    wanted = f"{SMTP} is not smtp://[user:password@]host[:port][?starttls] or smtps://..."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    starttls = parts.query == "starttls"
    known = parts.scheme in PORTS and parts.hostname and parts.path in ("", "/")
    if not known or parts.query not in ("", "starttls") or parts.fragment:
        raise ValueError(wanted)
    host, implicit = str(parts.hostname), parts.scheme == "smtps"
    if implicit and starttls:
        raise ValueError(f"{SMTP} asks for TLS twice: smtps:// or ?starttls")
    if parts.password and not (implicit or starttls or host in LOOPBACK):
        raise ValueError(f"{SMTP} would send a password in the clear: use smtps:// or ?starttls")
    usual = STARTTLS_PORT if starttls else PORTS[parts.scheme]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailServer(host, port or usual, implicit, starttls, user, password)


def _tell(channel: Channel, ending: Ending, link: str | None, waits: tuple[float, ...]) -> bool:
    for wait in (*waits, None):
        try:
            channel.send(ending, link)
        except DeliveryError as error:
            again, reason = error.again, str(error)
        except Exception as error:  # such as an address that the mail's own rules refuse
            again, reason = False, f"{type(error).__name__}: {error}"
        else:
            print(f"notified: {channel.shown}")
            return True
        reason = one_line(_without(reason, channel.secrets), 300)
        if not again or wait is None:
            break
        print(f"{channel.shown}: {reason}; trying again in {wait:g} s")
        time.sleep(wait)
    print(f"not notified: {channel.shown}: {reason}")
    return False


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({secret for secret in secrets if len(secret) > 1}, key=len, reverse=True))


def _without_secrets(
    ending: Ending, environment: Mapping[str, str], channels: Sequence[Channel]
) -> Ending:
    """Hide this step's own credentials, should another step's log hold them."""
    held = [environment.get(name, "") for name in CREDENTIALS]
    secrets = _longest_first([*held, *(secret for c in channels for secret in c.secrets)])

    def clean(text: str) -> str:
        return _without(text, secrets)

    failures = [
        replace(one, error=clean(one.error), log_tail=[clean(line) for line in one.log_tail])
        for one in ending.failures
    ]
    message, trouble = clean(ending.pipeline_message), clean(ending.trouble)
    return replace(ending, failures=failures, pipeline_message=message, trouble=trouble)


def _link(ui_url: str, job: str) -> str | None:
    try:
        return run_link(ui_url, job)
    except ValueError as error:
        print(f"the notification has no link: {error}")
        return None


def _key(ending: Ending) -> str:
    return f"runs/{ending.run_id}/notified/{ending.job}.json"


def _already_told(store: Store | None, ending: Ending) -> list[str]:
    if store is None or not ending.job:
        return []
    try:
        return list(store.get_json(_key(ending))["told"]) if store.exists(_key(ending)) else []
    except StoreError:
        return []  # better told twice than not at all


def _remember(store: Store | None, ending: Ending, told: list[str]) -> None:
    if store is None or not ending.job:
        return
    try:
        store.put_json(_key(ending), {"told": told})
    except StoreError:
        print("who was notified could not be stored: a retry of this step would notify again")
