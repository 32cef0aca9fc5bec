"""Small TCP services on loopback for transfers: what stands at the far end of a stream."""

import contextlib
import socket
import threading

from bench.ports import free_port


class EchoService:
    """Sends back what comes, keeps half-close. Use as a context manager; ``port`` is its address on 127.0.0.1."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "EchoService":
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, run: object, *arguments: object) -> None:
        assert callable(run)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=run, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # a client that breaks off is no concern of an echo
            while data := connection.recv(1 << 18):
                connection.sendall(data)


def closed_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    return free_port()
