"""A stand-in for the Kubeflow Model Registry that keeps its rules.

Names are unique, an entity that is not found is a 404, one that exists a 409, and unknown fields
are refused, as its OpenAPI description says.
"""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from uae.launch.model_registry import API

FIELDS = {
    "registered_models": {"name", "description", "owner", "state", "customProperties"},
    "model_versions": {"name", "registeredModelId", "state", "author", "customProperties"},
    "artifacts": {
        "artifactType", "name", "uri", "modelFormatName", "modelSourceKind", "modelSourceClass",
        "modelSourceName", "customProperties",
    },
}  # fmt: skip


class ModelRegistryServer(ThreadingHTTPServer):
    """The registry's state, changed by requests alone."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.entities = {kind: {} for kind in FIELDS}
        self.calls, self.answers = [], []  # answers given instead: (status, body); 0 hangs up
        self.token = None
        self.overtake = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, query, body):
        if found := re.fullmatch(r"model_versions/(\d+)/artifacts", path):
            return self.artifacts(method, found[1], query, body)
        kind, _, id_ = path.partition("/")
        if method == "GET":
            rows = self.entities[f"{kind}s"].values()
            parent = query.get("parentResourceId")
            for row in rows:
                if row["name"] == query["name"] and parent in (None, row.get("registeredModelId")):
                    return 200, row
            return 404, {"code": "404", "message": "no such thing"}
        if set(body) - FIELDS[kind] or any("metadataType" not in p for p in properties(body)):
            return 400, {"message": "unknown field"}
        if method == "PATCH":
            self.entities[kind][id_] |= body
            return 200, self.entities[kind][id_]
        return self.create(kind, body)

    def artifacts(self, method, version, query, body):
        if method == "POST":
            assert set(body) <= FIELDS["artifacts"]
            return self.create("artifacts", {**body, "version": version})
        rows = [
            one
            for one in self.entities["artifacts"].values()
            if one["version"] == version and one["name"] == query["name"]
        ]
        return 200, {"items": rows, "nextPageToken": "", "pageSize": 0, "size": len(rows)}

    def create(self, kind, body):
        if self.overtake:  # by somebody else, a moment ago
            self.overtake = False
            self.create(kind, body)
        if any(one["name"] == body["name"] for one in self.entities[kind].values()):
            return 409, {"message": "exists"}
        id_ = str(len(self.entities[kind]) + 1)
        self.entities[kind][id_] = {**body, "id": id_}
        return 201, self.entities[kind][id_]


def properties(body):
    return body.get("customProperties", {}).values()


class Handler(BaseHTTPRequestHandler):
    def work(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlsplit(self.path)
        assert url.path.startswith(API)
        path = url.path.removeprefix(f"{API}/")
        self.server.calls.append((self.command, path))
        if self.server.answers:
            status, values = self.server.answers.pop(0)
        elif self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            status, values = 401, {"message": "who are you"}
        else:
            status, values = self.server.answer(
                self.command, path, dict(parse_qsl(url.query)), body
            )
        if not status:
            return
        data = values.encode() if isinstance(values, str) else json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = work

    def log_message(self, format, *args):
        pass


@contextmanager
def running_registry():
    """Let a registry answer."""
    server = ModelRegistryServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
