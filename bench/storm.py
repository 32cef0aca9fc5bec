"""Small work: the three loads on the echo service: connection storm, round trips, idle connections.

The storm is a bare epoll loop. An asyncio transport for each connection would cost more than the connection itself, and
the figure would be about the load, not about the tunnel.
"""

import select
import socket
import time
from dataclasses import dataclass, field

from bench.bulk import STALL_TIMEOUT, Address, TransferError, connect, read_exactly

#: Events taken at once.
MAX_EVENTS = 256

#: The one byte of a storm's connection.
TOKEN = b"."


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
