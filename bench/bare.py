"""Two workers without a supervisor: one server worker, one client worker, started straight from their entry points.

For work on the worker itself: with cProfile inside it, or alone. Uses the internals of ``hyperion``; the figures of a
run do not.

``python -m bench.bare ENTRY PROFILE CHANNEL LISTENER...`` is one such worker: entry point, file for the profile ("" for
none), numbers of inherited descriptors.
"""

import cProfile
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.bulk import Address
from bench.child import Child, ChildError
from bench.peers import LOOPBACK, START_TIMEOUT, Ports, wait_for_port
from hyperion.framing import LENGTH, encode
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import (
    ClientWorkerConfig,
    ForwardRule,
    LogSettings,
    Message,
    Ready,
    ServerWorkerConfig,
    WorkerToSupervisor,
)
from hyperion.proto.keys import KEY_LENGTH, PrivateKey
from hyperion.worker.main import client_worker, server_worker

ENTRIES = {"server": server_worker, "client": client_worker}

#: As the supervisor's.
BACKLOG = 1024


class BareWorkers:
    """A peer. ``profiles`` is the directory for ``server.prof`` and ``client.prof``, or None."""

    def __init__(self, profiles: Path | None = None, pool_size: int = 2, log_level: str = "info") -> None:
        self.name = "two bare workers"
        self._profiles = profiles
        self._pool_size = pool_size
        self._log = LogSettings(format="json", level=log_level)
        self._local: dict[str, int] = {}
        self._running: list[tuple[Child, socket.socket]] = []

    def start(self, ports: Ports) -> None:
        server_key, admin_key = (PrivateKey.from_entropy(secrets.token_bytes(KEY_LENGTH)) for _ in range(2))
        psk = secrets.token_bytes(KEY_LENGTH)
        tunnel = listen()
        port = port_of(tunnel)
        admin = AdminRule(admin_key.public().raw, "bench", tuple(ports.values()))
        self._start_worker(
            "server",
            ServerWorkerConfig("0", server_key.raw, psk, Roster.of([admin]), 3.0, "bench", self._log),
            [tunnel],
        )
        listeners = [listen() for _ in ports]
        self._local = {name: port_of(each) for name, each in zip(ports, listeners, strict=True)}
        rules = tuple(ForwardRule(f"{LOOPBACK}:{self._local[name]}", port) for name, port in ports.items())
        client = self._start_worker(
            "client",
            ClientWorkerConfig(
                "bench",
                LOOPBACK,
                port,
                server_key.public().raw,
                admin_key.raw,
                psk,
                self._pool_size,
                rules,
                self._log,
            ),
            listeners,
        )
        for service in ports:
            wait_for_port(self.address(service), client)

    def address(self, service: str) -> Address:
        return LOOPBACK, self._local[service]

    def pids(self) -> dict[str, list[int]]:
        server, client = (child.pid for child, _ in self._running)
        return {"client": [client], "server": [server]}

    def stop(self) -> None:
        """Closing the control channel is the order to end."""
        while self._running:
            child, channel = self._running.pop()
            channel.close()
            child.wait_ended(START_TIMEOUT)
            child.stop()

    def _start_worker(self, side: str, config: Message, listeners: Sequence[socket.socket]) -> Child:
        ours, theirs = socket.socketpair()
        profile = "" if self._profiles is None else str(self._profiles / f"{side}.prof")
        descriptors = [theirs.fileno(), *(listener.fileno() for listener in listeners)]
        command = [sys.executable, "-m", "bench.bare", side, profile, *map(str, descriptors)]
        child = Child(f"{side} worker", command, descriptors=descriptors)
        self._running.append((child, ours))
        for each in (theirs, *listeners):
            each.close()
        ours.settimeout(START_TIMEOUT)
        ours.sendall(encode(config))
        if not isinstance(read_message(ours), Ready):
            raise ChildError(f"the {side} worker is not ready", child.tail())
        return child


def listen() -> socket.socket:
    return socket.create_server((LOOPBACK, 0), backlog=BACKLOG)


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def read_message(channel: socket.socket) -> object:
    """The worker's first message; None if it ended instead."""
    try:
        header = channel.recv(LENGTH.size, socket.MSG_WAITALL)
    except ConnectionResetError:
        return None
    if len(header) < LENGTH.size:
        return None
    body = channel.recv(LENGTH.unpack(header)[0], socket.MSG_WAITALL)
    return msgspec.msgpack.decode(body, type=WorkerToSupervisor)  # type: ignore[arg-type,unused-ignore]


def main(side: str, profile: str, *descriptors: str) -> None:
    channel, *listeners = (socket.socket(fileno=int(descriptor)) for descriptor in descriptors)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    try:
        ENTRIES[side](channel, listeners)
    finally:
        profiler.disable()
        if profile:
            profiler.dump_stats(profile)


if __name__ == "__main__":
    main(*sys.argv[1:])
