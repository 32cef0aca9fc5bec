"""A connection on the tunnel port that has proven nothing yet: from accept to the first good record, or to the
deadline.

Knows: caps, the allow-list, what to log about a refusal. Refuses to know: what a proven client does (``session``).

The allow-list is asked between message 1 and message 2 (WIRE section 6), and a refused client is not told: it sees
silence until the deadline, whatever it did wrong.
"""

import asyncio
import time
from secrets import token_bytes
from typing import Protocol

from hyperion import log
from hyperion.events import SESSION_REFUSED
from hyperion.flood import RejectionMeter
from hyperion.proto.admins import AdminRule
from hyperion.proto.errors import HandshakeError, ProtocolError
from hyperion.proto.extensions import LEVEL, Parameters
from hyperion.proto.fingerprint import fingerprint
from hyperion.proto.noise.handshake import KEY_BYTES
from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.proto.tunnel import AdmissionRequested, ServerTunnel, TunnelOpened
from hyperion.worker.connection import Session, TunnelConnection, as_transport, reason_of
from hyperion.worker.egress import EXPIRED, UNKNOWN, Admins, refusal, user_fields
from hyperion.worker.gate import Gate


class Reception(Protocol):
    """What an arrival needs of its worker."""

    admins: Admins
    gate: Gate
    seen: SeenEphemerals
    meter: RejectionMeter
    static_secret: bytes
    psk: bytes
    handshake_timeout: float
    agent: str
    server_name: str

    def admitted(self, connection: TunnelConnection, rule: AdminRule, source: tuple[str, int]) -> Session:
        """The client is proven; the session that takes over."""


class Arrival(Session):
    """Decides on one connection."""

    def __init__(self, reception: Reception, source: tuple[str, int]) -> None:
        self._reception = reception
        self._source = source
        self._rule: AdminRule | None = None
        #: The key that a stranger proved to hold.
        self._unknown: bytes | None = None
        self._refused = False
        self._inside = True  # counted by the gate

    def on_admission(self, connection: TunnelConnection, request: AdmissionRequested) -> None:
        rule = self._reception.admins.find(request.peer_public)
        tunnel = connection.tunnel
        self._rule = rule
        self._unknown = request.peer_public if rule is None else None
        reason = refusal(rule, time.time())
        if rule is None or reason is not None or not isinstance(tunnel, ServerTunnel):
            tunnel.refuse(reason or UNKNOWN)
            return
        reception = self._reception
        own = Parameters(
            x=LEVEL,
            frame=MAX_PLAINTEXT_BYTES,
            agent=reception.agent,
            time=time.time_ns() // 1_000_000,
            ports=rule.allow,
            name=reception.server_name,
        )
        tunnel.admit(own, time.monotonic())

    def on_refused(self, connection: TunnelConnection, error: ProtocolError) -> None:
        self._refused = True
        self._log_refusal(error)

    def on_open(self, connection: TunnelConnection, event: TunnelOpened) -> None:
        self.leave()
        # Asked once more: a reload may have removed this admin between the two messages.
        rule = self._reception.admins.find(event.peer_public)
        if rule is None or rule.expired(time.time()):
            reason = EXPIRED if rule is not None else "revoked"
            error = HandshakeError("the client is no longer listed", reason=reason)
            self._log_refusal(error)
            connection.go_away(error)
            return
        connection.session = self._reception.admitted(connection, rule, self._source)
        connection.session.on_open(connection, event)

    def on_closed(self, connection: TunnelConnection, error: ProtocolError) -> None:
        self.leave()
        if not self._refused:
            self._log_refusal(error)

    def leave(self) -> None:
        """No longer counted as unproven."""
        if self._inside:
            self._inside = False
            self._reception.gate.leave(self._source[0])

    def _log_refusal(self, error: ProtocolError) -> None:
        reason = reason_of(error)
        if self._rule is not None and reason in ("handshake-timeout", "peer-closed", "connection-lost"):
            reason = "no-proof"  # knew an admin's key, or replayed its message 1, but never proved the PSK
        if not self._reception.meter.admit(self._source[0], reason, time.monotonic()):
            return
        fields: dict[str, object] = {"source.ip": self._source[0], "source.port": self._source[1]}
        if self._rule is not None:
            fields |= user_fields(self._rule)
        elif self._unknown is not None:
            # No user of ours; but an admin whose key was forgotten here is found by it.
            fields["hyperion.peer.fingerprint"] = fingerprint(self._unknown)
        log.event(SESSION_REFUSED, fields, reason=reason)


class ArrivingConnection(TunnelConnection):
    """What the listening socket makes of each accepted connection."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        tunnel = ServerTunnel(
            static=reception.static_secret,
            psk=reception.psk,
            ephemeral=token_bytes(KEY_BYTES),
            now=time.monotonic(),
            seen=reception.seen,
            handshake_timeout=reception.handshake_timeout,
        )
        super().__init__(tunnel, Session())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername") or ("", 0)
        source = (str(peer[0]), int(peer[1]))
        reception = self._reception
        if not reception.gate.enter(source[0]):
            if reception.meter.admit(source[0], "limit", time.monotonic()):
                log.event(SESSION_REFUSED, {"source.ip": source[0], "source.port": source[1]}, reason="limit")
            as_transport(transport).abort()
            return
        self.session = Arrival(reception, source)
        super().connection_made(transport)
