"""Connections that have proven nothing, on real sockets, with the independent handshake of ``tests.peer``."""

import asyncio
import os

import pytest

from hyperion.events import SESSION_OPENED, SESSION_REFUSED
from hyperion.proto.admins import AdminRule
from hyperion.proto.keys import PrivateKey
from hyperion.worker.connector import Connector, TunnelSession
from hyperion.worker.egress import Admins
from hyperion.worker.gate import MAX_UNPROVEN_PER_SOURCE, Gate
from tests.helpers.rig import ADMIN_SECRET, PSK, SERVER, Events, Rig, Stream, took, until
from tests.peer.noise import InitiatorHandshake

pytestmark = pytest.mark.both_loops

DEADLINE = 0.4
#: What a test's machine may be late, seconds.
LATE = 0.5


def message_1(secret: bytes = ADMIN_SECRET, psk: bytes = PSK, payload: bytes = b"") -> bytes:
    """A framed first message."""
    message = InitiatorHandshake(secret, SERVER, psk, os.urandom(32)).write_1(payload)
    return len(message).to_bytes(2, "big") + message


async def connect(rig: Rig) -> Stream:
    return await asyncio.open_connection("127.0.0.1", rig.server_port)


def now() -> float:
    return asyncio.get_running_loop().time()


async def heard(stream: Stream, since: float | None = None) -> tuple[bytes, float]:
    """Everything until the server hangs up, and how long that took: from now, or ``since`` the connection was begun."""
    started = now() if since is None else since
    reader, writer = stream
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    writer.transport.abort()
    return answer, took(started)


FLIPPED = bytearray(message_1())
FLIPPED[-1] ^= 1
REFUSED = {
    "nothing": (b"", "handshake-timeout"),
    "half a length": (b"\x00", "handshake-timeout"),
    "half a message": (message_1()[:50], "handshake-timeout"),
    "length zero": (b"\x00\x00", "malformed"),
    "length 4097": (b"\x10\x01" + bytes(5000), "malformed"),
    "too short": (b"\x00\x5f" + bytes(0x5F), None),
    "flipped tag": (bytes(FLIPPED), None),
    "unknown admin": (message_1(bytes([7] * 32)), "unknown-static-key"),
    "payload that is no map": (message_1(payload=b"\xff"), "malformed"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), None),
}


@pytest.mark.parametrize("sent", REFUSED)
async def test_whatever_was_wrong_is_answered_by_silence_until_the_deadline(sent: str, events: Events) -> None:
    data, reason = REFUSED[sent]
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        began = now()
        stream = await connect(rig)
        stream[1].write(data)
        answer, seconds = await heard(stream, began)
        assert answer == b""
        assert DEADLINE - 0.05 < seconds < DEADLINE + LATE
        await until(lambda: events.fields(SESSION_REFUSED))
        assert reason is None or events.reasons(SESSION_REFUSED) == [reason]
        stranger = PrivateKey.from_entropy(bytes([7] * 32)).public().fingerprint if sent == "unknown admin" else None
        assert events.fields(SESSION_REFUSED)[0].get("hyperion.peer.fingerprint") == stranger
        assert rig.server.gate.unproven == 0
        assert len(events.fields(SESSION_OPENED)) == 1  # the rig's own client


async def test_a_replayed_message_is_refused_like_all_others(events: Events) -> None:
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        message, began = message_1(), now()
        first, again = await connect(rig), await connect(rig)
        first[1].write(message)
        assert await first[0].readexactly(2) == b"\x00\x30"
        again[1].write(message)
        answer, seconds = await heard(again, began)
        assert answer == b""
        assert DEADLINE - 0.05 < seconds < DEADLINE + LATE
        await heard(first)
        await until(lambda: len(events.fields(SESSION_REFUSED)) + len(rig.server.meter._counts) >= 2)
        assert "no-proof" in [*events.reasons(SESSION_REFUSED), *rig.server.meter._counts]
        assert "replay" in [*events.reasons(SESSION_REFUSED), *rig.server.meter._counts]


@pytest.mark.parametrize("junk", [b"", b"\x00\x20" + bytes(32), b"\x00\x00", b"\xff" * 70_000])
async def test_half_a_proof_is_none(junk: bytes, events: Events) -> None:
    """An admin's key without the PSK: message 1 passes, and nothing after it."""
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        stream = await connect(rig)
        stream[1].write(message_1(psk=bytes(32)))
        await stream[0].readexactly(2 + 48)
        stream[1].write(junk)
        answer, seconds = await heard(stream)
        assert answer == b""
        assert seconds < DEADLINE + LATE
        await until(lambda: events.fields(SESSION_REFUSED))
        assert events.reasons(SESSION_REFUSED) == ["bad-psk" if junk else "no-proof"]
        assert events.fields(SESSION_REFUSED)[0]["user.name"] == "alice"
        assert len(rig.server._sessions) == 1  # the rig's own client


async def test_one_source_holds_no_more_than_its_share(events: Events) -> None:
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        crowd = [await connect(rig) for _ in range(MAX_UNPROVEN_PER_SOURCE)]
        await until(lambda: rig.server.gate.unproven == MAX_UNPROVEN_PER_SOURCE)
        answer, seconds = await heard(await connect(rig))
        assert answer == b""
        assert seconds < DEADLINE / 2  # not even a handshake begins
        assert events.reasons(SESSION_REFUSED) == ["limit"]
        await asyncio.gather(*map(heard, crowd))
        await until(lambda: rig.server.gate.unproven == 0)
        began = now()
        assert (await heard(await connect(rig), began))[1] > DEADLINE - 0.05


async def test_all_sources_together_hold_no_more_than_the_cap(events: Events) -> None:
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        rig.server.gate = Gate(limit=3, per_source=100)
        crowd = [await connect(rig) for _ in range(3)]
        await until(lambda: rig.server.gate.unproven == 3)
        assert (await heard(await connect(rig)))[1] < DEADLINE / 2
        await asyncio.gather(*map(heard, crowd))
        await until(lambda: rig.server.gate.unproven == 0)


async def test_an_admin_removed_between_the_two_messages_does_not_come_in(events: Events) -> None:
    async with Rig(9, handshake_timeout=DEADLINE) as rig:
        listed = rig.server.admins

        class OnlyOnce(Admins):
            def find(self, public_key: bytes) -> AdminRule | None:
                rig.server.admins = Admins(())
                return listed.find(public_key)

        rig.server.admins = OnlyOnce(())
        session = TunnelSession()
        await Connector(rig.target()).connect(session)
        async with asyncio.timeout(5):
            await session.closed
        assert events.reasons(SESSION_REFUSED) == ["revoked"]
        assert len(events.fields(SESSION_OPENED)) == 1  # the rig's own client
        assert rig.server.gate.unproven == 0
