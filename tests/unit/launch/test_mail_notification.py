"""Notifications by mail, on a real server on loopback: what arrives, encrypted or not at all."""

from email import message_from_bytes, policy
from urllib.parse import quote

import pytest
from loopback_mail import PASSWORD, MailServer, running

from uae.launch.announcement import Ending, StepFailure
from uae.launch.notification import notify, parse_mail_server

UI = "https://kubeflow.example/_/pipeline"
FAILURE = StepFailure("gate", "StoreError: gone", retryable=True, log_tail=["last line"])


def tell(environment, capsys):
    """Notify, and return what the step's log says."""
    ending = Ending("nightly", "1234", succeeded=False, failures=[FAILURE])
    notify(ending, UI, environment=environment, waits=(0.01, 0.01))
    return capsys.readouterr().out


@pytest.fixture
def mail_server():
    with running(MailServer()) as server:
        yield server


def test_mail_arrives_as_plain_text(mail_server, capsys):
    log = tell(mail_server.environment, capsys)
    [(envelope, _)] = mail_server.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "uae@example.org", ["a@example.org", "b@example.org"],
    )  # fmt: skip
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Subject"] == "UAE run nightly failed at gate"
    assert mail["From"] == "UAE <uae@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert "gate failed: StoreError: gone" in mail.get_content()
    assert f"{UI}/#/runs/details/1234" in mail.get_content()
    assert log.endswith("notified: mail through 127.0.0.1\n")


@pytest.mark.parametrize(
    ("codes", "num_mails"), [(["451 later"], 1), (["451 later"] * 3, 0), (["554 no"], 0)]
)
def test_mail_that_is_not_taken(codes, num_mails, mail_server, capsys):
    mail_server.codes = list(codes)
    log = tell(mail_server.environment, capsys)
    assert len(mail_server.mails) == num_mails
    assert mail_server.codes == []
    assert ("not notified: mail through 127.0.0.1: refused (SMTP" in log) == (num_mails == 0)


def with_login(server, password=PASSWORD, query=""):
    user = f"smtp://uae:{quote(password, safe='')}@127.0.0.1:{server.port}{query}"
    return server.environment | {"UAE_SMTP_URL": user}


def test_mail_with_login(mail_server, capsys):
    tell(with_login(mail_server), capsys)
    assert mail_server.logins == [(b"uae", PASSWORD.encode())]
    assert len(mail_server.mails) == 1


def test_wrong_password_is_told_without_it(mail_server, capsys):
    log = tell(with_login(mail_server, "wrong-password"), capsys)
    assert "not notified: mail through 127.0.0.1: refused user and password (SMTP 535)" in log
    assert len(set(mail_server.logins)) == 1
    assert "wrong-password" not in log


@pytest.mark.parametrize(
    ("recipients", "said"),
    [
        ("nobody@example.org", "refused every recipient (SMTP 550)"),
        ("nobody@example.org, a@example.org", "refused 1 of 2 recipients"),
    ],
)
def test_unknown_recipient_is_told(recipients, said, mail_server, capsys):
    log = tell(mail_server.environment | {"UAE_MAIL_TO": recipients}, capsys)
    assert said in log
    assert "nobody@" not in log


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1, signed by itself: PEM file of certificate, and of its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


@pytest.fixture
def tls_server(certificate):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with running(MailServer(tls_context=context, require_starttls=True)) as server:
        yield server


def test_mail_with_starttls(tls_server, certificate, capsys, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    tell(with_login(tls_server, query="?starttls"), capsys)
    [(_, encrypted)] = tls_server.mails
    assert encrypted
    assert tls_server.logins == [(b"uae", PASSWORD.encode())]


def test_unknown_certificate_gets_no_password(tls_server, capsys):
    log = tell(with_login(tls_server, query="?starttls"), capsys)
    assert "CERTIFICATE_VERIFY_FAILED" in log
    assert tls_server.logins == tls_server.mails == []


def test_server_without_starttls_gets_no_password(mail_server, capsys):
    log = tell(with_login(mail_server, query="?starttls"), capsys)
    assert "STARTTLS extension not supported" in log
    assert mail_server.logins == mail_server.mails == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 25, False, False, "", "")),
        ("smtp://mail.example?starttls", ("mail.example", 587, False, True, "", "")),
        ("smtps://u:p%40q@mail.example", ("mail.example", 465, True, False, "u", "p@q")),
        ("smtp://u:p@localhost:2525", ("localhost", 2525, False, False, "u", "p")),
    ],
)
def test_mail_server_s_address(url, expected):
    server = parse_mail_server(url)
    found = (server.host, server.port, server.implicit_tls, server.starttls)
    assert (*found, server.user, server.password) == expected
    assert "p@q" not in repr(server)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mail.example", "is not smtp://"),
        ("http://mail.example", "is not smtp://"),
        (f"smtp://u:{PASSWORD}@mail.example", "is not smtp://"),
        ("smtp://u:hushhush@mail.example", "in the clear"),
        ("smtps://u:hushhush@mail.example?starttls", "TLS twice"),
        ("smtp://u:hushhush@mail.example?starttls=maybe", "is not smtp://"),
        ("smtp://u@mail.example:hushhush", "is not smtp://"),
    ],
)
def test_wrong_mail_server_is_refused_without_repeating_it(url, said, capsys):
    environment = {"UAE_SMTP_URL": url, "UAE_MAIL_FROM": "a@b", "UAE_MAIL_TO": "c@d"}
    log = tell(environment, capsys)
    assert "not notified: UAE_SMTP_URL" in log
    assert said in log
    assert "hushhush" not in log
    assert "word+1" not in log


@pytest.mark.parametrize(
    ("sender", "recipients", "said"),
    [
        ("", "c@d", "UAE_MAIL_FROM"),
        ("a@b, e@f", "c@d", "UAE_MAIL_FROM"),
        ("a@b", "", "UAE_MAIL_TO"),
        ("a@b", "c", "UAE_MAIL_TO"),
    ],
)
def test_mail_without_addresses_is_refused(sender, recipients, said, mail_server, capsys):
    addresses = {"UAE_MAIL_FROM": sender, "UAE_MAIL_TO": recipients}
    log = tell(mail_server.environment | addresses, capsys)
    assert f"not notified: {said} is not" in log
    assert mail_server.mails == []


def test_line_break_in_an_address_adds_no_header(mail_server, capsys):
    broken = {"UAE_MAIL_FROM": "a@b.org\nBcc: evil@b.org"}
    log = tell(mail_server.environment | broken, capsys)
    assert "not notified: " in log
    assert mail_server.mails == []
