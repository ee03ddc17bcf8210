"""A loopback stand-in for the API server of Kubeflow Pipelines, which keeps what it was sent.

It behaves like the server where that matters to a client: names of experiments are unique, lists
come in pages, a namespace is refused or demanded, deleting a recurring run ends its runs in
progress. Faults are laid in wait by method and path.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

API = "/apis/v2beta1"


class Call(NamedTuple):
    method: str
    path: str  # below the API's own
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class Fault:
    """What happens to a request instead of, or after, its work."""

    method: str
    path: str  # pattern
    status: int = 0  # 0: the connection is dropped
    body: str = "{}"
    times: int = 1
    after_work: bool = False  # done, and only the answer is lost
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


class KfpRecorder(ThreadingHTTPServer):
    """The server's state, changed by requests alone."""

    def __init__(self, *, multi_user: bool = False, token: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.multi_user, self.token = multi_user, token
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring_runs: dict[str, dict[str, Any]] = {}
        self.script: list[dict[str, Any]] = []  # what a run becomes at each look
        self.most_enabled = 0  # of one name, at any time
        self.on_call: Callable[[Call], None] = lambda call: None
        self.lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, method: str, path: str) -> list[Any]:
        """Return the bodies of all requests like this."""
        return [
            call.body
            for call in self.calls
            if call.method == method and re.fullmatch(path, call.path)
        ]

    def changes(self) -> list[str]:
        """Return the requests that change something, without ids."""
        return [
            f"{call.method} {re.sub(r'[a-z]+-[0-9]+', 'ID', call.path)}"
            for call in self.calls
            if call.method != "GET"
        ]

    def fail(self, method: str, path: str, status: int = 0, **more: Any) -> None:
        """Let the next requests of this kind fail."""
        self.faults.append(Fault(method, path, status, **more))

    def enabled(self, name: str) -> list[str]:
        """Return the ids of the enabled recurring runs of this name."""
        return [
            one["recurring_run_id"]
            for one in self.recurring_runs.values()
            if one["display_name"] == name and one["mode"] == "ENABLE"
        ]

    def take_fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.method == call.method and re.search(fault.path, call.path):
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None

    def work(self, call: Call) -> tuple[int, dict[str, Any]]:
        """Do what is asked; return status and answer."""
        route = (call.method, re.sub(r"(?<=runs/)[^/:]+", "ID", call.path))
        work = {
            ("GET", "/healthz"): self.healthz,
            ("GET", "/experiments"): self.list_experiments,
            ("POST", "/experiments"): self.create_experiment,
            ("GET", "/runs"): self.list_runs,
            ("POST", "/runs"): self.create_run,
            ("GET", "/runs/ID"): self.look_at_run,
            ("GET", "/recurringruns"): self.list_recurring_runs,
            ("POST", "/recurringruns"): self.create_recurring_run,
            ("GET", "/recurringruns/ID"): self.look_at_recurring_run,
            ("POST", "/recurringruns/ID:enable"): self.enable,
            ("POST", "/recurringruns/ID:disable"): self.disable,
            ("DELETE", "/recurringruns/ID"): self.delete,
        }.get(route)
        if work is None:
            return 404, {"message": f"no {call.path}"}
        answer = work(call)
        names = {one["display_name"] for one in self.recurring_runs.values()}
        self.most_enabled = max([self.most_enabled, *(len(self.enabled(one)) for one in names)])
        return answer

    def healthz(self, call: Call) -> tuple[int, dict[str, Any]]:
        return 200, {"multi_user": self.multi_user}

    def list_experiments(self, call: Call) -> tuple[int, dict[str, Any]]:
        return self.page(call, "experiments", self.experiments.values())

    def create_experiment(self, call: Call) -> tuple[int, dict[str, Any]]:
        name = call.body["display_name"]
        if self.multi_user and not call.body.get("namespace"):
            return 400, {"message": "Experiment has no namespace"}
        if any(one["display_name"] == name for one in self.experiments.values()):
            return 409, {"message": f"Experiment {name} already exists"}
        id_ = f"experiment-{len(self.experiments) + 1}"
        self.experiments[id_] = {**call.body, "experiment_id": id_}
        return 200, self.experiments[id_]

    def list_runs(self, call: Call) -> tuple[int, dict[str, Any]]:
        wanted = call.query.get("experiment_id")
        found = [one for one in self.runs.values() if wanted in (None, one["experiment_id"])]
        return self.page(call, "runs", found)

    def create_run(self, call: Call) -> tuple[int, dict[str, Any]]:
        id_ = f"run-{len(self.runs) + 1}"
        self.runs[id_] = {**call.body, "run_id": id_, "created_at": now(), "state": "PENDING"}
        return 200, self.runs[id_]

    def look_at_run(self, call: Call) -> tuple[int, dict[str, Any]]:
        run = self.runs.get(call.path.rpartition("/")[2])
        if run is None:
            return 404, {"message": "Run not found", "code": 5}
        if self.script:
            run |= self.script.pop(0)
        return 200, run

    def list_recurring_runs(self, call: Call) -> tuple[int, dict[str, Any]]:
        return self.page(call, "recurringRuns", self.recurring_runs.values())

    def look_at_recurring_run(self, call: Call) -> tuple[int, dict[str, Any]]:
        return 200, self.recurring_runs[call.path.rpartition("/")[2]]

    def create_recurring_run(self, call: Call) -> tuple[int, dict[str, Any]]:
        id_ = f"recurring-{len(self.recurring_runs) + 1}"
        self.recurring_runs[id_] = {**call.body, "recurring_run_id": id_, "created_at": now()}
        return 200, self.recurring_runs[id_]

    def enable(self, call: Call) -> tuple[int, dict[str, Any]]:
        return self.switch(call, "ENABLE")

    def disable(self, call: Call) -> tuple[int, dict[str, Any]]:
        return self.switch(call, "DISABLE")

    def switch(self, call: Call, mode: str) -> tuple[int, dict[str, Any]]:
        self.recurring_runs[call.path.split("/")[2].partition(":")[0]]["mode"] = mode
        return 200, {}

    def delete(self, call: Call) -> tuple[int, dict[str, Any]]:
        id_ = call.path.rpartition("/")[2]
        if self.recurring_runs.pop(id_, None) is None:
            return 404, {"message": "Recurring run not found"}
        for run in self.runs.values():
            if run.get("recurring_run_id") == id_ and run["state"] == "RUNNING":
                run["state"] = "FAILED"  # its workflow is collected as garbage
        return 200, {}

    def page(self, call: Call, key: str, found: Any) -> tuple[int, dict[str, Any]]:
        if call.query.get("namespace") and not self.multi_user:
            return 400, {"message": "In single-user mode, it cannot filter by namespace"}
        if self.multi_user and key != "runs" and not call.query.get("namespace"):
            return 400, {"message": "Invalid namespace: it is empty in multi-user mode"}
        wanted = json.loads(call.query.get("filter", "{}")).get("predicates", [])
        rows = [
            one for one in found if all(one[two["key"]] == two["stringValue"] for two in wanted)
        ]
        first = int(call.query.get("page_token") or 0)
        size = int(call.query.get("page_size") or 10)
        more = {"next_page_token": str(first + size)} if first + size < len(rows) else {}
        return 200, {key: rows[first : first + size], **more}


class Handler(BaseHTTPRequestHandler):
    server: KfpRecorder

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        path = url.path.removeprefix(API)
        call = Call(
            self.command, path, query, body, {k.lower(): v for k, v in self.headers.items()}
        )
        with self.server.lock:
            self.server.calls.append(call)
            status, values, fault = self.result(call)
        if fault is not None:
            time.sleep(fault.delay_seconds)
            if not fault.status:
                self.close_connection = True
                return
            self.send(fault.status, fault.body, fault.headers)
        else:
            self.send(status, json.dumps(values), {"Content-Type": "application/json"})

    def result(self, call: Call) -> tuple[int, dict[str, Any], Fault | None]:
        self.server.on_call(call)
        fault = self.server.take_fault(call)
        if fault is not None and not fault.after_work:
            return 0, {}, fault
        given = call.headers.get("authorization")
        if self.server.token is not None and given != f"Bearer {self.server.token}":
            return 401, {"message": f"Unauthenticated: {given}"}, fault
        status, values = self.server.work(call)
        return status, values, fault

    do_GET = do_POST = do_DELETE = answer

    def send(self, status: int, body: str, headers: dict[str, str]) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running(recorder: KfpRecorder):
    """Let the recorder answer."""
    thread = threading.Thread(target=recorder.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        recorder.shutdown()
        recorder.server_close()
        thread.join()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
