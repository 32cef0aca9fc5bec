"""What ``doctor`` learns of one server."""

import asyncio
import time
from ipaddress import IPv4Address

import pytest

from hyperion.config import Endpoint, KnockSettings, ServerEntry
from hyperion.proto.keys import PrivateKey, Psk, PublicKey
from hyperion.worker.probe import probe
from tests.helpers.rig import ADMIN_SECRET, PSK, SERVER, Rig, service
from tests.peer.noise import PeerHandshakeError, ResponderHandshake
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops

NO_KNOCK = KnockSettings(enabled=False, port=None, window=0)
IDENTITY = PrivateKey.from_entropy(ADMIN_SECRET)


def entry(port: int, psk: bytes = PSK) -> ServerEntry:
    return ServerEntry("web1", Endpoint("127.0.0.1", port), PublicKey(SERVER), Psk(psk), 2, IPv4Address("10.99.0.10"))


async def test_a_good_server() -> None:
    async with Rig(9, 22) as rig:
        report = await probe(entry(rig.server_port), IDENTITY, 5.0, NO_KNOCK)
        assert report.ok
        assert report.reason is None
        assert [(step.name, step.ok) for step in report.steps] == [
            ("resolve", True),
            ("connect", True),
            ("handshake", True),
            ("record", True),
        ]
        assert (report.server, report.address) == ("web1", f"127.0.0.1:{rig.server_port}")
        assert (report.server_name, report.ports) == ("rig", (9, 22))
        assert report.round_trip_ms is not None
        assert abs(report.skew_ms or 0) < 1000


@pytest.mark.parametrize(("psk", "reason"), [(PSK, "refused"), (bytes(32), "bad-psk")])
async def test_failures_have_a_reason_and_a_hint(psk: bytes, reason: str) -> None:
    async with Rig(9) as rig:
        port = closed_port() if reason == "refused" else rig.server_port
        report = await probe(entry(port, psk), IDENTITY, 5.0, NO_KNOCK)
        assert (report.ok, report.reason) == (False, reason)
        assert report.hint
        assert report.message
        assert not report.steps[-1].ok


async def test_an_unknown_identity_is_refused() -> None:
    async with Rig(9, handshake_timeout=0.2) as rig:
        report = await probe(entry(rig.server_port), PrivateKey.from_entropy(bytes([7] * 32)), 5.0, NO_KNOCK)
        assert (report.ok, report.reason) == (False, "handshake-refused")


async def test_message_2_alone_is_no_proof() -> None:
    """A server that completes the handshake and then says nothing."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake = ResponderHandshake(bytes([0x22] * 32), PSK, bytes([9] * 32))
        try:
            handshake.read_1((await reader.readexactly(2 + int.from_bytes(b"\x00\x60", "big")))[2:])
        except PeerHandshakeError:  # our own message carries a payload
            return
        await reader.read()

    async with service(half) as port:
        started = time.monotonic()
        report = await probe(entry(port), IDENTITY, 0.3, NO_KNOCK)
        assert not report.ok
        assert time.monotonic() - started < 2
