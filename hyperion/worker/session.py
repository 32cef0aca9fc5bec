"""One admitted client on one connection, as the server sees it: who it is, what it may reach, what it did.

Knows: the admin's rule of this moment, the audit log. Refuses to know: bytes of streams and of the handshake.

One id runs through all lines: ``hyperion.session.id`` from the connection on, with ``hyperion.stream.id`` for each
stream; and behind a gate ``hyperion.knock.id``, from the knock on.
"""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from hyperion import log
from hyperion.events import (
    SESSION_CLOSED,
    SESSION_OPENED,
    STREAM_CLOSED,
    STREAM_DENIED,
    STREAM_FAILED,
    STREAM_OPENED,
)
from hyperion.log.stamp import iso_time
from hyperion.proto.admins import AdminRule
from hyperion.proto.control import SessionClosed, SessionOpened
from hyperion.proto.errors import ProtocolError, RecordError
from hyperion.proto.tunnel import TunnelOpened
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.worker.connection import Session, TunnelConnection, reason_of
from hyperion.worker.counters import Counters
from hyperion.worker.deadlines import Deadlines
from hyperion.worker.dial import TARGET_HOST, ServedStream
from hyperion.worker.egress import allowed, user_fields
from hyperion.worker.poller import Poller

#: Seconds from opening a stream until its target must have answered; a peer that opens streams and says nothing holds
#: them no longer (WIRE Q18).
CONNECT_TIMEOUT = 10.0

_STREAM_FIELDS: Final = ("hyperion.stream.id", "destination.port")
_TOTAL_FIELDS: Final = ("event.duration", "source.bytes", "destination.bytes")

#: Streams that are not over: as many as may be open, and as many that only wait for a slow service to take the rest.
MAX_RUNNING = 1024

#: Reasons that an operator expects at the end of a session.
_QUIET_ENDS = frozenset({"peer-closed", "peer-went-away", "drain", "stop"})


class ServedSession(Session):
    """A proven client. ``rule`` is looked up again at each reload: None means that nothing more is allowed.

    ``tell`` is given the news for the supervisor: that the session is open, and that it is over. ``knock``: the id
    of the knock that let its source in, where there is a gate.
    """

    def __init__(
        self,
        connection: TunnelConnection,
        rule: AdminRule,
        source: tuple[str, int],
        counters: Counters,
        poller: Poller,
        changed: Callable[["ServedSession"], None],
        tell: Callable[[SessionOpened | SessionClosed], None],
        knock: str | None = None,
    ) -> None:
        self.connection = connection
        self.poller = poller
        self.rule: AdminRule | None = rule
        self.draining = False
        self.public_key = rule.public_key
        self._counters = counters
        self._changed = changed
        self._tell = tell
        self.closed = False
        self.id = token_hex(8)
        self._source = source
        self._fields: dict[str, object] = {
            "source.ip": source[0],
            "source.port": source[1],
            "hyperion.session.id": self.id,
            **user_fields(rule),
        }
        if knock is not None:
            self._fields["hyperion.knock.id"] = knock
        shared = self._fields | {"destination.ip": TARGET_HOST}
        self._stream_opened = log.Series(STREAM_OPENED, shared, _STREAM_FIELDS)
        self._stream_closed = log.Series(STREAM_CLOSED, shared, _STREAM_FIELDS + _TOTAL_FIELDS)
        self._opened_at = time.monotonic()
        self._opened_wall = time.time()
        self._streams = 0
        self._running: set[ServedStream] = set()
        self._bytes_in = 0
        self._bytes_out = 0
        self._connecting: Deadlines[ServedStream] = Deadlines(CONNECT_TIMEOUT, lambda stream: stream.end("timeout"))

    @property
    def idle(self) -> bool:
        """No stream runs, and no target waits for the rest of one."""
        return not self._running

    @property
    def running(self) -> list[ServedStream]:
        """The streams that run."""
        return list(self._running)

    def fields(self) -> dict[str, object]:
        """What every log line of this session carries."""
        return dict(self._fields)

    def end(self, reason: str) -> None:
        """Cut it: streams are reset, the client is told that we go away."""
        for relay in self.running:
            relay.end(reason)
        self.connection.go_away(_ended(reason))

    def drain(self) -> None:
        """Take no new stream; end with the last one that runs."""
        self.draining = True
        if self.idle:
            self.connection.part(_ended("drain"))

    # --- Session

    def on_open(self, connection: TunnelConnection, event: TunnelOpened) -> None:
        self._counters.sessions_total += 1
        log.event(
            SESSION_OPENED,
            self.fields()
            | {
                "user_agent.original": event.parameters.agent,
                "hyperion.noise.pattern": "IKpsk2",
                "hyperion.noise.cipher": "ChaCha20-Poly1305",
            },
        )
        admin = "" if self.rule is None else self.rule.name
        self._tell(SessionOpened(self.id, *self._source, admin, event.parameters.agent, self._opened_wall))
        if self.draining:  # it arrived too late: nobody must wait for it
            self.drain()

    def on_stream(self, connection: TunnelConnection, stream: YamuxStream) -> None:
        self._streams += 1
        self._counters.streams_total += 1
        too_many = len(self._running) >= MAX_RUNNING
        if too_many or connection.tunnel.mux.budget.left < 0:
            connection.reset(stream)
            fields = {"hyperion.stream.id": stream.id, "destination.ip": TARGET_HOST}
            log.event(
                STREAM_FAILED, self._fields | fields, reason="too-many-streams" if too_many else "too-much-unread"
            )
            return
        relay = ServedStream(self, connection, stream)
        self._running.add(relay)
        self._connecting.add(relay)

    def on_closed(self, connection: TunnelConnection, error: ProtocolError) -> None:
        self._connecting.close()
        reason = reason_of(error)
        log.event(
            SESSION_CLOSED,
            self.fields()
            | {
                "event.start": iso_time(self._opened_wall),
                "event.end": iso_time(time.time()),
                "event.duration": int((time.monotonic() - self._opened_at) * 1e9),
                "event.outcome": "success" if reason in _QUIET_ENDS else "failure",
                "source.bytes": self._bytes_in,
                "destination.bytes": self._bytes_out,
                "network.bytes": self._bytes_in + self._bytes_out,
                "hyperion.session.streams": self._streams,
            },
            reason=reason,
        )
        self.closed = True
        self._tell(SessionClosed(self.id))
        self._changed(self)

    # --- DialPolicy

    def allows(self, port: int) -> bool:
        """Asked for each stream, so a reload holds for the next one."""
        return allowed(self.rule, port)

    def stream_opened(self, relay: ServedStream) -> None:
        self._connecting.remove(relay)
        self._stream_opened.event(relay.stream_id, relay.port)

    def stream_ended(self, relay: ServedStream, reason: str) -> None:
        self._connecting.remove(relay)
        self._running.discard(relay)
        self._bytes_in += relay.bytes_in
        self._bytes_out += relay.bytes_out
        self._counters.bytes_in += relay.bytes_in
        self._counters.bytes_out += relay.bytes_out
        if relay.connected:
            duration = int((time.monotonic() - relay.started_at) * 1e9)
            self._stream_closed.event(
                relay.stream_id, relay.port, duration, relay.bytes_in, relay.bytes_out, reason=reason
            )
        elif reason == "egress-policy":
            log.event(STREAM_DENIED, self._stream_fields(relay), reason=reason)
        else:
            log.event(STREAM_FAILED, self._stream_fields(relay), reason=reason)
        if self.draining and self.idle:
            self.connection.part(_ended("drain"))
        self._changed(self)

    def _stream_fields(self, relay: ServedStream) -> dict[str, object]:
        return self._fields | {
            "hyperion.stream.id": relay.stream_id,
            "destination.ip": TARGET_HOST,
            "destination.port": relay.port,
        }


def _ended(reason: str) -> RecordError:
    error = RecordError(f"the session was ended ({reason})")
    error.reason = reason
    return error
