import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from uae.errors import StoreError
from uae.store.embedded import EmbeddedStore
from uae.store.faults import Backoff
from uae.store.s3 import Store, parse_endpoint

PARENT = """
    import sys, time
    from pathlib import Path
    from uae.store.embedded import EmbeddedStore
    with EmbeddedStore(Path(sys.argv[1])) as server:
        server.store().put_bytes("before", b"kept")
        print(server.pid, server.endpoint, flush=True)
        time.sleep(120)
"""


@pytest.fixture
def parent(tmp_path):
    """Another process that runs a server on tmp_path/store, and that server's pid."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path / "store")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.server_pid, process.endpoint = process.stdout.readline().split()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def ends(pid, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def socket_files(port):
    return [*Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


def impatient(server):
    host, _ = parse_endpoint(server.endpoint)
    return Store(
        host, server.bucket, server.access_key, server.secret_key, False, backoff=Backoff(3, 0.05)
    )


def test_listens_on_loopback_only(server):
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(server.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 10
    assert set(listening) == {"127.0.0.1"}


def test_secret_is_on_no_command_line_and_in_no_file(server):
    assert server.secret_key not in " ".join(psutil.Process(server.pid).cmdline())
    for path in server.folder.rglob("*"):
        if path.is_file():
            assert server.secret_key.encode() not in path.read_bytes(), path


def test_credentials_differ_from_run_to_run(tmp_path):
    first, second = EmbeddedStore(tmp_path), EmbeddedStore(tmp_path)
    assert first.secret_key != second.secret_key
    assert first.access_key != second.access_key


def test_restart_keeps_the_data_and_not_the_credentials(tmp_path):
    with EmbeddedStore(tmp_path / "store") as first:
        first.store().put_bytes("a/b", b"kept")
        old_pid = first.pid
    assert ends(old_pid, 0.1)
    with EmbeddedStore(tmp_path / "store") as second:
        assert second.store().get_bytes("a/b") == b"kept"
        host, _ = parse_endpoint(second.endpoint)
        with pytest.raises(StoreError, match="credentials refused"):
            Store(host, "uae", first.access_key, first.secret_key, False).list("")
        port = int(second.endpoint.rsplit(":", 1)[1])
    assert not socket_files(port)


def test_second_server_on_a_folder_names_the_holder(server):
    with pytest.raises(
        StoreError, match=f'in use by another embedded store .*"pid": {os.getpid()}'
    ):
        EmbeddedStore(server.folder).start()
    assert psutil.pid_exists(server.pid)


def test_server_killed_in_use_gives_a_clear_error(tmp_path):
    with EmbeddedStore(tmp_path / "store") as server:
        store = impatient(server)
        store.put_bytes("a", b"1")
        os.kill(server.pid, signal.SIGKILL)
        assert ends(server.pid)
        with pytest.raises(StoreError, match=r"no connection .*in 3 attempts"):
            store.put_bytes("b", b"1")


def test_server_that_pauses_is_waited_for(tmp_path):
    with EmbeddedStore(tmp_path / "store") as server:
        host, _ = parse_endpoint(server.endpoint)
        keys = (server.access_key, server.secret_key)
        patient = Backoff(10, 0.1)
        store = Store(host, server.bucket, *keys, False, backoff=patient, read_seconds=0.5)
        store.put_bytes("a", b"1")
        os.kill(server.pid, signal.SIGSTOP)
        threading.Timer(1.2, os.kill, (server.pid, signal.SIGCONT)).start()
        assert store.get_bytes("a") == b"1"


def test_server_dies_with_a_killed_parent_and_data_survives(parent, tmp_path):
    os.kill(parent.pid, signal.SIGKILL)
    assert ends(int(parent.server_pid))
    with EmbeddedStore(tmp_path / "store") as server:
        assert server.store().get_bytes("before") == b"kept"
    assert not socket_files(int(parent.endpoint.rsplit(":", 1)[1]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_parent_stops_the_server_in_order(parent, tmp_path, number):
    os.kill(parent.pid, number)
    assert parent.wait(20) != 0
    assert ends(int(parent.server_pid), 0.2)
    assert "Shutting down SeaweedFS Mini" in (tmp_path / "store/server.log").read_text()
    port = int(parent.endpoint.rsplit(":", 1)[1])
    assert not socket_files(port)


def test_terminal_interrupt_does_not_reach_the_server_first(parent):
    assert os.getpgid(int(parent.server_pid)) != os.getpgid(parent.pid)


def test_server_outlives_the_thread_that_started_it(tmp_path):
    server = EmbeddedStore(tmp_path / "store")
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.3)
        server.store().put_bytes("a", b"1")
    finally:
        server.stop()


def test_server_that_cannot_start_shows_its_log(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/filerldb2").write_text("in the way")
    with pytest.raises(StoreError, match=r"the embedded store ended; the end of .*server\.log"):
        EmbeddedStore(tmp_path).start()
    (tmp_path / "data/filerldb2").unlink()
    with EmbeddedStore(tmp_path) as server:
        assert json.loads((tmp_path / "lock.json").read_text())["server_pid"] == server.pid


def test_a_port_taken_meanwhile_is_answered_with_other_ports(tmp_path, monkeypatch):
    from uae.store import embedded

    taken = socket.create_server(("127.0.0.1", 0))
    drawn = []
    free_ports = embedded.free_ports

    def draw():
        drawn.append(free_ports())
        if len(drawn) == 1:
            drawn[0]["s3"] = taken.getsockname()[1]
        return drawn[-1]

    monkeypatch.setattr(embedded, "free_ports", draw)
    with EmbeddedStore(tmp_path) as server:
        assert server.store().list("") == []
    assert len(drawn) == 2
    taken.close()
