"""The SOCKS child of a client: it accepts, negotiates, and hands each connection to the worker of the server named.

Knows: its listeners and where the workers are met. Refuses to know: tunnels and secrets, of which it has none. One
instance per process; when it dies, only those who were just asking notice.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from hyperion import log
from hyperion.events import INTERNAL_ERROR, LISTENER_STARTED, REJECTIONS_SUMMARISED
from hyperion.flood import RejectionMeter
from hyperion.proto.control import Heartbeat, SocksConfig, WorkerToSupervisor
from hyperion.rendezvous import Meeting
from hyperion.worker.acceptor import Acceptor
from hyperion.worker.duties import Worker
from hyperion.worker.socks_client import SocksClient

#: Clients that negotiate, or wait for an answer, at once; further ones are closed.
MAX_CLIENTS: Final = 1024


class SocksWorker(Worker):
    """Everything that the child owns."""

    def __init__(self, config: SocksConfig, tell: Callable[[WorkerToSupervisor], None]) -> None:
        super().__init__(tell)
        self._addresses = config.listeners
        self._servers = [Meeting(place.name, place.path, place.addresses) for place in config.servers]
        self._meter = RejectionMeter()
        self._acceptors: list[Acceptor] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, listeners: list[socket.socket]) -> None:
        """Accept on the sockets handed over."""
        self._poller.open()
        for address, listener in zip(self._addresses, listeners, strict=True):
            self._acceptors.append(Acceptor(listener, self._poller, self._accepted))
            log.event(LISTENER_STARTED, {"hyperion.forward.local": address})

    def stop(self, reason: str) -> None:
        """End everything now."""
        self._draining = True
        self._take_nothing_new()
        for client in list(self._clients):
            client.cancel()
        self._finish_if_drained()

    def heartbeat(self) -> Heartbeat:
        """Streams belong to the workers: only who is asking is counted here. Also the moment for a summary."""
        for reason, count, sources in self._meter.summary(time.monotonic()):
            fields = {"hyperion.suppressed_count": count, "hyperion.suppressed_sources": sources}
            log.event(REJECTIONS_SUMMARISED, fields, reason=reason)
        return self._counters.heartbeat(len(self._clients), [])

    def _accepted(self, sock: socket.socket) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        self._counters.sessions_total += 1
        client = asyncio.get_running_loop().create_task(SocksClient(sock, self._servers, self._meter).serve())
        self._clients.add(client)
        client.add_done_callback(self._left)

    def _left(self, client: asyncio.Task[None]) -> None:
        self._clients.discard(client)
        if not client.cancelled() and (error := client.exception()) is not None:
            log.event(INTERNAL_ERROR, log.error_fields(error))
        self._finish_if_drained()

    def _take_nothing_new(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()

    def _finish_if_drained(self) -> None:
        if self._draining and not self._clients and not self.finished.is_set():
            self._poller.close()
            self.finished.set()
