"""Hosts of a cluster on one machine: network namespaces (iproute2) that a switch connects.

A host has a name, an address and a loopback of its own, and no way to the machine's network. The
switch is a namespace too, which has the object store. The test reaches it, not the hosts.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

NAMES = Path("/etc/netns")  # `ip netns exec` shows a namespace's files here as those in /etc
PREFIX_BITS = 24
REASON = "two hosts need root, network namespaces and the command ip (Debian package iproute2)"


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def require_namespaces() -> None:
    """Skip the test where the machine gives none."""
    probe = f"uae-{os.getpid()}-probe"
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip(REASON)
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True)
    if made.returncode == 0:
        runs = subprocess.run(["ip", "netns", "exec", probe, "true"], capture_output=True)
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=True)
    if made.returncode or runs.returncode:
        pytest.skip(REASON)


class Host:
    """A host with its processes."""

    def __init__(self, namespace: str, name: str, address: str, log: Path) -> None:
        self.namespace, self.name, self.address, self.log = namespace, name, address, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, module: str, *words: str, variables: dict[str, str]) -> None:
        """Start a Python module; what it says is added to the log."""
        inside = ["ip", "netns", "exec", self.namespace]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*inside, sys.executable, "-m", module, *words],
                env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self, seconds: float) -> int:
        """Return the exit code of what was started."""
        assert self._process is not None
        return self._process.wait(seconds)

    def processes(self) -> list[psutil.Process]:
        """Return what was started and all below it."""
        if self._process is None or self._process.poll() is not None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def lose(self) -> None:
        """Cut the network, then end everything: nobody hears of it."""
        ip("-n", self.namespace, "link", "set", "eth0", "down")
        self.kill()

    def come_back(self) -> None:
        """Connect the network; nothing runs yet."""
        ip("-n", self.namespace, "link", "set", "eth0", "up")

    def kill(self) -> None:
        found = self.processes()
        for process in found:
            with_signal(process, signal.SIGSTOP)  # none of them may see another one die
        for process in found:
            with_signal(process, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


def with_signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


class Switch:
    """What connects the hosts, with an address in their network."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace, self.address = namespace, address


@contextmanager
def connected_hosts(names: list[str], folder: Path) -> Iterator[tuple[Switch, list[Host]]]:
    """Make hosts that know each other by name; all is gone at the end."""
    number = os.getpid()
    net = f"198.18.{number % 256}"  # of the range for tests of networks, RFC 2544
    switch = Switch(f"uae-{number}-switch", f"{net}.1")
    hosts = [
        Host(f"uae-{number}-{place}", name, f"{net}.{place + 10}", folder / f"{name}.log")
        for place, name in enumerate(names)
    ]
    made = [switch.namespace, *(host.namespace for host in hosts)]
    try:
        _make_switch(switch, f"{net}.2", number)
        known = "".join(f"{host.address} {host.name}\n" for host in hosts)
        for place, host in enumerate(hosts):
            _connect(host, switch, f"p{place}")
            _names(host.namespace).mkdir(parents=True)
            (_names(host.namespace) / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        yield switch, hosts
    finally:
        for host in hosts:
            host.kill()
        for namespace in made:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
            shutil.rmtree(_names(namespace), ignore_errors=True)


def _make_switch(switch: Switch, own_address: str, number: int) -> None:
    own = f"uae{number}"
    ip("netns", "add", switch.namespace)
    inside = ["-n", switch.namespace]
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "link", "add", "switch", "type", "bridge")
    ip(*inside, "address", "add", f"{switch.address}/{PREFIX_BITS}", "dev", "switch")
    ip(*inside, "link", "set", "switch", "up")
    ip("link", "add", own, "type", "veth", "peer", "name", "test", "netns", switch.namespace)
    ip(*inside, "link", "set", "test", "master", "switch", "up")
    ip("address", "add", f"{own_address}/{PREFIX_BITS}", "dev", own)
    ip("link", "set", own, "up")


def _connect(host: Host, switch: Switch, port: str) -> None:
    ip("netns", "add", host.namespace)
    inside = ["-n", host.namespace]
    ip(*inside, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns",
       switch.namespace)  # fmt: skip
    ip("-n", switch.namespace, "link", "set", port, "master", "switch", "up")
    ip(*inside, "address", "add", f"{host.address}/{PREFIX_BITS}", "dev", "eth0")
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "link", "set", "eth0", "up")


def _names(namespace: str) -> Path:
    return NAMES / namespace
