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
from hyperion.proto.control import Drain, Heartbeat, Poll, SocksConfig, Stop, SupervisorToWorker, WorkerToSupervisor
from hyperion.rendezvous import Meeting
from hyperion.worker.acceptor import Acceptor
from hyperion.worker.counters import Counters
from hyperion.worker.poller import new_poller
from hyperion.worker.socks_client import SocksClient

#: Clients that negotiate, or wait for an answer, at once; further ones are closed.
MAX_CLIENTS: Final = 1024


class SocksWorker:
    """Everything that the child owns."""

    def __init__(self, config: SocksConfig, tell: Callable[[WorkerToSupervisor], None]) -> None:
        self.finished = asyncio.Event()
        self._tell = tell
        self._addresses = config.listeners
        self._servers = [Meeting(place.name, place.path, place.addresses) for place in config.servers]
        self._meter = RejectionMeter()
        self._counters = Counters()
        self._poller = new_poller()
        self._acceptors: list[Acceptor] = []
        self._clients: set[asyncio.Task[None]] = set()
        self._draining = False

    async def start(self, listeners: list[socket.socket]) -> None:
        """Accept on the sockets handed over."""
        for address, listener in zip(self._addresses, listeners, strict=True):
            self._acceptors.append(Acceptor(listener, self._poller, self._accepted))
            log.event(LISTENER_STARTED, {"hyperion.forward.local": address})

    def handle(self, message: SupervisorToWorker) -> bool:
        """Obey the supervisor. False if this child knows no such order."""
        match message:
            case Poll():
                self._tell(self.heartbeat())
            case Drain(timeout=timeout):
                self.drain(timeout)
            case Stop():
                self.stop("stop")
            case _:
                return False
        return True

    def drain(self, timeout: float) -> None:
        """Accept no more; those who have asked get their answer, within ``timeout`` seconds."""
        if self._draining:
            return
        self._draining = True
        self._close_listeners()
        asyncio.get_running_loop().call_later(timeout, self.stop, "drain")
        self._finish_if_drained()

    def stop(self, reason: str) -> None:
        """End everything now."""
        self._draining = True
        self._close_listeners()
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

    def _close_listeners(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()

    def _finish_if_drained(self) -> None:
        if self._draining and not self._clients and not self.finished.is_set():
            self._poller.close()
            self.finished.set()
