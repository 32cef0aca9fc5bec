"""Try one server once, step by step: connect, handshake, one round trip of records. What ``doctor`` shows.

Message 2 proves the server's key and the PSK; only a pong proves that the server accepted our first record, so that a
stream would work, too (WIRE Q6).
"""

import asyncio
import time

import msgspec

from hyperion.config import ServerEntry
from hyperion.proto.errors import RecordError
from hyperion.proto.keys import PrivateKey
from hyperion.worker.connection import TunnelConnection
from hyperion.worker.connector import ConnectFailed, Connector, Step, Target, TunnelSession


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


async def probe(entry: ServerEntry, identity: PrivateKey, timeout: float) -> ProbeReport:
    """Probe one server, each of the three steps within ``timeout`` seconds. Never raises for what the network does."""
    target = Target(
        entry.name, entry.endpoint.host, entry.endpoint.port, entry.public_key.raw, identity.raw, entry.psk.raw
    )
    address = str(entry.endpoint)
    session = TunnelSession()
    try:
        connection, steps = await Connector(target).connect(session, connect_timeout=timeout, handshake_timeout=timeout)
    except ConnectFailed as error:
        return ProbeReport(
            server=entry.name,
            address=address,
            ok=False,
            steps=error.steps,
            reason=error.reason,
            message=str(error),
            hint=error.hint,
        )
    try:
        return await _round_trip(entry.name, address, connection, session, steps, timeout)
    finally:
        done = RecordError("the probe is over")
        done.reason = "stop"
        connection.go_away(done)
        await session.closed


async def _round_trip(
    name: str,
    address: str,
    connection: TunnelConnection,
    session: TunnelSession,
    steps: tuple[Step, ...],
    timeout: float,
) -> ProbeReport:
    """The last step: wait for the pong of the ping that opened the session."""
    started = time.monotonic()
    told_at = time.time()
    try:
        async with asyncio.timeout(timeout):
            seconds = await session.proven
    except TimeoutError:
        seconds = None
    proven = seconds is not None
    steps = (*steps, Step("record", round((time.monotonic() - started) * 1000, 2), proven))
    said = session.parameters
    report = ProbeReport(
        server=name,
        address=address,
        ok=proven,
        steps=steps,
        round_trip_ms=None if seconds is None else round(seconds * 1000, 2),
        server_name=said.name,
        agent=said.agent,
        skew_ms=None if said.time is None else said.time - int(told_at * 1000),
        ports=said.ports,
    )
    if proven:
        return report
    return msgspec.structs.replace(
        report,
        reason="no-round-trip",
        message="the handshake succeeded, but the server did not answer the first record",
        hint="try again; if it stays so, look for HYP2002W in the server's log",
    )
