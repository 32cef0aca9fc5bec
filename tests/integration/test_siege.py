"""Many who never prove anything, and an honest client among them."""

import asyncio
import contextlib

import pytest

from hyperion.events import SESSION_REFUSED
from hyperion.proto.errors import HandshakeError
from hyperion.worker.connector import Connector, TunnelSession
from hyperion.worker.gate import MAX_UNPROVEN
from tests.helpers.rig import Events, Rig, echo, service, took, until

pytestmark = pytest.mark.both_loops

DEADLINE = 1.0


async def dribble(port: int, source: str) -> tuple[bytes, float]:
    """One byte of a plausible message every 50 ms; what came back, and after how many seconds the server hung up."""
    started = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    answer = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError, RuntimeError):  # the latter is uvloop's word for a closed transport
        for byte in b"\x00\x60" + bytes(94):
            if answer.done():
                break
            writer.write(bytes((byte,)))
            await asyncio.wait([answer], timeout=0.05)
    try:
        heard = await answer
    except ConnectionResetError:
        heard = b""
    writer.transport.abort()
    return heard, took(started)


@pytest.mark.alone
async def test_slow_connections_end_at_the_deadline_and_an_honest_client_gets_in_afterwards(events: Events) -> None:
    """200 connections from 25 addresses: 64 may stay until the deadline, the rest is turned away at once."""
    async with service(echo) as port, Rig(port, handshake_timeout=DEADLINE) as rig:
        crowd = [asyncio.create_task(dribble(rig.server_port, f"127.0.1.{1 + number % 25}")) for number in range(200)]
        await until(lambda: rig.server.gate.unproven == MAX_UNPROVEN)
        assert await rig.exchange(b"a session that was there before") == b"a session that was there before"
        results = await asyncio.gather(*crowd)
        assert {heard for heard, _ in results} == {b""}
        stayed = [seconds for _, seconds in results if seconds > DEADLINE / 2]
        assert len(stayed) == MAX_UNPROVEN
        assert all(abs(seconds - DEADLINE) < 0.5 for seconds in stayed)
        await until(lambda: rig.server.gate.unproven == 0)
        connection, _ = await Connector(rig.target()).connect(session := TunnelSession())
        assert await session.proven
        connection.close(HandshakeError("enough"))
        await session.closed
        assert 0 < len(events.fields(SESSION_REFUSED)) < 200  # a flood is counted, not written down line by line
