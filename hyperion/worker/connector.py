"""Make one tunnel to one server: resolve, knock, connect, handshake. One attempt; when to try again is the pool's
business.

Knows: the steps, their time-outs, and how each fails. Every step that took place is reported with its time, so that
``doctor`` and the log can say where it stopped.
"""

import asyncio
import contextlib
import socket
import time
from secrets import token_bytes
from typing import NamedTuple

import msgspec

from hyperion import __version__
from hyperion.proto.control import KnockOrder
from hyperion.proto.errors import HandshakeError, ProtocolError
from hyperion.proto.extensions import LEVEL, Parameters
from hyperion.proto.noise.handshake import KEY_BYTES
from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.tunnel import ClientTunnel, TunnelOpened
from hyperion.way_out import leads_into
from hyperion.worker.addresses import resolve
from hyperion.worker.connection import Session, TunnelConnection
from hyperion.worker.failure import (
    ConnectFailed,
    Step,
    Tried,
    bad_key,
    connect_failed,
    handshake_failed,
    led_into_device,
    milliseconds,
)
from hyperion.worker.knocker import Knocker, Knocks, MakeSocket
from hyperion.worker.race import Race
from hyperion.worker.server_clock import ServerClock

__all__ = ["ConnectFailed", "Connector", "Step", "Target", "TunnelSession"]

#: Seconds to resolve, knock and connect. Short: a server behind a closed firewall drops the SYN, and the kernel repeats
#: it only after a second, so it is better to begin again (WIRE Q3).
CONNECT_TIMEOUT = 5.0
#: Seconds for the handshake. A little more than the server's own 3 s: it ends a refused handshake at its deadline, and
#: then we can say "refused" instead of "no answer".
HANDSHAKE_TIMEOUT = 4.0
#: Dials of one server at once where there is a gate, however large the pool: each knock may be good for one connection
#: only, and a server that does not answer hears one client, not one for each member of the pool.
MAX_GATED_DIALS = 1


class Target(msgspec.Struct, frozen=True):
    """One server and the keys to reach it. ``knock`` is None if it has no gate."""

    name: str
    host: str
    port: int
    server_public: bytes
    static_secret: bytes
    psk: bytes
    knock: KnockOrder | None = None

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.host!r}, {self.port})"


class TunnelSession(Session):
    """A client's side of a connection.

    ``opened`` resolves at the end of the handshake, ``proven`` with the first round trip in seconds (so the server
    opened our records, too), ``closed`` at the end of it all.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[TunnelOpened] = loop.create_future()
        self.proven: asyncio.Future[float | None] = loop.create_future()
        self.closed: asyncio.Future[ProtocolError] = loop.create_future()
        self.parameters = Parameters()

    def on_open(self, connection: TunnelConnection, event: TunnelOpened) -> None:
        self.parameters = event.parameters
        if not self.opened.done():
            self.opened.set_result(event)

    def on_round_trip(self, connection: TunnelConnection, seconds: float) -> None:
        if not self.proven.done():
            self.proven.set_result(seconds)

    def on_closed(self, connection: TunnelConnection, error: ProtocolError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # a dial that was given up meanwhile does not ask, and that is no fault
        if not self.proven.done():
            self.proven.set_result(None)
        if not self.closed.done():
            self.closed.set_result(error)


class _Connected(NamedTuple):
    """TCP stands; ``at`` is monotonic seconds."""

    sock: socket.socket
    at: float
    steps: tuple[Step, ...]


class Connector:
    """Attempts to reach one target. ``clock`` is what it learned of the server's, over all attempts."""

    def __init__(self, target: Target, make_socket: MakeSocket = socket.socket) -> None:
        self.target = target
        self.clock = ServerClock(None if target.knock is None else target.knock.skew_ms)
        self._make_socket = make_socket
        #: seconds from the last SYN to its answer
        self._round_trip: float | None = None
        self._knocker = (
            None
            if target.knock is None
            else Knocker(target.knock, target.server_public, target.port, self.clock, make_socket)
        )
        self._turn = contextlib.nullcontext() if self._knocker is None else asyncio.Semaphore(MAX_GATED_DIALS)

    async def connect(
        self,
        session: TunnelSession,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> tuple[TunnelConnection, tuple[Step, ...]]:
        """One attempt. Raises ConnectFailed."""
        try:
            self._new_tunnel(handshake_timeout)  # before anybody is bothered
        except HandshakeError as error:
            raise bad_key(error) from None
        async with self._turn:
            connected = await self._connect_tcp(connect_timeout)
        sent_at = time.time()
        connection = await self._begin(session, connected, handshake_timeout)
        try:
            opened = await session.opened
        except ProtocolError as error:
            failed = Step("handshake", milliseconds(connected.at), False)
            raise handshake_failed(error, (*connected.steps, failed)) from None
        except asyncio.CancelledError:
            connection.close(HandshakeError("given up", reason="stop"))
            raise
        if opened.parameters.time is not None:
            self.clock.learn(opened.parameters.time, sent_at, time.time())
        return connection, (*connected.steps, Step("handshake", milliseconds(connected.at), True))

    async def _connect_tcp(self, timeout: float) -> _Connected:
        began = time.monotonic()
        tried = Tried(self.target.host, self.target.port)
        try:
            async with asyncio.timeout(timeout):
                tried.addresses = await resolve(self.target.host, self.target.port)
            tried.step("resolve", began)
            self._go_around(tried)
            left = timeout - (time.monotonic() - began)
            began = time.monotonic()
            sock = await self._race(tried, left)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            tried.step("connect" if tried.addresses else "resolve", tried.knocked_at or began, ok=False)
            raise connect_failed(error, tried) from None
        tried.step("connect", tried.knocked_at or began)
        return _Connected(sock, time.monotonic(), tuple(tried.steps))

    def _go_around(self, tried: Tried) -> None:
        """Leaves out addresses where ``hyperion-client tun`` would be handed our packets, in place of the server."""
        around = [each for each in tried.addresses if not leads_into(each.family, each.sockaddr, self._make_socket)]
        if not around:
            raise led_into_device(tried)
        tried.addresses = around

    async def _race(self, tried: Tried, timeout: float) -> socket.socket:
        if self._knocker is None:
            return await Race(tried.addresses, None, self._make_socket).run(timeout)
        began = time.monotonic()
        knocks = Knocks(self._knocker)
        try:
            with knocks:
                race = Race(tried.addresses, knocks, self._make_socket, self._round_trip)
                sock = await race.run(timeout)
                self._round_trip = race.round_trip
                return sock
        finally:
            tried.note_knocks(knocks, began)

    async def _begin(self, session: TunnelSession, connected: _Connected, handshake_timeout: float) -> TunnelConnection:
        """The socket becomes a connection, which says its first message at once."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: TunnelConnection(self._new_tunnel(handshake_timeout), session), sock=connected.sock
            )
        except BaseException:
            connected.sock.close()
            raise
        return connection

    def _new_tunnel(self, handshake_timeout: float) -> ClientTunnel:
        target = self.target
        return ClientTunnel(
            static=target.static_secret,
            server_public=target.server_public,
            psk=target.psk,
            ephemeral=token_bytes(KEY_BYTES),
            now=time.monotonic(),
            own=Parameters(x=LEVEL, frame=MAX_PLAINTEXT_BYTES, agent=f"hyperion/{__version__}"),
            handshake_timeout=handshake_timeout,
        )
