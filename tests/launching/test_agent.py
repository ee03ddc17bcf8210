"""When a node's processes are started again, and with what exit code torchrun ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from uae.errors import ClusterError, DataError, ResourcesError, StoreError
from uae.launch import agent, meeting
from uae.launch.failures import FAILED, FINAL, INTERRUPTED, WorkerFailure
from uae.launch.meeting import address_towards, arrange_meeting, interface_of
from uae.launch.task import write_abandoned, write_failure
from uae.launch.task_places import LocalPlace

WORKER = "launching.counted_worker"
PROGRAM = f"""
import sys
from uae.launch import agent
agent.WORKER = "{WORKER}"
sys.exit(agent.main())
"""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Ended(NamedTuple):
    code: int
    tries: int
    said: str


class Torchrun:
    """Runs one process in a folder, in this process, which has imported torch already."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd

    def __call__(self, *endings: int) -> Ended:
        (self.folder / "endings-0.json").write_text(json.dumps(endings))
        code = agent.main()
        tries = self.folder / "tries-0"
        said = self._capfd.readouterr()
        number = len(tries.read_text()) if tries.exists() else 0
        return Ended(code, number, "".join(said))


@pytest.fixture
def torchrun(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Torchrun]:
    words = ["agent", "--nproc-per-node=1", "--max-restarts=2", "-m", WORKER, str(tmp_path)]
    monkeypatch.setattr(agent, "WORKER", WORKER)
    monkeypatch.setattr(sys, "argv", words)
    environment, handlers = (
        dict(os.environ),
        {number: signal.getsignal(number) for number in SIGNALS},
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    yield Torchrun(tmp_path, capfd)
    os.environ.clear()
    os.environ |= environment
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_process_that_is_lost_is_started_again(torchrun: Torchrun) -> None:
    code, tries, said = torchrun(-signal.SIGKILL, FAILED, 0)
    assert (code, tries) == (0, 3)
    assert re.findall(r"rank 0 .*", said) == [
        "rank 0 was killed by SIGKILL; restart 1 of 2: the processes meet again",
        "rank 0 ended with exit code 1; restart 2 of 2: the processes meet again",
    ]


@pytest.mark.parametrize(
    ("ending", "code"),
    [(FINAL, FINAL), (INTERRUPTED, INTERRUPTED), (-signal.SIGTERM, INTERRUPTED)],
)
def test_process_that_would_end_so_again_is_not(torchrun: Torchrun, ending: int, code: int) -> None:
    assert torchrun(ending)[:2] == (code, 1)


def test_last_failure_is_told_when_no_restarts_are_left(torchrun: Torchrun) -> None:
    code, tries, said = torchrun(FAILED, FAILED, -signal.SIGKILL)
    assert (code, tries) == (FAILED, 3)
    assert said.splitlines()[-1] == "rank 0 was killed by SIGKILL"


@pytest.mark.parametrize("what", ["final", "abandoned"])
def test_what_an_earlier_try_found_final_ends_the_next_one_at_once(
    torchrun: Torchrun, what: str
) -> None:
    place = LocalPlace(torchrun.folder)
    write_failure(place, WorkerFailure.of(StoreError("away"), 0))
    if what == "final":
        write_failure(place, WorkerFailure.of(DataError("no split heldout"), 1))
    else:
        write_abandoned(place, "nobody follows it")
    code, tries, said = torchrun(0)
    assert (code, tries) == (FINAL, 0)
    told = {"final": "DataError: no split heldout", "abandoned": "nobody follows it"}[what]
    assert said.splitlines()[-1] == f"an earlier try ended with {told}"


def test_error_that_comes_again_ends_the_other_node_too(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "endings-0.json").write_text(
        json.dumps([FAILED, 0])
    )  # as when it has lost its peer
    (tmp_path / "endings-1.json").write_text(json.dumps([FINAL, 0]))
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    meeting = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    words = ["--nproc-per-node=1", "--max-restarts=2", "-m", WORKER, str(tmp_path)]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=os.environ | meeting | {"PET_NODE_RANK": str(rank), "PYTHONPATH": paths},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [node.communicate(timeout=60)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [FINAL, FINAL], said
    assert {(tmp_path / f"tries-{node}").read_text() for node in range(2)} == {"x"}


def test_sigterm_before_the_nodes_have_met_ends_it_at_once(
    torchrun: Torchrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: Namespace) -> dict[str, str]:
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr(agent, "arrange_meeting", wait)
    code, tries, said = torchrun(0)
    assert (code, tries) == (INTERRUPTED, 0)
    assert said.splitlines()[-1] == "stopped by SIGTERM"


def arguments(**changes: object) -> Namespace:
    values = {"standalone": False, "nnodes": "2", "node_rank": 0, "local_addr": None,
              "master_addr": "127.0.0.1", "master_port": 29500}  # fmt: skip
    return Namespace(**values | changes)


def test_nodes_meet_at_node_0() -> None:
    loopback = next(
        name
        for name, found in psutil.net_if_addrs().items()
        if any(each.address == "127.0.0.1" for each in found)
    )
    for rank, is_host in ((0, True), (1, False)):
        asked = arguments(node_rank=rank)
        assert arrange_meeting(asked)["GLOO_SOCKET_IFNAME"] == loopback
        assert (asked.rdzv_backend, asked.rdzv_endpoint) == ("c10d", "127.0.0.1:29500")
        assert asked.local_addr == "127.0.0.1"
        assert f"is_host={is_host}," in asked.rdzv_conf


def test_rank_0_is_on_node_0_whatever_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["10.0.0.10", "10.0.0.9", "10.0.0.1"]  # as texts .1 < .10 < .9
    monkeypatch.setattr(meeting, "interface_of", lambda _: "eth0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    handlers = []
    for node, address in enumerate(addresses):
        monkeypatch.setattr(meeting, "address_towards", lambda *_, address=address: address)
        asked = arguments(nnodes="3", node_rank=node, master_port=port)
        for name, value in arrange_meeting(asked).items():
            monkeypatch.setenv(name, value)
        settings = dict(setting.split("=") for setting in asked.rdzv_conf.split(","))
        where = (asked.rdzv_backend, asked.rdzv_endpoint, asked.rdzv_id)
        parameters = RendezvousParameters(*where, 3, 3, asked.local_addr, **settings)
        handlers.append(get_rendezvous_handler(parameters))
    with ThreadPoolExecutor() as nodes:
        met = list(nodes.map(lambda handler: handler.next_rendezvous(), handlers))
    assert [one.rank for one in met] == [0, 1, 2]
    assert {one.bootstrap_store_info.master_addr for one in met} == {addresses[0]}
    for handler in reversed(handlers):
        handler.shutdown()


@pytest.mark.parametrize("alone", [{"standalone": True}, {"nnodes": "1"}])
def test_one_node_meets_nobody(alone: dict[str, object]) -> None:
    asked = arguments(**alone)
    assert "GLOO_SOCKET_IFNAME" not in arrange_meeting(asked)
    assert asked.rdzv_endpoint == "localhost:0"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"nnodes": "1:4"}, "--nnodes=1:4: give one number"), ({"master_addr": ""}, "no place")],
)
def test_meeting_that_cannot_be_is_refused(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ResourcesError, match=text):
        arrange_meeting(arguments(**wrong))


def test_node_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "POLL_SECONDS", 0.01)
    with pytest.raises(ClusterError, match=r"not to be found at uae\.invalid, for 0 s"):
        address_towards("uae.invalid", 29500, patience_seconds=0.02)
    with pytest.raises(ClusterError, match="no network interface of this node has the address"):
        interface_of("192.0.2.1")
