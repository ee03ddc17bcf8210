"""Each line of node 0's log is shown once, whatever becomes of the pod and of the connection."""

import pytest
from launching.kubernetes_api import Fault, KubernetesApi

from uae.launch.cluster import Cluster
from uae.launch.pod_log import PodLog, last_lines

RUNNING = {"startedAt": "2026-01-01T00:00:00Z"}
JOB = "uae-of-the-test"


class Reader:
    """Shows what is new, and returns it."""

    def __init__(self, api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
        api.jobs[JOB] = {"metadata": {"name": JOB}}
        self.cluster, self.capsys = Cluster.connect(), capsys
        self.log = PodLog(self.cluster)

    def __call__(self) -> list[str]:
        self.log.show_new(self.cluster.pods(JOB))
        return self.capsys.readouterr().out.splitlines()


@pytest.fixture
def new_lines(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> Reader:
    return Reader(api, capsys)


def test_goes_on_from_where_it_was_left(api: KubernetesApi, new_lines: Reader) -> None:
    assert new_lines() == []
    pod = api.pod(running=RUNNING)
    assert new_lines() == []  # its container waits to start
    api.say(pod, "an old line", seconds_ago=3600)
    api.say(pod, "one", "one", "", "two")
    assert new_lines() == ["an old line", "one", "one", "", "two"]
    assert new_lines() == []
    api.say(pod, "two", "three")
    assert new_lines() == ["two", "three"]
    first, *later = [query for _, path, query in api.requests if path.endswith("/log")][1:]
    assert "sinceSeconds" not in first
    assert all(int(query["sinceSeconds"]) <= 62 for query in later)  # not the whole log again


def test_connection_that_is_lost_loses_no_line(api: KubernetesApi, new_lines: Reader) -> None:
    pod = api.pod(running=RUNNING)
    api.say(pod, *(str(number) for number in range(50)))
    api.faults.append(Fault("GET", "/log"))  # in the middle of the answer
    (trouble,) = new_lines()
    assert trouble.startswith(f"no log of {pod} for now: cannot read logs (pods/log)")
    assert new_lines() == [str(number) for number in range(50)]


def test_pod_that_takes_the_place_of_another_is_shown_from_its_start(
    api: KubernetesApi, new_lines: Reader
) -> None:
    api.say(api.pod(running=RUNNING, name="first"), "one", "two")
    new_lines()
    api.pods[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    api.say(api.pod(running=RUNNING, name="second"), "one", "two", "three")
    assert new_lines() == ["one", "two", "three"]


def test_other_nodes_are_not_shown(api: KubernetesApi, new_lines: Reader) -> None:
    api.say(api.pod(1, running=RUNNING), "of node 1")
    assert new_lines() == []


def test_bytes_that_are_no_text_do_not_end_the_job(
    api: KubernetesApi, new_lines: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.say(api.pod(running=RUNNING), "\udcff")
    monkeypatch.setattr(api, "encode", lambda text: text.encode(errors="surrogateescape"))
    assert new_lines() == ["\ufffd"]


def test_last_lines_of_a_pod_that_has_none(api: KubernetesApi, new_lines: Reader) -> None:
    pod = api.pod(terminated={"exitCode": 1, "reason": "ContainerCannotRun"})
    assert pod not in api.logs
    assert last_lines(new_lines.cluster, new_lines.cluster.pods(JOB)[0], 5) == ["(it has no log)"]
    api.say(pod, *"abc")
    assert last_lines(new_lines.cluster, new_lines.cluster.pods(JOB)[0], 2) == ["b", "c"]
    api.faults.append(Fault("GET", "/log", 403, "forbidden"))
    (line,) = last_lines(new_lines.cluster, new_lines.cluster.pods(JOB)[0], 2)
    assert line.startswith("(cannot read logs (pods/log) in namespace uae")
