"""Loopback ports for the embedded server, and the socket files that it names after them."""

import random
import socket
from collections.abc import Iterable
from pathlib import Path

from uae.errors import StoreError

HOST = "127.0.0.1"
PORT_NAMES = ("s3", "filer", "master", "volume", "admin")
GRPC_OFFSET = 10_000  # weed opens every port a second time this much higher
FIRST_PORT, LAST_PORT = 12_000, 22_700  # so that neither is in Linux's ephemeral range
SOCKET_FOLDER = Path("/tmp")  # fixed in weed


def free_ports() -> dict[str, int]:
    """Draw a free port for each part of the server, free 10,000 higher as well.

    Raises:
        StoreError: If 1,000 draws do not find them.
    """
    draw = random.SystemRandom()
    ports: dict[str, int] = {}
    for _ in range(1000):
        port = draw.randint(FIRST_PORT, LAST_PORT)
        if port not in ports.values() and _is_free(port) and _is_free(port + GRPC_OFFSET):
            ports[PORT_NAMES[len(ports)]] = port
        if len(ports) == len(PORT_NAMES):
            return ports
    raise StoreError(f"no free ports between {FIRST_PORT} and {LAST_PORT} on {HOST}")


def remove_sockets(ports: Iterable[int]) -> None:
    """Remove the socket files that a stopped server on these ports has left in /tmp."""
    for port in ports:
        for number in (port, port + GRPC_OFFSET):
            for path in SOCKET_FOLDER.glob(f"seaweedfs-*-{number}.sock"):
                path.unlink(missing_ok=True)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
