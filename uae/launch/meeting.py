"""Where the nodes of a job meet: the arguments and variables that torchrun and gloo need for it.

A TrainJob tells each of its pods, by PET_ variables, how many nodes there are, which one it is and
where node 0 is. torchrun's own way to meet by these (`static`) cannot meet a second time: its store
would still hold the first meeting's keys. So node 0 keeps the store of a `c10d` rendezvous at that
address, which any of the others may leave and join again.
"""

from __future__ import annotations

import socket
import time
import uuid
from argparse import Namespace
from typing import Self

import psutil

from uae.errors import ClusterError, ResourcesError

# How long a node waits for the others: one may need a new machine, which needs the image.
PATIENCE_SECONDS = 900
POLL_SECONDS = 1.0
RENDEZVOUS = "uae"  # one job has one, in a store of its own
# Each meeting gets a store of its own in place of one that holds the keys of those before.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
INTERFACE_VARIABLE = "GLOO_SOCKET_IFNAME"


class NodeAddress(str):
    """A node's address that sorts by the node's number.

    A c10d rendezvous gives ranks in the order of the addresses, as texts: 10.0.0.10 comes before
    10.0.0.9. With these rank 0 is on node 0 at every meeting, whose log is the step's.
    """

    number: int

    def __new__(cls, address: str, number: int) -> Self:
        """Give an address a number."""
        made = super().__new__(cls, address)
        made.number = number
        return made

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]  # nodes exchange these
        """Return what makes the copy in another node."""
        return str(self), self.number

    def __lt__(self, other: str) -> bool:
        """Compare the numbers. All nodes of a job have one."""
        if not isinstance(other, NodeAddress):
            return NotImplemented
        return (self.number, str(self)) < (other.number, str(other))


def arrange_meeting(asked: Namespace) -> dict[str, str]:
    """Say in torchrun's arguments where the processes meet; return variables that they need.

    Args:
        asked: torchrun's arguments, which are changed.

    Raises:
        ResourcesError: If the number of nodes is not one number.
        ClusterError: If this node does not find node 0.
    """
    fewest, _, most = str(asked.nnodes).partition(":")
    nodes = int(fewest)
    if most not in {"", fewest}:
        raise ResourcesError(
            f"--nnodes={asked.nnodes}: give one number; batches are shared out among a fixed "
            "number of processes. To go on with another one, start the task anew: its checkpoints "
            "fit any number"
        )
    asked.rdzv_backend = "c10d"
    if asked.standalone or nodes == 1:
        asked.rdzv_endpoint, asked.rdzv_id = "localhost:0", str(uuid.uuid4())
        return OWN_STORE
    port = int(asked.master_port or 0)
    if not asked.master_addr or not port:
        raise ResourcesError(
            f"{nodes} nodes, but no place to meet: give --master-addr and --master-port of node 0, "
            "or PET_MASTER_ADDR and PET_MASTER_PORT, which a TrainJob's pods get"
        )
    number = int(asked.node_rank or 0)
    asked.node_rank = 0  # c10d takes none
    asked.local_addr = NodeAddress(address_towards(asked.master_addr, port), number)
    asked.rdzv_endpoint, asked.rdzv_id = f"{asked.master_addr}:{port}", RENDEZVOUS
    asked.rdzv_conf = (
        f"is_host={number == 0},join_timeout={PATIENCE_SECONDS},read_timeout={PATIENCE_SECONDS}"
    )
    return OWN_STORE | {INTERFACE_VARIABLE: interface_of(asked.local_addr)}


def address_towards(host: str, port: int, *, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Return the address of this node by which a host sees it.

    A node's own name is no good for it: in many it stands for 127.0.1.1, and it may not be known
    outside. A host's name is known only when its pod has started.

    Raises:
        ClusterError: If there is no way to the host.
    """
    until = time.monotonic() + patience_seconds
    while True:
        try:
            (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # sends nothing: it only chooses the way
                return str(probe.getsockname()[0])
        except OSError as error:
            if time.monotonic() > until:
                raise ClusterError(
                    f"node 0 is not to be found at {host}, for {patience_seconds:.0f} s ({error}): "
                    "look whether its pod runs, and for network policies"
                ) from error
        time.sleep(POLL_SECONDS)


def interface_of(address: str) -> str:
    """Return the name of the network interface that has an address."""
    for name, found in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in found):
            return name
    raise ClusterError(f"no network interface of this node has the address {address}")
