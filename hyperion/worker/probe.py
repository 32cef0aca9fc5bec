"""Try one server once, step by step: resolve, knock, connect, handshake, one round trip of records. What ``doctor``
shows.

Message 2 proves the server's key and the PSK; only a pong proves that the server accepted our first record, so that a
stream would work, too (WIRE Q6).
"""

import asyncio
import socket
import time

import msgspec

from hyperion.config import Endpoint, KnockSettings, ServerEntry
from hyperion.proto.errors import RecordError
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.proto.keys import PrivateKey
from hyperion.worker.causes import Evidence, causes_of_silence, clock_is_synchronised
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.connector import ConnectFailed, Connector, Step, Target, TunnelSession
from hyperion.worker.failure import milliseconds
from hyperion.worker.knocker import MakeSocket
from hyperion.worker.target import target_of


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe found. Times in milliseconds; the server's words only if it speaks extensions."""

    server: str
    address: str
    ok: bool
    steps: tuple[Step, ...]
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    round_trip_ms: float | None = None
    server_name: str | None = None
    agent: str | None = None
    skew_ms: int | None = None
    ports: tuple[int, ...] | None = None
    #: knocks that went out, and what may be wrong if none helped, the likeliest first
    knocks: int = 0
    causes: tuple[str, ...] = ()


async def probe(
    entry: ServerEntry,
    identity: PrivateKey,
    timeout: float,
    knock: KnockSettings,
    make_socket: MakeSocket = socket.socket,
) -> ProbeReport:
    """Probe one server: a TCP connection, the handshake, and a record, each within ``timeout`` seconds.

    Never raises for what the network does.
    """
    target = target_of(entry, identity, knock)
    address = str(entry.endpoint)
    session = TunnelSession()
    connector = Connector(target, make_socket)
    try:
        connection, steps = await connector.connect(session, connect_timeout=timeout, handshake_timeout=timeout)
    except ConnectFailed as error:
        return ProbeReport(
            server=entry.name,
            address=address,
            ok=False,
            steps=error.steps,
            reason=error.reason,
            message=str(error),
            hint=error.hint,
            knocks=error.knocks,
            causes=_causes(error, target),
        )
    try:
        return await _round_trip(connector, connection, session, steps, timeout)
    finally:
        done = RecordError("the probe is over")
        done.reason = "stop"
        connection.go_away(done)
        await session.closed


def _causes(error: ConnectFailed, target: Target) -> tuple[str, ...]:
    if error.reason != KNOCK_UNANSWERED or target.knock is None:
        return ()
    evidence = Evidence(
        knock_port=target.knock.port,
        tunnel_port=target.port,
        knocks=error.knocks,
        rejected=error.rejected,
        synchronised=clock_is_synchronised(),
    )
    return causes_of_silence(evidence)


async def _round_trip(
    connector: Connector,
    connection: TunnelConnection,
    session: TunnelSession,
    steps: tuple[Step, ...],
    timeout: float,
) -> ProbeReport:
    """The last step: wait for the pong of the ping that opened the session."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            seconds = await session.proven
    except TimeoutError:
        seconds = None
    proven = seconds is not None
    said, target = session.parameters, connector.target
    report = ProbeReport(
        server=target.name,
        address=str(Endpoint(target.host, target.port)),
        ok=proven,
        steps=(*steps, Step("record", milliseconds(started), proven)),
        round_trip_ms=None if seconds is None else round(seconds * 1000, 2),
        server_name=said.name,
        agent=said.agent,
        skew_ms=connector.clock.skew_ms,
        ports=said.ports,
        knocks=sum(step.count for step in steps if step.name == "knock"),
    )
    if proven:
        return report
    return msgspec.structs.replace(
        report,
        reason="no-round-trip",
        message="the handshake succeeded, but the server did not answer the first record",
        hint="try again; if it stays so, look for HYP2002W in the server's log",
    )
