"""One TCP connection and its tunnel machine: the only place where the two meet.

Knows: the transport, the clock, timers, when to write. Refuses to know: who is allowed (its session's business) and
what a stream carries (its owner's). Streams' owners and the session are told by plain calls; nothing here awaits.

Source: DESIGN section 4; WIRE sections 5 to 8.
"""

import asyncio
from abc import ABC, abstractmethod
from time import monotonic
from typing import cast

from hyperion.proto.errors import ProtocolError, RecordError, RemoteProtocolError
from hyperion.proto.tunnel import (
    AdmissionRequested,
    Tunnel,
    TunnelEvent,
    TunnelFailed,
    TunnelOpened,
    TunnelRefused,
    TunnelState,
)
from hyperion.proto.yamux.events import (
    PeerWentAway,
    RoundTrip,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from hyperion.proto.yamux.frame import HEADER_BYTES, GoAwayCode
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.worker import turn
from hyperion.worker.buffers import TUNNEL_READ_BYTES, local_buffer, plain_buffer, record_buffer, tunnel_buffer
from hyperion.worker.farewell import Farewell
from hyperion.worker.outlet import Outlet
from hyperion.worker.scheduler import Scheduler

#: A peer that lets so much pile up reads nothing at all while it makes us answer. A slow one does not get there: while
#: nothing is taken, only control frames get past the scheduler, and of each of 512 streams one small read (6 KiB).
MAX_UNSENT_BYTES = 4 * 1024 * 1024
#: Seconds that a peer has to take our last words.
CLOSE_TIMEOUT = 2.0
#: Bodies up to this are gathered, and go out in one record with everything else of this turn of the loop, if there is
#: anything else.
SMALL_BODY_BYTES = 2 * 1024
#: Frames of one tunnel handled in a turn of the loop, 2 ms. A read of 256 KiB may hold 20,000 tiny ones, and the other
#: tunnels of this worker would wait for all of them.
FRAMES_A_TURN = 512


class StreamOwner(ABC):
    """Whoever has a stream of a connection (``YamuxStream.owner``)."""

    __slots__ = ()

    @abstractmethod
    def on_data(self, data: memoryview) -> None:
        """Bytes of the peer. Call ``TunnelConnection.consumed`` for them once they are taken."""

    @abstractmethod
    def on_finish(self) -> None:
        """The peer sends no more."""

    @abstractmethod
    def on_reset(self, reason: str) -> None:
        """The stream is gone: reset by the peer, or its connection broke."""

    @abstractmethod
    def on_window(self) -> None:
        """There is credit again."""


class Session:
    """Whoever has a connection and decides what it may do. This one lets nothing happen."""

    def on_admission(self, connection: "TunnelConnection", request: AdmissionRequested) -> None:
        """A client asks: ``connection.tunnel.admit`` or ``refuse``. Whoever says nothing else refuses."""
        connection.tunnel.refuse("unknown-static-key")

    def on_refused(self, connection: "TunnelConnection", error: ProtocolError) -> None:
        """The handshake was refused; the connection stays, silent, until its deadline."""

    def on_open(self, connection: "TunnelConnection", event: TunnelOpened) -> None:
        """Streams may flow."""

    def on_stream(self, connection: "TunnelConnection", stream: YamuxStream) -> None:
        """The peer opened a stream: give it an owner. Whoever wants none resets it."""
        connection.reset(stream)

    def on_round_trip(self, connection: "TunnelConnection", seconds: float) -> None:
        """A ping came back: the peer lives, and it opened our records."""

    def on_closed(self, connection: "TunnelConnection", error: ProtocolError) -> None:
        """The connection is gone. Every stream owner has been told before."""


class TunnelConnection(asyncio.BufferedProtocol):
    """The adapter. ``tunnel`` is made by the caller, with its keys; ``session`` decides."""

    def __init__(self, tunnel: Tunnel, session: Session) -> None:
        self.tunnel = tunnel
        tunnel.read_into(plain_buffer)
        self.session = session
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(tunnel.max_body, self.loop.call_soon)
        self.opened = False
        self._transport: asyncio.Transport | None = None
        self._outlet: Outlet | None = None
        self._farewell: Farewell | None = None
        self._owners: set[StreamOwner] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self._blocked_bytes = 0
        self._error: ProtocolError | None = None

    # --- what owners and sessions use

    @property
    def alive(self) -> bool:
        """Open, and not about to close."""
        return self._error is None and self.tunnel.state is TunnelState.OPEN

    @property
    def owners(self) -> list[StreamOwner]:
        """Everybody who has a stream here."""
        return list(self._owners)

    def adopt(self, stream: YamuxStream, owner: StreamOwner) -> None:
        """From now on ``owner`` hears of ``stream``."""
        stream.owner = owner
        self._owners.add(owner)

    def release(self, stream: YamuxStream, owner: StreamOwner) -> None:
        """``owner`` is done with ``stream``."""
        stream.owner = None
        self._owners.discard(owner)

    def send(self, stream: YamuxStream, data: bytes | memoryview) -> None:
        """Send a few bytes, together with whatever else this turn of the loop brings.

        Nothing if the stream ended: its end may be among the events that are still to be handled.
        """
        if stream.gone or stream.send_closed:
            return
        self.tunnel.mux.send_data(stream, data)
        self._flush_soon()

    def send_from_buffer(self, stream: YamuxStream, size: int) -> None:
        """Send ``size`` bytes that were read into ``local_buffer`` behind the room for a header. Hot path."""
        others = self.tunnel.mux.pending
        if size <= SMALL_BODY_BYTES and (others or not turn.alone):
            self.send(stream, local_buffer[HEADER_BYTES : HEADER_BYTES + size])
            return
        if others:
            self._write_out()
        record = self.tunnel.seal_in_place(stream, local_buffer, size, record_buffer)
        outlet = self._outlet
        if outlet is not None:
            outlet.write_from_buffer(record)
            if self.scheduler.blocked:
                self._check_unsent(outlet)

    def finish(self, stream: YamuxStream) -> None:
        """Half-close."""
        self.tunnel.mux.send_finish(stream)
        self._flush_soon()

    def reset(self, stream: YamuxStream) -> None:
        """Abort the stream."""
        self.tunnel.mux.send_reset(stream)
        self._flush_soon()

    def consumed(self, stream: YamuxStream, size: int) -> None:
        """The local side took ``size`` bytes: credit may go out."""
        if self.tunnel.mux.consumed(stream, size, monotonic()):
            self._flush_soon()

    def part(self, error: ProtocolError) -> None:
        """End when the last stream is over: say so, and hear the peer out, else the stream's tail may not arrive."""
        if self._error is None:
            self.tunnel.mux.send_go_away(GoAwayCode.NORMAL)
            self._write_out()
        if self._error is None:
            self._error = error
            if self._outlet is not None:
                self._farewell, self._outlet = Farewell(self._outlet, CLOSE_TIMEOUT), None
            self._arm_timer()
            self._tell_owners(reason_of(error))

    def go_away(self, error: ProtocolError) -> None:
        """End the session now, but say so before."""
        self.tunnel.mux.send_go_away(GoAwayCode.NORMAL)
        self.close(error)

    def close(self, error: ProtocolError) -> None:
        """End now. What the tunnel still has to say is sent, streams are reset, the session hears of it later."""
        if self._farewell is not None:
            self._farewell.hurry()
        if self._error is None:
            self._error = error
            self._write_out()
            if self._outlet is not None:
                self._outlet.close()
                self.loop.call_later(CLOSE_TIMEOUT, self._abort)
            self._tell_owners(reason_of(error))

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tcp = as_transport(transport)
        self._transport = tcp
        self._outlet = Outlet(tcp)
        self._write_out()
        self._arm_timer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer that all tunnels share; see ``buffers``."""
        return tunnel_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._error is not None:  # we said our last word
            return
        now = monotonic()
        self.tunnel.mux.frames_left = FRAMES_A_TURN
        self.tunnel.receive_data(tunnel_buffer[:nbytes], now)
        self._handle_events()
        outlet = self._outlet
        if outlet is None:
            return
        if self.tunnel.mux.has_more:
            outlet.rest()
            self.loop.call_soon(self._go_on, outlet)
        elif nbytes == TUNNEL_READ_BYTES:
            outlet.let_others_read()

    def eof_received(self) -> bool:
        """No half-close below yamux: the end of the TCP stream is the end of the tunnel."""
        if self._error is None:
            self.tunnel.receive_eof()
            self._handle_events()
        return False

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._blocked_bytes = self._transport.get_write_buffer_size()
        self.scheduler.block(monotonic())

    def resume_writing(self) -> None:
        assert self._transport is not None
        drained = self._blocked_bytes - self._transport.get_write_buffer_size()
        self.scheduler.unblock(max(drained, 0), monotonic())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._error is None:
            self.tunnel.receive_eof()
            error = RecordError("the connection was lost")
            broken = exc is not None or (self._outlet is not None and self._outlet.broken)
            error.reason = "connection-lost" if broken else "peer-closed"
            self._error = error
        self._transport = None
        if self._farewell is not None:
            self._farewell.over()
        if self._outlet is not None:
            self._outlet.let_go()
            self._outlet = None
        self._tell_owners("tunnel-lost")
        self.session.on_closed(self, self._error)

    # --- inside

    def _go_on(self, outlet: Outlet) -> None:
        """The next turn of a read that held too many frames for one; nothing is read from the peer before its end."""
        if self._error is None:
            self.tunnel.mux.frames_left = FRAMES_A_TURN
            self.tunnel.mux.receive_more(monotonic())
            self._handle_events()
        if self._error is None and self.tunnel.mux.has_more:
            self.loop.call_soon(self._go_on, outlet)
        else:
            outlet.read_on()

    def _handle_events(self) -> None:
        next_event = self.tunnel.next_event
        while (event := next_event()) is not None:
            kind = type(event)
            if kind is StreamData or kind is StreamFinished or kind is StreamReset or kind is WindowOpened:
                owner: StreamOwner | None = event.stream.owner  # type: ignore[union-attr]
                if owner is None:
                    continue
                if kind is StreamData:
                    owner.on_data(event.data)  # type: ignore[union-attr]
                elif kind is StreamFinished:
                    owner.on_finish()
                elif kind is StreamReset:
                    owner.on_reset("reset")
                else:
                    owner.on_window()
            else:
                self._handle_rare(event)
        self._write_out()

    def _handle_rare(self, event: TunnelEvent) -> None:
        """Every event but those of streams that are open."""
        match event:
            case StreamOpened(stream=stream):
                self.session.on_stream(self, stream)
            case AdmissionRequested():
                self.session.on_admission(self, event)
            case TunnelOpened():
                self.opened = True
                if self._outlet is not None:
                    self._outlet.share(self, tunnel_buffer)
                self.scheduler = Scheduler(self.tunnel.max_body, self.loop.call_soon)
                self._arm_timer()
                self.session.on_open(self, event)
            case TunnelRefused(error=error):
                self.session.on_refused(self, error)
            case TunnelFailed(error=error):
                self.close(error)
            case PeerWentAway(code=code):
                error = RecordError(f"the peer ended the session (code {code})")
                error.reason = "peer-went-away"
                self.close(error)
            case RoundTrip(seconds=seconds):
                self.session.on_round_trip(self, seconds)
            case _:
                pass  # data and the session's failure never come here

    def _tell_owners(self, reason: str) -> None:
        for owner in self.owners:
            owner.on_reset(reason)

    def _flush_soon(self) -> None:
        """Write at the end of this turn of the loop: all small frames of one turn share one record."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            turn.at_end(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._write_out()

    def _write_out(self) -> None:
        outlet = self._outlet
        if outlet is None:
            return
        for record in self.tunnel.data_to_send():
            outlet.write(record)
        if self.scheduler.blocked:
            self._check_unsent(outlet)

    def _abort(self) -> None:
        """The peer did not take our last words."""
        if self._outlet is not None:
            self._outlet.abort()

    def _check_unsent(self, outlet: Outlet) -> None:
        """A peer that reads nothing: there is no point in saying anything more."""
        if outlet.waiting_bytes <= MAX_UNSENT_BYTES:
            return
        error = RecordError("the peer does not read")
        error.reason = "write-stalled"
        outlet.abort()
        if self._error is None:
            self._error = error
            self._tell_owners(error.reason)

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.tunnel.next_timeout()
        if at is not None and self._transport is not None and self._error is None:
            self._timer = self.loop.call_later(max(0.0, at - monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tunnel.handle_timeout(monotonic())
        self._handle_events()
        self._arm_timer()


def as_transport(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """What ``connection_made`` is given, by its real type: uvloop's transports lack only the base class."""
    return cast(asyncio.Transport, transport)


def reason_of(error: ProtocolError) -> str:
    """The short stable word for logs."""
    return error.reason if isinstance(error, RemoteProtocolError) else "closed"
