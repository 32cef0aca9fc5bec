"""Entries of fake workers: real processes that behave, or misbehave, in one way each. They carry no traffic.

A listener answers each connection with one line: the process id and the greeting of the worker's configuration.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
import time

from hyperion.channel import Channel, open_worker_end
from hyperion.loop import run
from hyperion.privileges import harden_worker
from hyperion.proto.admins import Roster
from hyperion.proto.control import (
    ClientWorkerConfig,
    Drain,
    Fault,
    Heartbeat,
    Poll,
    Ready,
    ServerPolicy,
    ServerWorkerConfig,
    SessionClosed,
    SessionOpened,
    Stop,
    SupervisorToWorker,
    TunnelState,
)

HEARTBEAT_INTERVAL = 0.1
BEAT = Heartbeat(1, 2, 3, 4, 5, 6)
Control = Channel[SupervisorToWorker]
Sockets = list[socket.socket]


class Obedient:
    """Serves, beats, drains and stops as it is told. Drains only when ``drains`` says so."""

    def __init__(self, channel: Control, config: ServerWorkerConfig | ClientWorkerConfig, drains: bool) -> None:
        self.channel = channel
        self.config = config
        self.drains = drains
        self.ports = _ports(config.admins) if isinstance(config, ServerWorkerConfig) else ()

    def greeting(self) -> str:
        modules = sorted({name for name in sys.modules if name.startswith("hyperion.cli")})
        return f"{os.getpid()} {','.join(map(str, self.ports)) or '-'} {modules or '-'}\n"

    async def answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting().encode())
        writer.close()

    async def beat(self) -> None:
        while True:
            self.channel.send(BEAT)
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def obey(self) -> None:
        while True:
            match await self.channel.receive():
                case ServerPolicy(admins=admins):
                    self.ports = _ports(admins)
                case Poll():
                    self.channel.send(BEAT)
                case Drain() if not self.drains:
                    continue
                case Stop() | Drain() | None:
                    return
                case unexpected:
                    raise AssertionError(unexpected)


def _ports(admins: Roster) -> tuple[int, ...]:
    return admins.lists[0] if admins.lists else ()


async def _serve(
    channel_socket: socket.socket,
    listeners: Sockets,
    *,
    drains: bool = True,
    beats: bool = True,
    sessions: bool = False,
) -> None:
    channel = await open_worker_end(channel_socket)
    config = await channel.receive()
    if not isinstance(config, ServerWorkerConfig | ClientWorkerConfig):
        return
    worker = Obedient(channel, config, drains)
    for listener in listeners:
        await asyncio.start_server(worker.answer, sock=listener)
    if isinstance(config, ClientWorkerConfig):
        channel.send(TunnelState(1, config.pool_size, None, 0.01))
    channel.send(Ready(os.getpid()))
    if sessions:
        names = (f"first of {os.getpid()}", f"second of {os.getpid()}")
        for name in names:
            channel.send(SessionOpened(name, "192.0.2.9", 4711, "alice", None, 0.0))
        channel.send(SessionClosed(names[0]))
    beating = asyncio.create_task(worker.beat()) if beats else None
    await worker.obey()
    if beating is not None:
        beating.cancel()
    channel.close()


def obedient(channel: socket.socket, listeners: Sockets) -> None:
    harden_worker()
    run(lambda: _serve(channel, listeners, drains=True), loop="asyncio")


def with_sessions(channel: socket.socket, listeners: Sockets) -> None:
    """Two came, one has left."""
    run(lambda: _serve(channel, listeners, sessions=True), loop="asyncio")


def silent_unless_asked(channel: socket.socket, listeners: Sockets) -> None:
    run(lambda: _serve(channel, listeners, beats=False), loop="asyncio")


def busy(channel: socket.socket, listeners: Sockets) -> None:
    """Has streams that never end: a drain does not end it, an order to stop does."""
    run(lambda: _serve(channel, listeners, drains=False), loop="asyncio")


def stubborn(channel: socket.socket, listeners: Sockets) -> None:
    """Becomes ready and then hears nothing any more, not even the end of its channel."""
    _say(channel, Ready(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        channel.sendall(_frame(Heartbeat(0, 0, 0, 0, 0, 0)))
        time.sleep(HEARTBEAT_INTERVAL)


def stuck(channel: socket.socket, listeners: Sockets) -> None:
    """Becomes ready and loops for ever."""
    _say(channel, Ready(os.getpid()))
    while True:
        time.sleep(0.01)


def never_ready(channel: socket.socket, listeners: Sockets) -> None:
    time.sleep(3600)


def reads_nothing(channel: socket.socket, listeners: Sockets) -> None:
    """Says which modules it had to read from disk to get here."""
    preloaded: frozenset[str] = vars(sys.modules["tests.helpers.fake_preload"])["PRELOADED"]
    channel.sendall(f"new: {sorted(set(sys.modules) - preloaded)}".encode())


def crashes(channel: socket.socket, listeners: Sockets) -> None:
    raise SystemExit(3)


def wrong_configuration(channel: socket.socket, listeners: Sockets) -> None:
    _say(channel, Fault("the listener is unusable", 78))
    raise SystemExit(78)


def crashes_once_ready(channel: socket.socket, listeners: Sockets) -> None:
    _say(channel, Ready(os.getpid()))
    os.kill(os.getpid(), signal.SIGSEGV)


def gives_up_once_ready(channel: socket.socket, listeners: Sockets) -> None:
    """Like ``wrong_configuration``, but after it was ready."""
    _say(channel, Ready(os.getpid()))
    raise SystemExit(78)


def garbage(channel: socket.socket, listeners: Sockets) -> None:
    _misbehave(channel, struct.pack(">I", 9) + b"\xc1 garbage")


def oversized(channel: socket.socket, listeners: Sockets) -> None:
    _misbehave(channel, struct.pack(">I", 64 * 1024 + 1))


def wrong_direction(channel: socket.socket, listeners: Sockets) -> None:
    _misbehave(channel, _frame(Stop()))


def out_of_turn(channel: socket.socket, listeners: Sockets) -> None:
    _misbehave(channel, _frame(Ready(os.getpid())))


def impostor(channel: socket.socket, listeners: Sockets) -> None:
    _say(channel, Ready(1))
    time.sleep(3600)


def _frame(message: object) -> bytes:
    import msgspec

    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


def _say(channel: socket.socket, message: object) -> None:
    channel.setblocking(True)
    channel.sendall(_frame(message))


def _misbehave(channel: socket.socket, data: bytes) -> None:
    """Ready, then what no worker may say; then waits for what it deserves."""
    _say(channel, Ready(os.getpid()))
    channel.sendall(data)
    time.sleep(3600)
