"""A stand-in for a Kubernetes API server on loopback: TrainJobs, their pods and logs, and faults.

The real kubernetes client and the real SDK talk to it through a kubeconfig. It stores what it is
sent, as a server does; what a controller and kubelets would do is written by the test, as scenes:
one is played each time the job is read.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

NAMESPACE = "uae"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
Query = dict[str, str]


@dataclass
class Fault:
    """What happens to the next requests that it fits."""

    method: str
    path: str  # what the path ends with
    status: int = 0  # 0: the connection is closed, in the middle of the answer if it has one
    message: str = "made up by the test"
    times: int = 1
    hang_seconds: float = 0  # before anything else


@dataclass
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"

    @classmethod
    def of(cls, value: Any, status: int = 200) -> "Answer":
        return cls(status, json.dumps(value).encode())

    @classmethod
    def failure(cls, status: int, message: str) -> "Answer":
        values = {"kind": "Status", "status": "Failure", "code": status, "message": message}
        return cls.of(values, status)


@dataclass
class KubernetesApi:
    """The server's state, and what it was asked."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    scenes: deque[Callable[[], object]] = field(default_factory=deque)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, Query]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    encode: Callable[[str], bytes] = str.encode
    reads_until_gone: int = 0  # how often a deleted job is still seen
    hold: threading.Event = field(default_factory=threading.Event)  # ends what hangs
    lock: threading.RLock = field(default_factory=threading.RLock)

    def asked(self, method: str, part: str = "") -> int:
        """Count the requests of a kind."""
        return sum(one == method and part in path for one, path, _ in self.requests)

    def condition(self, kind: str, reason: str = "", message: str = "") -> None:
        """Let a condition of every job become true."""
        for job in self.jobs.values():
            conditions = job.setdefault("status", {}).setdefault("conditions", [])
            conditions.append({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": _now(),
            })  # fmt: skip

    def pod(self, node: int = 0, name: str = "", **state: Any) -> str:
        """Let a pod of the only job exist in a state, such as `running={}`; return its name."""
        (job,) = self.jobs
        name = name or f"{job}-node-0-{node}-abcde"
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != name]
        self.pods.append(_pod(job, node, name, state))
        return name

    def say(self, pod: str, *lines: str, seconds_ago: float = 0) -> None:
        """Let a pod write lines to its log."""
        self.logs.setdefault(pod, []).extend((time.time() - seconds_ago, line) for line in lines)

    def answer(self, method: str, path: str, query: Query, body: bytes) -> Answer:
        with self.lock:
            self.requests.append((method, path, query))
            if path.startswith(JOBS):
                return self._jobs(method, path.removeprefix(JOBS).strip("/"), query, body)
            if method == "GET" and path == PODS:
                return Answer.of({"kind": "PodList", "items": self._selected(self.pods, query)})
            if method == "GET" and path.startswith(PODS) and path.endswith("/log"):
                return self._log(path.split("/")[-2], query)
            return Answer.failure(403, f"{method} {path} is not for a step")

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and path.endswith(fault.path):
                fault.times -= 1
                return fault
        return None

    def _jobs(self, method: str, name: str, query: Query, body: bytes) -> Answer:
        if method == "POST":
            return self._create(json.loads(body))
        if not name:
            return Answer.of({"items": self._selected(list(self.jobs.values()), query)})
        if name in self.jobs and method == "GET":
            self._play(name)
        if name not in self.jobs:
            return Answer.failure(404, f'trainjobs "{name}" not found')
        if method == "DELETE":
            assert query.get("propagationPolicy") == "Foreground"
            self.jobs[name]["metadata"]["deletionTimestamp"] = _now()
            if not self.reads_until_gone:
                del self.jobs[name]
            return Answer.of({"kind": "Status", "status": "Success"})
        return Answer.of(self.jobs[name])

    def _create(self, job: dict[str, Any]) -> Answer:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return Answer.failure(409, f'trainjobs "{name}" already exists')
        self.created.append(json.loads(json.dumps(job)))
        job["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": _now(), "uid": name}
        self.jobs[name] = job
        return Answer.of(job, 201)

    def _play(self, name: str) -> None:
        if "deletionTimestamp" in self.jobs[name]["metadata"]:
            self.reads_until_gone -= 1
            if self.reads_until_gone <= 0:
                del self.jobs[name]
        elif self.scenes:
            self.scenes.popleft()()

    def _log(self, pod: str, query: Query) -> Answer:
        if pod not in self.logs:
            text = f'container "node" in pod "{pod}" is waiting to start: ContainerCreating'
            return Answer.failure(400, text)
        since = time.time() - float(query["sinceSeconds"]) if "sinceSeconds" in query else 0
        lines = [f"{_now(at)} {text}\n" for at, text in self.logs[pod] if at >= since]
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        return Answer(200, self.encode("".join(lines)), "text/plain")

    def _selected(self, objects: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        return [
            one for one in objects if wanted.items() <= one["metadata"].get("labels", {}).items()
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KubernetesApi

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def do_DELETE(self) -> None:
        self._reply()

    def _reply(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.api.fault(self.command, url.path)
        if fault and fault.hang_seconds:
            self.api.hold.wait(fault.hang_seconds)
            self.close_connection = True
            return
        if fault and fault.status:
            self._send(Answer.failure(fault.status, fault.message))
            return
        answer = self.api.answer(self.command, url.path, query, body)
        self._send(answer, cut=fault is not None)

    def _send(self, answer: Answer, *, cut: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        self.close_connection = cut

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@contextmanager
def serve() -> Iterator[KubernetesApi]:
    """Serve an empty namespace."""
    api = KubernetesApi()
    handler = type("OneServer", (Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_kubeconfig(path: Path, url: str) -> Path:
    """Write what a kubernetes client needs to find the server."""
    named = {
        "clusters": [{"name": "loopback", "cluster": {"server": url}}],
        "users": [{"name": "step", "user": {"token": "of-the-test"}}],
        "contexts": [{
            "name": "uae",
            "context": {"cluster": "loopback", "user": "step", "namespace": NAMESPACE},
        }],
    }  # fmt: skip
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "uae", **named}
    path.write_text(yaml.safe_dump(config))
    return path


def _pod(job: str, node: int, name: str, state: dict[str, Any]) -> dict[str, Any]:
    phase = state.pop("phase", "Running" if "running" in state else "Pending")
    if "terminated" in state:
        phase = "Failed" if state["terminated"]["exitCode"] else "Succeeded"
        state["terminated"].setdefault("finishedAt", _now())
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": _now(),
            "labels": {
                "jobset.sigs.k8s.io/jobset-name": job,
                "jobset.sigs.k8s.io/replicatedjob-name": "node",
                "batch.kubernetes.io/job-completion-index": str(node),
            },
        },
        "spec": {"containers": [{"name": "node"}]},
        "status": {
            "phase": phase,
            "conditions": state.pop("conditions", []),
            "containerStatuses": [{
                "name": "node", "image": "i", "imageID": "i", "ready": True, "restartCount": 0,
                "state": state,
            }] if state else [],
        },
    }  # fmt: skip


def _now(at: float | None = None) -> str:
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
