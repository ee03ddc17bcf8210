"""How the client meets a server that fails: a loopback server plays each part."""

import errno
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from uae.errors import StoreError
from uae.store.faults import Backoff, call
from uae.store.s3 import Store


class Answers(BaseHTTPRequestHandler):
    """Gives the server's planned answers in turn, the last one for ever."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        plan = self.server.plan
        status, body = plan.pop(0) if len(plan) > 1 else plan[0]
        self.server.num_requests += 1
        if status is None:  # half an answer
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if b"html" in body else "application/xml")
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = answer

    def log_message(self, *arguments):
        pass


@pytest.fixture
def failing(monkeypatch):
    """A server with planned answers, and a patient client of it."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")  # spares the question for the bucket's region
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.num_requests = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    server.client = Store(host, "bucket", "key", "secret", False, backoff=Backoff(3, 0.01))
    yield server
    server.shutdown()
    server.server_close()


def s3_error(code):
    return f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode()


@pytest.mark.parametrize(
    "trouble",
    [
        (500, s3_error("InternalError")),
        (503, s3_error("SlowDown")),
        (503, s3_error("ServiceUnavailable")),
        (429, s3_error("TooManyRequests")),
        (502, b"<html>bad gateway</html>"),
        (400, s3_error("RequestTimeout")),
    ],
)
def test_transient_fault_is_survived(failing, trouble):
    failing.plan = [trouble, trouble, (200, b"")]
    failing.client.put_bytes("a", b"1")
    assert failing.num_requests == 3


def test_half_an_answer_is_read_again_from_its_start(failing, tmp_path):
    failing.plan = [(None, b""), (200, b"whole")]
    assert failing.client.get_bytes("a") == b"whole"
    failing.plan = [(None, b""), (200, b"whole")]
    failing.client.get_file("a", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_lasting_trouble_is_told_after_the_last_attempt(failing):
    failing.plan = [(500, s3_error("InternalError"))]
    with pytest.raises(StoreError, match=r"answered 500 InternalError words, in 3 attempts"):
        failing.client.put_bytes("a", b"1")
    assert failing.num_requests == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((507, s3_error("XMinioStorageFull")), r"no space is left there \(XMinioStorageFull\)"),
        ((507, b"<html>no space</html>"), r"no space is left there \(507\)"),
        ((403, s3_error("QuotaExceeded")), "raise the bucket's quota, then run again"),
        ((400, s3_error("XMinioAdminBucketQuotaExceeded")), "no space is left there"),
        ((403, s3_error("AccessDenied")), "read-only when it is over its quota"),
        ((404, b"no xml"), "not S3's XML"),
        ((404, b"<html>not here</html>"), "answered 404"),
        ((403, s3_error("SignatureDoesNotMatch")), "credentials refused"),
        ((403, s3_error("RequestTimeTooSkewed")), "clock"),
        ((404, s3_error("NoSuchBucket")), "the bucket does not exist"),
        ((400, s3_error("EntityTooLarge")), "answered 400 EntityTooLarge words"),
    ],
)
def test_lasting_fault_is_told_at_once(failing, answer, says):
    failing.plan = [answer]
    with pytest.raises(StoreError, match=says):
        failing.client.put_bytes("a", b"1")
    assert failing.num_requests == 1


def test_full_local_disk_is_told():
    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="the local disk is full"):
        call(fill, "read a", "store", Backoff(3, 0.01))


def test_other_errors_pass_through():
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0, "divide", "store", Backoff(3, 0.01))


def test_failed_tls_handshake_is_not_retried():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")  # speaks no TLS
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    secure = Store(f"127.0.0.1:{port}", "bucket", "k", "s", True, backoff=Backoff(3, 0.01))
    with pytest.raises(StoreError, match=r"(?i)ssl"):
        secure.put_bytes("a", b"1")
    listener.close()
