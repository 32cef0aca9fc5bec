"""A local listener whose connections lead to one port of the server.

Knows: the listener, the request and the wait for its answer. Refuses to know: which tunnel carries a stream (the pool
chooses).

The local application sees its connection accepted at once; if the server says no, or no tunnel comes up in time, it is
reset.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from hyperion import log
from hyperion.events import STREAM_CLOSED, STREAM_DENIED, STREAM_FAILED, STREAM_OPENED
from hyperion.proto.connect import RESPONSE_BYTES, ConnectError, ConnectStatus, decode_response, encode_request
from hyperion.worker.acceptor import Acceptor
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.counters import Counters
from hyperion.worker.deadlines import Deadlines
from hyperion.worker.poller import Poller
from hyperion.worker.pool import OPEN_TIMEOUT, Pool
from hyperion.worker.relay import Relay

#: Streams that go well are the server's to record, which knows who came. A client says so only when asked for details:
#: two lines a stream would halve the rate at which it opens them.
QUIET: Final = "debug"


class StreamRule(Protocol):
    """What a forwarded stream asks of whatever accepted it."""

    @property
    def poller(self) -> Poller:
        """Watches its local socket."""

    @property
    def remote_port(self) -> int:
        """The port of the server that it leads to."""

    @property
    def answers(self) -> Deadlines["ForwardedStream"]:
        """Where it waits for the server's answer."""

    def began(self, stream: "ForwardedStream") -> None:
        """Its local socket is there."""

    def answered(self, stream: "ForwardedStream") -> None:
        """The server said yes."""

    def ended(self, stream: "ForwardedStream", reason: str) -> None:
        """It is over."""


class Forward:
    """One rule: a local listening socket and the port of the server it leads to."""

    def __init__(
        self, pool: Pool, poller: Poller, server: str, local: str, remote_port: int, counters: Counters
    ) -> None:
        self.pool = pool
        self.poller = poller
        self.remote_port = remote_port
        self.answers: Deadlines[ForwardedStream] = Deadlines(OPEN_TIMEOUT, lambda stream: stream.end("timeout"))
        self._server = server
        self._local = local
        self._counters = counters
        self._acceptor: Acceptor | None = None
        self._streams: set[ForwardedStream] = set()
        self._drained: Callable[[], None] = lambda: None

    @property
    def streams(self) -> list["ForwardedStream"]:
        """Those that are under way."""
        return list(self._streams)

    def start(self, listener: socket.socket, drained: Callable[[], None]) -> None:
        """Accept on ``listener``, any listening stream socket; ``drained`` is called whenever the last stream ended.

        Raises OSError if it does not listen.
        """
        self._drained = drained
        self._acceptor = Acceptor(listener, self.poller, lambda sock: ForwardedStream(self, sock).begin())

    def close(self) -> None:
        """Accept no more."""
        if self._acceptor is not None:
            self._acceptor.close()

    def began(self, stream: "ForwardedStream") -> None:
        """A local application connected."""
        self._streams.add(stream)
        self._counters.streams_total += 1
        self.pool.open_stream(stream)

    def answered(self, stream: "ForwardedStream") -> None:
        """The server said yes. It also acknowledged the stream, so another one may be opened."""
        self.answers.remove(stream)
        if log.enabled(QUIET):
            log_opened(self.fields(stream))
        self.pool.serve_waiting()

    def ended(self, stream: "ForwardedStream", reason: str) -> None:
        """It is over, one way or the other."""
        self.answers.remove(stream)
        self._streams.discard(stream)
        self._counters.bytes_in += stream.bytes_in
        self._counters.bytes_out += stream.bytes_out
        self.pool.stream_gone(stream)
        if not stream.established or log.enabled(QUIET):
            log_ended(stream, self.fields(stream), reason)
        if not self._streams:
            self._drained()

    def rule_fields(self) -> dict[str, object]:
        """The rule, for logs."""
        return {
            "hyperion.server.name": self._server,
            "hyperion.forward.local": self._local,
            "destination.port": self.remote_port,
        }

    def fields(self, stream: "ForwardedStream") -> dict[str, object]:
        """What every log line of a stream carries."""
        return self.rule_fields() | {"hyperion.stream.id": stream.stream_id}


def log_opened(fields: dict[str, object]) -> None:
    """The server said yes; at ``QUIET``."""
    log.event(STREAM_OPENED, fields, level=QUIET)


def log_ended(stream: "ForwardedStream", fields: dict[str, object], reason: str) -> None:
    """At ``QUIET``, unless it never came about."""
    if not stream.established:
        log.event(STREAM_DENIED if reason == "egress-policy" else STREAM_FAILED, fields, reason=reason)
        return
    totals = {"source.bytes": stream.bytes_out, "destination.bytes": stream.bytes_in}
    duration = {"event.duration": int((time.monotonic() - stream.started_at) * 1e9)}
    log.event(STREAM_CLOSED, fields | totals | duration, reason=reason, level=QUIET)


class ForwardedStream(Relay):
    """One local connection on its way to the server."""

    __slots__ = ("_forward", "established", "stream_id")

    def __init__(self, forward: StreamRule, sock: socket.socket) -> None:
        super().__init__()
        self._forward = forward
        #: the server answered OK
        self.established = False
        self.stream_id: int | None = None
        self._take(sock, forward.poller)

    def begin(self) -> None:
        """Ask for a stream, and hear already what the application has to say."""
        self._forward.began(self)
        if self._local is not None:  # there may be no tunnel, and no hope for one
            self._local.resume_reading()

    def carry(self, connection: TunnelConnection) -> None:
        """The pool found a connection: ask the server.

        It alone knows what is allowed now: a reload may have changed it.
        """
        stream = connection.tunnel.mux.open_stream()
        self.stream_id = stream.id
        self._attach(connection, stream)
        connection.send(stream, encode_request(self._forward.remote_port))
        self._forward.answers.add(self)

    def on_data(self, data: memoryview) -> None:
        if self.established:
            self._deliver(data)
            return
        try:
            status = decode_response(data[0])
        except ConnectError as error:
            self.end(error.reason)
            return
        if status is not ConnectStatus.OK:
            self.end("egress-policy" if status is ConnectStatus.DENIED else "unreachable")
            return
        self.established = True
        self._forward.answered(self)
        if self.connection is not None and self.stream is not None:
            self.connection.consumed(self.stream, RESPONSE_BYTES)
            if len(data) > RESPONSE_BYTES:
                self._deliver(data[RESPONSE_BYTES:])
            self._start()

    def say_first(self, data: bytes) -> None:
        """Bytes of our own for the local application, before any of the peer's."""
        if self._local is not None:
            self._local.write(memoryview(data))

    def relay_ended(self, reason: str) -> None:
        self._forward.ended(self, reason)

    def _abort_local(self) -> None:
        """One turn later, so that an application whose connect is just coming true sees it come true first."""
        local, self._local = self._local, None
        if local is not None:
            local.pause_reading()
            asyncio.get_running_loop().call_soon(local.abort)
