"""A peer is a way to reach the service: directly, through two relays, through ``ssh -L``, through hyperion.

All of them are up during the whole run and take turns, so what else happens on the machine happens to all of them.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bench.bulk import Address
from bench.child import LOOK_INTERVAL, Child, ChildError

#: Service name ("bulk", "echo") to its loopback port.
Ports = Mapping[str, int]

#: Seconds until a peer carries its first connection.
START_TIMEOUT = 30.0

LOOPBACK = "127.0.0.1"


class Peer(Protocol):
    """What the suites need to know of a way to the service."""

    name: str

    def start(self, ports: Ports) -> None:
        """Be ready to carry connections to these ports. Raises ChildError."""

    def address(self, service: str) -> Address:
        """Where to connect for this service."""

    def pids(self) -> dict[str, list[int]]:
        """Pids whose memory grows with the streams carried, by side: "client", "server"."""

    def stop(self) -> None:
        """End everything it started; may be called twice."""


class Raw:
    """No tunnel at all."""

    def __init__(self) -> None:
        self.name = "raw loopback"
        self._ports: Ports = {}

    def start(self, ports: Ports) -> None:
        self._ports = ports

    def address(self, service: str) -> Address:
        return LOOPBACK, self._ports[service]

    def pids(self) -> dict[str, list[int]]:
        return {}

    def stop(self) -> None:
        """Nothing was started."""


class TwoRelays:
    """Two unencrypted relays in a row, like the two ends of a tunnel."""

    def __init__(self) -> None:
        self.name = "uvloop relay"
        self._ports: Ports = {}
        self._hops: list[Child] = []

    def start(self, ports: Ports) -> None:
        names = list(ports)
        through = list(ports.values())
        for side in ("server", "client"):
            hop = Child(f"relay-{side}", [sys.executable, "-m", "bench.relay", *map(str, through)])
            self._hops.append(hop)
            through = json.loads(hop.wait_line(r"^\[.*\]$", START_TIMEOUT).group())
        self._ports = dict(zip(names, through, strict=True))

    def address(self, service: str) -> Address:
        return LOOPBACK, self._ports[service]

    def pids(self) -> dict[str, list[int]]:
        server, client = (hop.pid for hop in self._hops)
        return {"client": [client], "server": [server]}

    def stop(self) -> None:
        while self._hops:
            self._hops.pop().stop()


def port_is_open(address: Address) -> bool:
    try:
        with socket.create_connection(address, timeout=1.0):
            return True
    except OSError:
        return False


def wait_for_port(address: Address, child: Child, timeout: float = START_TIMEOUT) -> None:
    """For programs that do not say when they listen (``ssh -N``). Raises ChildError."""
    deadline = time.monotonic() + timeout
    while not port_is_open(address):
        if not child.running or time.monotonic() > deadline:
            raise ChildError(f"{child.name} does not listen on port {address[1]}", child.tail())
        child.wait_ended(LOOK_INTERVAL)


def write_private(path: Path, text: str) -> Path:
    """A new file only its owner may read, from the first byte on. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def stop_all(peers: Sequence[Peer]) -> None:
    """Stop the last one started first, and each even if another's stop fails."""
    with contextlib.ExitStack() as stack:
        for peer in peers:
            stack.callback(peer.stop)
