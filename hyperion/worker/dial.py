"""The server's end of a stream: read the request, ask the policy, connect to this machine's own port, relay.

Knows: the request and its answers. Refuses to know: who the admin is; it asks its session. The target is always
127.0.0.1.

Source: WIRE section 9.
"""

import errno
import socket
from typing import Protocol

from hyperion.proto.connect import REQUEST_BYTES, ConnectStatus, decode_request
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.worker.connecting import Connecting
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.poller import Poller
from hyperion.worker.relay import Relay

#: Where every stream leads. Never ::1 and never another host: a server gives access to itself only.
TARGET_HOST = "127.0.0.1"


_OK = bytes((ConnectStatus.OK,))


class DialPolicy(Protocol):
    """What a served stream asks of its session."""

    draining: bool
    poller: Poller

    def allows(self, port: int) -> bool:
        """May this stream's admin reach the port, now?"""

    def stream_opened(self, relay: "ServedStream") -> None:
        """The target answered."""

    def stream_ended(self, relay: "ServedStream", reason: str) -> None:
        """It is over."""


class ServedStream(Relay):
    """A stream that a client opened."""

    __slots__ = ("_dialing", "_early", "_policy", "port", "stream_id")

    def __init__(self, policy: DialPolicy, connection: TunnelConnection, stream: YamuxStream) -> None:
        super().__init__()
        self._policy = policy
        self._early = bytearray()  # the request, and what a hasty client sends behind it; bounded by its credit
        self._dialing: Connecting | None = None
        #: the destination, once it is known
        self.port: int | None = None
        self.stream_id = stream.id
        self._attach(connection, stream)

    @property
    def connected(self) -> bool:
        """The target answered, so bytes flow."""
        return self._started

    def on_data(self, data: memoryview) -> None:
        if self._started:
            self._deliver(data)
            return
        self._early += data
        if self.port is None and len(self._early) >= REQUEST_BYTES:
            self.port = decode_request(self._early[:REQUEST_BYTES])
            del self._early[:REQUEST_BYTES]
            self._on_request(self.port)

    def relay_ended(self, reason: str) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None
        self._policy.stream_ended(self, reason)

    def _on_request(self, port: int) -> None:
        if self.stream is None or self.stream.gone:
            return  # given up by the same read that brought it, which will be told next
        if not self._policy.allows(port):
            self._refuse(ConnectStatus.DENIED, "egress-policy")
        elif self._policy.draining:
            self._refuse(ConnectStatus.UNREACHABLE, "drain")
        else:
            # kept until it is done or given up; a connection made at once is told before this line is
            dialing = Connecting((TARGET_HOST, port), self._policy.poller, self._on_dialed)
            self._dialing = None if self._ended or self._started else dialing

    def _on_dialed(self, sock: socket.socket | None, error: int) -> None:
        """The target answered, or will not."""
        self._dialing = None
        if sock is None:
            self._refuse(ConnectStatus.UNREACHABLE, "refused" if error == errno.ECONNREFUSED else "unreachable")
            return
        connection, stream = self.connection, self.stream
        assert connection is not None  # else ``relay_ended`` would have given it up
        assert stream is not None
        self._take(sock, self._policy.poller)
        connection.send(stream, _OK)
        connection.consumed(stream, REQUEST_BYTES)
        self._policy.stream_opened(self)
        early, self._early = self._early, bytearray()
        if early:
            self._deliver(memoryview(early))
        self._start()

    def _refuse(self, status: ConnectStatus, reason: str) -> None:
        """Say no and reset: the answer still arrives, it is in front of the reset."""
        if self.connection is not None and self.stream is not None:
            self.connection.send(self.stream, bytes((status,)))
            self.end(reason)
