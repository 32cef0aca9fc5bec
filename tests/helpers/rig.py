"""A server worker and a client worker in this process, real loopback sockets between them, and ways to break things.

``async with Rig(target.port) as rig`` gives a running pair; ``rig.open()`` connects an application to the forward.
Whatever the event loop has to complain about (an exception in a callback, above all) fails the test at the end.
"""

import asyncio
import contextlib
import hashlib
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from hyperion.events import LogEvent
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import (
    ClientWorkerConfig,
    ForwardRule,
    LogSettings,
    ServerPolicy,
    ServerWorkerConfig,
    TunnelState,
    WorkerToSupervisor,
)
from hyperion.proto.keys import PrivateKey
from hyperion.worker.client import ClientWorker
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.connector import Target
from hyperion.worker.server import ServerWorker

SERVER_SECRET, ADMIN_SECRET, PSK = bytes([0x22] * 32), bytes([0x11] * 32), bytes(range(32))
#: Seconds after which a wait in a test is a failure.
WAIT_SECONDS = 15.0

#: What the kernel holds for a link, each way; small, so that a stalled one is soon full.
LINK_BUFFER_BYTES = 64 * 1024

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def public(secret: bytes) -> bytes:
    """The raw public key."""
    return PrivateKey.from_entropy(secret).public().raw


SERVER, ADMIN = public(SERVER_SECRET), public(ADMIN_SECRET)


def listen() -> socket.socket:
    """A listening socket as the supervisor makes them."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sock.setblocking(False)
    return sock


def port_of(sock: socket.socket) -> int:
    """Where it listens."""
    port: int = sock.getsockname()[1]
    return port


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat, the same each time."""
    return random.Random(seed).randbytes(size)


async def until(condition: Callable[[], object], timeout: float = WAIT_SECONDS) -> None:
    """Wait for something that tells nobody when it happens."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


class Logged(NamedTuple):
    """One event of the log."""

    what: LogEvent
    reason: str | None
    fields: dict[str, object]


class Events:
    """Stands in for ``hyperion.log.event`` and remembers."""

    def __init__(self) -> None:
        self.all: list[Logged] = []

    def event(
        self,
        what: LogEvent,
        fields: Mapping[str, object] | None = None,
        *,
        reason: str | None = None,
        message: str | None = None,
        level: str | None = None,
    ) -> None:
        """The signature of the real one."""
        self.all.append(Logged(what, reason, dict(fields or {})))

    def reasons(self, what: LogEvent) -> list[str | None]:
        """Of every event of this kind, in order."""
        return [item.reason for item in self.all if item.what is what]

    def fields(self, what: LogEvent) -> list[dict[str, object]]:
        """Of every event of this kind, in order."""
        return [item.fields for item in self.all if item.what is what]


@contextlib.asynccontextmanager
async def service(handler: Handler) -> AsyncIterator[int]:
    """A TCP service on 127.0.0.1 for the time of the block; gives its port. What it raises on a broken peer is lost."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 18, backlog=1024)
    try:
        yield port_of(server.sockets[0])
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, then half-closes."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and answers with its SHA-256."""
    total = hashlib.sha256()
    while data := await reader.read(1 << 18):
        total.update(data)
    writer.write(total.digest())
    writer.write_eof()


class Link:
    """A TCP relay between client and server that can be cut, stalled and silenced."""

    def __init__(self, port: int, buffer: int = LINK_BUFFER_BYTES) -> None:
        self._to = port
        self._buffer = buffer
        #: bytes a second from the server to the client; None: as many as it takes
        self.down_rate: float | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.resume()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        #: connections accepted so far
        self.connections = 0

    async def start(self) -> None:
        """Begin to accept."""
        sock = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LINK_BUFFER_BYTES)
        self.port = port_of(sock)
        self._server = await asyncio.start_server(self._accept, sock=sock, limit=1 << 16)

    def stop_accepting(self) -> None:
        """As if the server were gone, for new connections."""
        assert self._server is not None
        self._server.close()

    def stall(self, *directions: str) -> None:
        """Carry nothing more, and say nothing of it. ``up`` is from the client to the server; without: both."""
        for direction in directions or self._flowing:
            self._flowing[direction].clear()

    def resume(self) -> None:
        """Carry again, what came meanwhile in one go."""
        for flowing in self._flowing.values():
            flowing.set()

    def cut(self, *, politely: bool = False) -> None:
        """End all connections, by reset or (``politely``) by an end of file."""
        for writer in list(self._writers):
            if politely:
                writer.close()
            else:
                writer.transport.abort()

    async def close(self) -> None:
        """End it all."""
        self.stop_accepting()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            other_reader, other = await asyncio.open_connection(sock=await self._connect(), limit=self._buffer)
        except OSError:
            writer.transport.abort()
            return
        for source, sink, direction in ((reader, other, "up"), (other_reader, writer, "down")):
            self._writers.add(sink)
            task = asyncio.create_task(self._pump(source, sink, self._flowing[direction]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._to))
        return sock

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self._buffer):
                await flowing.wait()
                if writer.is_closing():  # uvloop raises for it
                    break
                writer.write(data)
                await writer.drain()
                if self.down_rate is not None and flowing is self._flowing["down"]:
                    await asyncio.sleep(len(data) / self.down_rate)
        writer.close()
        self._writers.discard(writer)


class Rig:
    """The pair. ``ports`` are the forwards' remote ports; all are allowed unless ``allow`` says otherwise."""

    def __init__(
        self,
        *ports: int,
        allow: tuple[int, ...] | None = None,
        pool_size: int = 1,
        handshake_timeout: float = 3.0,
        link: bool = False,
        wait: bool = True,
    ) -> None:
        self.ports = ports
        self._pool_size = pool_size
        self._wait = wait
        self._listeners = [listen() for _ in ports]
        self.server_listener = listen()
        self.server_port = port_of(self.server_listener)
        self.link = Link(self.server_port) if link else None
        self.allow = ports if allow is None else allow
        self.local_ports = [port_of(listener) for listener in self._listeners]
        self.states: list[TunnelState] = []
        #: what the workers told their supervisors, but for the states
        self.server_told: list[WorkerToSupervisor] = []
        self.client_told: list[WorkerToSupervisor] = []
        self._state_changed = asyncio.Event()
        self.complaints: list[dict[str, Any]] = []
        self.server = ServerWorker(self.server_config(handshake_timeout), self.server_told.append)
        self._client: ClientWorker | None = None

    @property
    def client(self) -> ClientWorker:
        """The client's worker."""
        assert self._client is not None
        return self._client

    def server_config(self, handshake_timeout: float) -> ServerWorkerConfig:
        """What the supervisor would send."""
        admins = Roster.of([AdminRule(ADMIN, "alice", self.allow)])
        return ServerWorkerConfig("0", SERVER_SECRET, PSK, admins, handshake_timeout, "rig", LogSettings())

    def client_config(self, port: int) -> ClientWorkerConfig:
        """What the supervisor would send."""
        rules = tuple(ForwardRule(f"127.0.0.1:{at}", to) for at, to in zip(self.local_ports, self.ports, strict=True))
        keys = (SERVER, ADMIN_SECRET, PSK)
        return ClientWorkerConfig("web1", "127.0.0.1", port, *keys, self._pool_size, rules, LogSettings())

    def policy(self, *ports: int, expires: float | None = None) -> ServerPolicy:
        """A reload after which alice may reach these ports, until ``expires``, Unix seconds."""
        return ServerPolicy(Roster.of([AdminRule(ADMIN, "alice", ports, expires)]), 3.0)

    def target(self) -> Target:
        """For a connector of the test's own."""
        return Target("web1", "127.0.0.1", self.server_port, SERVER, ADMIN_SECRET, PSK)

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.complaints.append(context))
        await self.server.start([self.server_listener])
        if self.link is not None:
            await self.link.start()
        self._client = ClientWorker(self.client_config(self.link.port if self.link else self.server_port), self._told)
        await self._client.start(self._listeners)
        if self._wait:
            await self.up(self._pool_size)
            await until(lambda: len(self.server_tunnels()) >= self._pool_size)  # its proof comes a moment later
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.stop("stop")
        self.server.stop("stop")
        async with asyncio.timeout(WAIT_SECONDS):
            await self.client.finished.wait()
            await self.server.finished.wait()
        if self.link is not None:
            await self.link.close()
        if error is None:
            assert not self.complaints, self.complaints

    def _told(self, message: WorkerToSupervisor) -> None:
        if isinstance(message, TunnelState):
            self.states.append(message)
            self._state_changed.set()
        else:
            self.client_told.append(message)

    async def state(self, wanted: Callable[[TunnelState], bool], timeout: float = WAIT_SECONDS) -> None:
        """Until the pool's last word is what is wanted."""
        async with asyncio.timeout(timeout):
            while not (self.states and wanted(self.states[-1])):
                self._state_changed.clear()
                await self._state_changed.wait()

    async def up(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Until so many tunnels are up."""
        await self.state(lambda state: state.up >= count, timeout)

    async def open(self, index: int = 0) -> Stream:
        """An application connects to a forward."""
        return await asyncio.open_connection("127.0.0.1", self.local_ports[index], limit=1 << 18)

    def client_tunnels(self) -> list[TunnelConnection]:
        """The client's side of every tunnel."""
        return self.client._pool.connections

    def server_tunnels(self) -> list[TunnelConnection]:
        """The server's side of every proven tunnel."""
        return [session.connection for session in self.server._sessions]

    async def exchange(self, data: bytes, index: int = 0) -> bytes:
        """One short life of an application: send everything, half-close, read to the end."""
        reader, writer = await self.open(index)
        answer, _ = await asyncio.gather(reader.read(), send_all(writer, data))
        await hang_up(writer)
        return answer


async def send_all(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Everything, then the half-close."""
    for start in range(0, len(data), 1 << 18):
        writer.write(data[start : start + (1 << 18)])
        await writer.drain()
    writer.write_eof()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close, and let go of the transport."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def ending(reader: asyncio.StreamReader, timeout: float = WAIT_SECONDS) -> str:
    """How a connection ends, as its application sees it: ``eof`` or ``reset``. What comes before does not matter."""
    async with asyncio.timeout(timeout):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionResetError:
            return "reset"
        return "eof"


def reset(writer: asyncio.StreamWriter) -> None:
    """Abort as a crashing application does: with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


def took(started: float) -> float:
    """Seconds since ``started`` (monotonic)."""
    return time.monotonic() - started
