"""A webhook on loopback that answers as it is told and keeps what came."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/services/T0123/B4567/verysecrettoken"
SLOW_SECONDS = 0.6


class Webhook(ThreadingHTTPServer):
    """Answers with the given statuses, one after another; "slow" gives no answer in time."""

    def __init__(self, *answers: int | str) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.answers = list(answers)
        self.came: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        """Its address, which is a secret."""
        return f"http://127.0.0.1:{self.server_port}{PATH}"


class _Hook(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, dict(self.headers), body))
        status = self.server.answers.pop(0)
        if status == "slow":
            time.sleep(SLOW_SECONDS)
            return
        said = f"no_such_hook {self.path} {self.server.url}".encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def webhook(*answers: int | str) -> Iterator[Webhook]:
    """Serve one."""
    with Webhook(*answers) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
