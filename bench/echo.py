"""The echo service: sends back what it reads, on any number of connections, in one loop without tasks or transports."""

import selectors
import socket
from collections.abc import Callable

from bench.bulk import STALL_TIMEOUT

#: Bytes read at once: the largest echo anybody asks for here is 1 KiB.
READ_BYTES = 64 * 1024

#: Connections the kernel queues for us, as many as all loads together open at once.
BACKLOG = 1024


class EchoService:
    """Listens on a free loopback port from the start, answers while ``run`` runs."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def run(self, stop: Callable[[], bool], interval: float = 0.2) -> None:
        """Serve; ``stop`` is asked at least every ``interval`` seconds."""
        while not stop():
            for key, _ in self._selector.select(interval):
                key.data(key.fileobj)

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # it was reset before we came
        connection.settimeout(STALL_TIMEOUT)  # for sends only: reads follow an event
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(READ_BYTES)
            if data:
                connection.sendall(data)
                return
        except OSError:
            pass  # a reset ends the connection like an end of file
        self._selector.unregister(connection)
        connection.close()
