"""The real kfp command line sends the compiled package to an API server, here a recorder."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from uae_pipelines.compile import PACKAGE

EXPERIMENT = {"experiment_id": "experiment-1", "display_name": "nightly", "namespace": ""}
RUN = {
    "run_id": "run-1",
    "display_name": "tonight",
    "experiment_id": "experiment-1",
    "created_at": "2030-01-01T02:00:00Z",
    "state": "PENDING",
}


class Call(NamedTuple):
    method: str
    path: str
    body: Any


class Recorder(ThreadingHTTPServer):
    """Answers as an API server that knows one experiment, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[Call] = []


class Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        self.record(None)
        path = self.path.partition("?")[0]
        if path.endswith("/healthz"):
            self.answer({"multi_user": False})
        elif path.endswith("/experiments"):
            self.answer({"experiments": [EXPERIMENT]})
        else:
            self.answer(RUN if "/runs/" in path else {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.record(json.loads(body))
        self.answer(RUN if self.path.endswith("/runs") else EXPERIMENT)

    def record(self, body: Any) -> None:
        self.server.calls.append(Call(self.command, self.path.partition("?")[0], body))

    def answer(self, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_run_submit_sends_the_package_and_the_parameters(recorder, tmp_path):
    endpoint = f"http://127.0.0.1:{recorder.server_port}"
    parameters = ["data=s3://pairs/today", "run_id=night-7", "seed=3", "promote=false"]
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", endpoint, "run", "submit"]
    named = ["-e", "nightly", "-r", "tonight", "-f", str(PACKAGE)]
    done = subprocess.run(
        [*command, *named, *parameters],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sent = [
        call for call in recorder.calls if call.method == "POST" and call.path.endswith("/runs")
    ]
    assert len(sent) == 1
    body = sent[0].body
    assert body["display_name"] == "tonight"
    assert body["experiment_id"] == "experiment-1"
    assert body["pipeline_spec"]["pipelineInfo"]["name"] == "uae"
    tasks = body["pipeline_spec"]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert "understanding-for-generation" in tasks
    assert body["runtime_config"]["parameters"] == {
        "data": "s3://pairs/today",
        "run_id": "night-7",
        "seed": 3,
        "promote": False,
    }
