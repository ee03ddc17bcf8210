"""A mail server on loopback that keeps what it takes."""

from contextlib import contextmanager

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from uae.store.ports import free_ports

PASSWORD = "pass/word+1"


class MailServer:
    """An SMTP server that takes mail for everyone but nobody@..., and keeps it."""

    def __init__(self, **options):
        self.mails = []
        self.logins = []
        self.codes = []  # given out instead of taking a mail, one after another
        self.port = free_ports()["s3"]
        known = {"authenticator": self.authenticate, "auth_require_tls": False}
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **known | options)

    @property
    def environment(self):
        return {
            "UAE_SMTP_URL": f"smtp://127.0.0.1:{self.port}",
            "UAE_MAIL_FROM": "UAE <uae@example.org>",
            "UAE_MAIL_TO": "a@example.org, B <b@example.org>",
        }

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("nobody"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.codes:
            return self.codes.pop(0)
        self.mails.append((envelope, session.ssl is not None))
        return "250 OK"


@contextmanager
def running(server):
    server.controller.start()
    try:
        yield server
    finally:
        server.controller.stop()
