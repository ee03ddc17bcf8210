"""A hub on loopback, as far as its client's downloads need one: commits, sizes, files, refusals."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

COMMIT = "c0ffee" * 6 + "c0de"
TOKEN = "hf_of_the_test"


class HubServer:
    """Serves repositories out of folders: `org/name` -> folder."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.gated: set[str] = set()  # need the token
        self.forbidden: set[str] = set()  # refuse every token
        self.cut: set[str] = set()  # paths of files that end early
        self.also_listed: dict[str, list[str]] = {}  # by repository: names without files
        self.fetched: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    hub: HubServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.server.hub
        parts = urlsplit(self.path).path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if is_api else parts[:2])
        folder = hub.repositories.get(repo)
        has_token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if folder is None:
            return self._refuse(401, "RepoNotFound", with_body)
        if repo in hub.forbidden and not is_api:
            return self._refuse(403, None, with_body)
        if repo in hub.gated and not has_token and not is_api:
            return self._refuse(401, "GatedRepo", with_body)
        if is_api and len(parts) > 5 and parts[5] not in ("main", "v1", COMMIT):
            return self._refuse(404, "RevisionNotFound", with_body)
        if is_api:
            siblings = [
                {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ]
            siblings += [{"rfilename": name, "size": 4} for name in hub.also_listed.get(repo, [])]
            info = {"id": repo, "sha": COMMIT, "siblings": siblings, "tags": []}
            return self._send(json.dumps(info).encode(), with_body, {})
        name = "/".join(parts[4:])
        data = (folder / name).read_bytes()
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
        }
        if with_body:
            hub.fetched.append(name)
        sent = data[:-8] if name in hub.cut and with_body else data
        return self._send(sent, with_body, headers)

    def _send(self, data: bytes, with_body: bool, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def _refuse(self, status: int, code: str | None, with_body: bool) -> None:
        body = b"{}" if with_body else b""
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
