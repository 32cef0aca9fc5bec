"""One tunnel for one stream: what ``nc`` does where no client runs.

Knows how to connect once and carry what is called for over that connection. Refuses to try again: whoever waits at a
terminal wants to know now, and ssh has its own idea of patience.
"""

import asyncio
import socket

from hyperion.proto.errors import RecordError
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.connector import Connector, Target, TunnelSession
from hyperion.worker.counters import Counters
from hyperion.worker.knocker import MakeSocket
from hyperion.worker.poller import new_poller
from hyperion.worker.pool import WaitingStream
from hyperion.worker.streams import StreamSocket

#: Seconds that the last words may take: a little more than a connection gives itself for them.
CLOSE_SECONDS = 3.0


class SingleTunnel:
    """A pool of one connection that is not replaced."""

    def __init__(self, target: Target, make_socket: MakeSocket = socket.socket) -> None:
        self._target = target
        self._make_socket = make_socket
        self._session = TunnelSession()
        self._poller = new_poller()
        self._connection: TunnelConnection | None = None
        self._calls: StreamSocket | None = None

    @property
    def reason(self) -> str | None:
        """There was a connection, else nobody would ask."""
        return "closed"

    async def open(self, uids: tuple[int, ...]) -> None:
        """Knock, connect, handshake. Raises ``ConnectFailed``."""
        self._connection, _ = await Connector(self._target, self._make_socket).connect(self._session)
        self._calls = StreamSocket(self, self._poller, self._target.name, uids, Counters())

    def adopt(self, control: socket.socket) -> None:
        """A caller, as if it had come to the stream socket."""
        assert self._calls is not None
        self._calls.adopt(control)

    async def close(self) -> None:
        """End streams and tunnel."""
        if self._calls is not None:
            for stream in self._calls.streams:
                stream.end("stop")
            self._calls.close()
        if self._connection is not None:
            done = RecordError("the command is over")
            done.reason = "stop"
            self._connection.go_away(done)
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._session.closed
        self._poller.close()

    # --- what callers and their streams ask of a pool

    def open_stream(self, stream: WaitingStream) -> None:
        """Now or never."""
        connection = self._connection
        if connection is None or not connection.alive or not connection.tunnel.mux.may_open:
            stream.end("no-tunnel")
        else:
            stream.carry(connection)

    def stream_gone(self, stream: WaitingStream) -> None:
        """Nobody waits for its place."""

    def serve_waiting(self) -> None:
        """Nobody waits."""
