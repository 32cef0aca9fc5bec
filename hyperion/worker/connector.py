"""Make one tunnel to one server: resolve, connect, handshake. One attempt; when to try again is the pool's business.

Knows: the steps, their time-outs, and how each fails. Every step that took place is reported with its time, so that
``doctor`` and the log can say where it stopped.
"""

import asyncio
import socket
import time
from secrets import token_bytes

import msgspec

from hyperion import __version__
from hyperion.errors import UnreachableError
from hyperion.proto.errors import HandshakeError, ProtocolError
from hyperion.proto.extensions import LEVEL, Parameters
from hyperion.proto.noise.handshake import KEY_BYTES
from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.tunnel import ClientTunnel, TunnelOpened
from hyperion.worker.connection import Session, TunnelConnection

#: Seconds for one TCP connect. Short: a server behind a closed firewall drops the SYN, and the kernel repeats it only
#: after a second, so it is better to begin again (WIRE Q3).
CONNECT_TIMEOUT = 5.0
#: Seconds for the handshake. A little more than the server's own 3 s: it ends a refused handshake at its deadline, and
#: then we can say "refused" instead of "no answer".
HANDSHAKE_TIMEOUT = 4.0


class Target(msgspec.Struct, frozen=True):
    """One server and the keys to reach it."""

    name: str
    host: str
    port: int
    server_public: bytes
    static_secret: bytes
    psk: bytes

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.host!r}, {self.port})"


class Step(msgspec.Struct, frozen=True):
    """One step of connecting and how long it took, milliseconds."""

    name: str
    milliseconds: float
    ok: bool


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
        if not self.proven.done():
            self.proven.set_result(None)
        if not self.closed.done():
            self.closed.set_result(error)


class ConnectFailed(UnreachableError):
    """An attempt failed. ``reason`` is a short stable word, ``steps`` what was tried."""

    def __init__(self, message: str, *, reason: str, hint: str, steps: tuple[Step, ...]) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.steps = steps


class Connector:
    """Attempts to reach one target."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def connect(
        self,
        session: TunnelSession,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> tuple[TunnelConnection, tuple[Step, ...]]:
        """One attempt. Raises ConnectFailed."""
        started = time.monotonic()
        connection = await self._connect_tcp(session, connect_timeout, handshake_timeout, started)
        connected = time.monotonic()
        steps = (Step("connect", _milliseconds(started, connected), True),)
        try:
            await session.opened
        except ProtocolError as error:
            failed = Step("handshake", _milliseconds(connected, time.monotonic()), False)
            raise _handshake_failed(error, (*steps, failed)) from None
        except asyncio.CancelledError:
            connection.close(HandshakeError("given up", reason="stop"))
            raise
        return connection, (*steps, Step("handshake", _milliseconds(connected, time.monotonic()), True))

    async def _connect_tcp(
        self, session: TunnelSession, connect_timeout: float, handshake_timeout: float, started: float
    ) -> TunnelConnection:
        target = self.target
        loop = asyncio.get_running_loop()
        try:
            # Also before there is a socket: a factory that raises, for an unusable server key, makes the loop forget it
            # unclosed.
            self._new_tunnel(handshake_timeout)
            async with asyncio.timeout(connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: TunnelConnection(self._new_tunnel(handshake_timeout), session), target.host, target.port
                )
        except (OSError, UnicodeError, HandshakeError) as error:  # TimeoutError is an OSError
            step = Step("connect", _milliseconds(started, time.monotonic()), False)
            raise _connect_failed(error, target, step) from None
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


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 2)


def _connect_failed(error: OSError | UnicodeError | HandshakeError, target: Target, step: Step) -> ConnectFailed:
    where = f"{target.host}:{target.port}"
    if isinstance(error, HandshakeError):
        message, reason = "the configured server key is not a usable key", error.reason
        hint = "compare server_pubkey with what 'hyperion-server keygen' printed on the server"
    elif isinstance(error, TimeoutError):
        message, reason = f"no answer from {where}", "connect-timeout"
        hint = "is the server up, and does its firewall let this address in?"
    elif isinstance(error, ConnectionRefusedError):
        message, reason = f"connection refused by {where}", "refused"
        hint = "nothing listens there: is hyperion-server running, and is this its port?"
    elif isinstance(error, socket.gaierror | UnicodeError):  # the latter: a name that cannot even be asked for
        message, reason = f"cannot resolve {target.host}", "unresolved"
        hint = "check addr in the configuration, and this machine's name resolution"
    else:
        message, reason = f"cannot reach {where} ({error.strerror or type(error).__name__})", "unreachable"
        hint = "check the network and the route to the server"
    return ConnectFailed(message, reason=reason, hint=hint, steps=(step,))


def _handshake_failed(error: ProtocolError, steps: tuple[Step, ...]) -> ConnectFailed:
    reason = getattr(error, "reason", "handshake-failed")
    if reason == "bad-psk":
        message = "the server's answer does not authenticate: the shared secret (PSK) differs"
        hint = "compare the passphrase and salt, or the PSK, of both sides"
    elif reason == "handshake-timeout":
        message = "connected, but no answer to the handshake"
        hint = "is it hyperion-server that listens there, and is its load bearable?"
    else:
        message = "the server hung up without an answer, as it does with keys it does not know"
        hint = "is this client's public key in admin_pubkeys, and is server_pubkey the server's present key?"
        reason = "handshake-refused"
    return ConnectFailed(message, reason=reason, hint=hint, steps=steps)
