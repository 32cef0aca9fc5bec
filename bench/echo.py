"""Small work: an echo service and the three loads on it: connection storm, round trips, idle connections.

Both ends are bare epoll loops. An asyncio transport for each connection would cost more than the connection itself, and
the figure would be about the load, not about the tunnel.
"""

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.bulk import STALL_TIMEOUT, Address, TransferError, connect, read_exactly

#: Bytes read at once: the largest echo anybody asks for here is 1 KiB.
READ_BYTES = 64 * 1024

#: Events taken at once.
MAX_EVENTS = 256

#: Connections the kernel queues for us, as many as all loads together open at once.
BACKLOG = 1024

#: The one byte of a storm's connection.
TOKEN = b"."


class EchoService:
    """Sends back what it reads, for any number of connections, until ``run`` is told to stop."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self.listener, select.EPOLLIN)
        self._connections: dict[int, socket.socket] = {}

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def run(self, stop: Callable[[], bool], interval: float = 0.2) -> None:
        """Serve; ``stop`` is asked at least every ``interval`` seconds."""
        while not stop():
            for descriptor, _ in self._epoll.poll(interval, MAX_EVENTS):
                if descriptor == self.listener.fileno():
                    self._accept()
                else:
                    self._answer(descriptor)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._epoll.close()
        self.listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return  # it was reset before we came
        connection.settimeout(STALL_TIMEOUT)  # for sends only: reads follow an event
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connection.fileno()] = connection
        self._epoll.register(connection, select.EPOLLIN)

    def _answer(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        try:
            data = connection.recv(READ_BYTES)
            if data:
                connection.sendall(data)
                return
        except OSError:
            data = b""  # a reset ends the connection like an end of file
        self._epoll.unregister(connection)
        del self._connections[descriptor]
        connection.close()


@dataclass(slots=True)
class Storm:
    """A fixed number of connections through a fixed number of slots: connect, one byte each way, close."""

    address: Address
    total: int
    concurrency: int
    started: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    _open: dict[int, socket.socket] = field(default_factory=dict)
    _epoll: select.epoll = field(default_factory=select.epoll)

    def run(self) -> None:
        """Raises TransferError when nothing moves for a while."""
        start = time.perf_counter()
        for _ in range(min(self.concurrency, self.total)):
            self._begin()
        while self._open:
            events = self._epoll.poll(STALL_TIMEOUT, MAX_EVENTS)
            if not events:
                raise TransferError(f"{len(self._open)} connections stalled after {self.done} were done")
            for descriptor, event in events:
                self._step(descriptor, event)
        self.seconds = time.perf_counter() - start
        self._epoll.close()

    def _begin(self) -> None:
        self.started += 1
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(self.address)
        self._open[connection.fileno()] = connection
        self._epoll.register(connection, select.EPOLLOUT)

    def _step(self, descriptor: int, event: int) -> None:
        connection = self._open[descriptor]
        try:
            if event & select.EPOLLOUT:
                connection.send(TOKEN)
                self._epoll.modify(connection, select.EPOLLIN)
                return
            good = connection.recv(len(TOKEN)) == TOKEN
        except OSError:
            good = False
        self._end(connection, good=good)

    def _end(self, connection: socket.socket, *, good: bool) -> None:
        self._epoll.unregister(connection)
        del self._open[connection.fileno()]
        connection.close()
        self.done += good
        self.failed += not good
        if self.started < self.total:
            self._begin()


def connections_per_second(address: Address, total: int, concurrency: int) -> float:
    """New connections a second. Raises TransferError if any failed: a fast refusal is no connection."""
    storm = Storm(address, total, concurrency)
    storm.run()
    if storm.failed:
        raise TransferError(f"{storm.failed} of {total} connections failed")
    return storm.done / storm.seconds


def round_trips(address: Address, size: int, count: int, warm_up: int = 50) -> list[float]:
    """Seconds of each of ``count`` round trips of ``size`` bytes on one connection, after some that do not count."""
    message = bytes(size)
    times = []
    with connect(address) as connection:
        for _ in range(warm_up + count):
            start = time.perf_counter()
            connection.sendall(message)
            read_exactly(connection, size)
            times.append(time.perf_counter() - start)
    return times[warm_up:]


def open_idle(address: Address, count: int) -> list[socket.socket]:
    """Connections that are through to the service (one byte came back) and then say nothing. The caller closes them."""
    connections = []
    for _ in range(count):
        connection = connect(address)
        connection.sendall(TOKEN)
        read_exactly(connection, len(TOKEN))
        connections.append(connection)
    return connections
