"""The server's end of a stream: read the request, ask the policy, connect to this machine's own port, relay.

Knows: the request and its answers. Refuses to know: who the admin is; it asks its session. The target is always
127.0.0.1.

Source: WIRE section 9.
"""

import asyncio
from typing import Protocol

from hyperion.proto.connect import REQUEST_BYTES, ConnectStatus, decode_request
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.worker.connection import TunnelConnection, as_transport
from hyperion.worker.relay import Relay, reset_at_close

#: Where every stream leads. Never ::1 and never another host: a server gives access to itself only.
TARGET_HOST = "127.0.0.1"


class DialPolicy(Protocol):
    """What a served stream asks of its session."""

    draining: bool

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
        self._dialing: asyncio.Task[None] | None = None
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
            super().on_data(data)
            return
        self._early += data
        if self.port is None and len(self._early) >= REQUEST_BYTES:
            self.port = decode_request(self._early[:REQUEST_BYTES])
            del self._early[:REQUEST_BYTES]
            self._on_request(self.port)

    def on_reset(self, reason: str) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
        super().on_reset(reason)

    def relay_ended(self, reason: str) -> None:
        self._policy.stream_ended(self, reason)

    def end(self, reason: str) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
        super().end(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection, stream = self.connection, self.stream
        if connection is None or stream is None:  # reset while we dialled
            as_transport(transport).abort()
            return
        reset_at_close(transport.get_extra_info("socket"))
        connection.send(stream, bytes((ConnectStatus.OK,)))
        connection.consumed(stream, REQUEST_BYTES)
        self._policy.stream_opened(self)
        early, self._early = self._early, bytearray()
        if early:
            self._deliver(memoryview(early))
        self._start()

    def _on_request(self, port: int) -> None:
        if not self._policy.allows(port):
            self._refuse(ConnectStatus.DENIED, "egress-policy")
        elif self._policy.draining:
            self._refuse(ConnectStatus.UNREACHABLE, "drain")
        else:
            assert self.connection is not None
            self._dialing = self.connection.loop.create_task(self._dial(port))

    async def _dial(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, TARGET_HOST, port)
        except OSError as error:
            self._refuse(
                ConnectStatus.UNREACHABLE, "refused" if isinstance(error, ConnectionRefusedError) else "unreachable"
            )
        finally:
            self._dialing = None

    def _refuse(self, status: ConnectStatus, reason: str) -> None:
        """Say no and reset: the answer still arrives, it is in front of the reset."""
        if self.connection is not None and self.stream is not None:
            self.connection.send(self.stream, bytes((status,)))
            self.end(reason)
