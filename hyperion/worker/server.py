"""The server's worker: accepts on the tunnel port, admits clients, serves their streams.

Knows: the allow-list, drain, its own counters. Refuses to know: how the port was bound (it is handed a listening
socket) and what other workers do. One instance per process.

Source: DESIGN sections 2, 4 and 8.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from hyperion import __version__, log
from hyperion.events import REJECTIONS_SUMMARISED
from hyperion.flood import RejectionMeter
from hyperion.proto.admins import AdminRule
from hyperion.proto.control import (
    Heartbeat,
    Knocked,
    ServerPolicy,
    ServerWorkerConfig,
    SupervisorToWorker,
    WorkerToSupervisor,
)
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.worker.arrival import ArrivingConnection
from hyperion.worker.connection import Session, TunnelConnection
from hyperion.worker.duties import Worker
from hyperion.worker.egress import Admins
from hyperion.worker.expiry import ExpiryWatch
from hyperion.worker.gate import Gate
from hyperion.worker.knocks import LastKnocks
from hyperion.worker.session import ServedSession

#: Connections the kernel may hold for us; a burst of clients after a restart fits.
BACKLOG = 1024


class ServerWorker(Worker):
    """Everything one server worker owns. Also the ``Reception`` of its arrivals. ``tell`` reaches the supervisor."""

    def __init__(self, config: ServerWorkerConfig, tell: Callable[[WorkerToSupervisor], None]) -> None:
        super().__init__(tell)
        self.static_secret = config.static_secret
        self.psk = config.psk
        self.handshake_timeout = config.handshake_timeout
        self.server_name = config.server_name
        self.agent = f"hyperion/{__version__}"
        self.admins = Admins(config.admins.rules())
        self.gate = Gate()
        self.seen = SeenEphemerals()
        self.meter = RejectionMeter()
        self._sessions: set[ServedSession] = set()
        self._knocks = LastKnocks()
        self._expiry = ExpiryWatch(lambda: self._sessions)
        self._listener: asyncio.Server | None = None

    async def start(self, listeners: list[socket.socket]) -> None:
        """Accept on the socket handed over by the supervisor."""
        self._poller.open()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: ArrivingConnection(self), sock=listeners[0], backlog=BACKLOG)

    def handle(self, message: SupervisorToWorker) -> bool:
        """Obey the supervisor. False if a server worker knows no such order."""
        match message:
            case ServerPolicy():
                self._apply(message)
            case Knocked(source=source, knock=knock):
                self._knocks.note(source, knock)
            case _:
                return super().handle(message)
        return True

    def stop(self, reason: str) -> None:
        """End every session now."""
        self._draining = True
        self._close_listener()
        for session in list(self._sessions):
            session.end(reason)
        self._finish_if_drained()

    def heartbeat(self) -> Heartbeat:
        """The counters of now; also the moment for the summary of unlogged rejections."""
        self._summarise_rejections()
        running = [(relay.bytes_in, relay.bytes_out) for session in self._sessions for relay in session.running]
        return self._counters.heartbeat(len(self._sessions), running)

    # --- Reception

    def admitted(self, connection: TunnelConnection, rule: AdminRule, source: tuple[str, int]) -> Session:
        session = ServedSession(
            connection,
            rule,
            source,
            self._counters,
            self._poller,
            self._session_changed,
            self._tell,
            self._knocks.of(source[0]),
        )
        self._sessions.add(session)
        session.draining = self._draining
        if rule.expires is not None:
            self._expiry.look()
        return session

    # --- inside

    def _take_nothing_new(self) -> None:
        self._close_listener()
        for session in list(self._sessions):
            session.drain()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _session_changed(self, session: ServedSession) -> None:
        """A session is gone once its connection is, and no target waits for the rest of a stream."""
        if session.closed and session.idle:
            self._sessions.discard(session)
            self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self._draining and not self._sessions:
            self._expiry.close()
            self._poller.close()
            self.finished.set()

    def _apply(self, policy: ServerPolicy) -> None:
        """A reload: new rules for the next stream and the next client. Sessions of admins who are removed or out of
        time are cut now."""
        self.admins = Admins(policy.admins.rules())
        self.handshake_timeout = policy.handshake_timeout
        for session in list(self._sessions):
            session.rule = self.admins.find(session.public_key)
            if session.rule is None:
                session.end("revoked")
        self._expiry.look()

    def _summarise_rejections(self) -> None:
        for reason, count, sources in self.meter.summary(time.monotonic()):
            log.event(
                REJECTIONS_SUMMARISED,
                {"hyperion.suppressed_count": count, "hyperion.suppressed_sources": sources},
                reason=reason,
            )
