"""One attempt to reach a server, and how each kind of failure is told."""

import asyncio
import contextlib
import gc
import socket

import msgspec
import pytest

from hyperion.proto.errors import HandshakeError
from hyperion.worker import connector
from hyperion.worker.connector import ConnectFailed, Connector, Step, Target, TunnelSession
from tests.helpers.rig import ADMIN_SECRET, PSK, SERVER, Rig, service
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops


def target(port: int, **changes: object) -> Target:
    return msgspec.structs.replace(Target("web1", "127.0.0.1", port, SERVER, ADMIN_SECRET, PSK), **changes)


async def failure(to: Target, **timeouts: float) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        await Connector(to).connect(TunnelSession(), **timeouts)
    return caught.value


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(10)


async def test_both_steps_are_timed_and_the_server_proves_itself() -> None:
    async with Rig(9) as rig:
        session = TunnelSession()
        connection, steps = await Connector(rig.target()).connect(session)
        assert [(step.name, step.ok) for step in steps] == [("resolve", True), ("connect", True), ("handshake", True)]
        assert all(0 <= step.milliseconds < 5000 for step in steps)
        assert (await session.proven or 0) > 0
        assert session.parameters.name == "rig"
        assert session.parameters.ports == (9,)
        connection.close(HandshakeError("enough"))
        await session.closed


@pytest.mark.parametrize(
    ("changes", "reason", "steps"),
    [
        ({"port": 0}, "refused", [("resolve", True), ("connect", False)]),
        ({"host": "no-such-host.invalid"}, "unresolved", [("resolve", False)]),
        ({"host": "a" * 70 + ".example"}, "unresolved", [("resolve", False)]),
        ({"server_public": bytes(32)}, "bad-server-key", [("handshake", False)]),
    ],
)
async def test_without_a_connection(changes: dict[str, object], reason: str, steps: list[tuple[str, bool]]) -> None:
    error = await failure(target(closed_port(), **{key: value for key, value in changes.items() if key != "port"}))
    assert error.reason == reason
    assert error.hint
    assert [(step.name, step.ok) for step in error.steps] == steps


async def test_no_packet_goes_into_the_device_of_transparent_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the very sockets that would be used; an address that leads elsewhere is tried."""
    asked: list[tuple[object, ...]] = []

    def caught(*question: object) -> bool:
        asked.append(question)
        return question[1] == ("127.0.0.1", 9)

    def unused(family: int, kind: int) -> socket.socket:
        raise AssertionError((family, kind))

    monkeypatch.setattr(connector, "leads_into", caught)
    with pytest.raises(ConnectFailed) as failed:
        await Connector(target(9), unused).connect(TunnelSession())
    assert failed.value.reason == "led-into-device"
    assert asked == [(socket.AF_INET, ("127.0.0.1", 9), unused)]
    assert (await failure(target(closed_port()))).reason == "refused"


async def test_an_unusable_server_key_leaves_no_socket_behind() -> None:
    async with service(silence) as port:
        error = await failure(target(port, server_public=bytes(32)))
        assert "key" in str(error)
        gc.collect()  # an unclosed socket would be a warning, and warnings are errors


async def test_a_server_that_says_nothing() -> None:
    async with service(silence) as port:
        error = await failure(target(port), handshake_timeout=0.1)
        assert error.reason == "handshake-timeout"
        assert [(step.name, step.ok) for step in error.steps] == [
            ("resolve", True),
            ("connect", True),
            ("handshake", False),
        ]


async def test_a_server_that_hangs_up() -> None:
    async with service(hang_up) as port:
        assert (await failure(target(port))).reason == "handshake-refused"


async def test_another_psk() -> None:
    async with Rig(9) as rig:
        assert (await failure(target(rig.server_port, psk=bytes(32)))).reason == "bad-psk"


async def test_an_unknown_client_hears_nothing_until_the_deadline() -> None:
    async with Rig(9, handshake_timeout=0.3) as rig:
        error = await failure(target(rig.server_port, static_secret=bytes([7] * 32)))
        assert error.reason == "handshake-refused"
        assert 250 < error.steps[-1].milliseconds < 1500


async def test_giving_up_closes_the_connection() -> None:
    ended = asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with service(wait_for_the_end) as port:
        attempt = asyncio.create_task(Connector(target(port)).connect(TunnelSession()))
        done, _ = await asyncio.wait([attempt], timeout=0.2)
        assert not done
        attempt.cancel()
        async with asyncio.timeout(5):
            await ended.wait()
        assert (await asyncio.gather(attempt, return_exceptions=True))[0].__class__ is asyncio.CancelledError


def test_no_secret_shows() -> None:
    assert repr(target(1)) == "Target('web1', '127.0.0.1', 1)"
    assert Step("connect", 1.5, True).milliseconds == 1.5


async def test_an_end_that_nobody_waits_for_is_no_fault() -> None:
    """The dial was given up while its connection was being made."""
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    session = TunnelSession()
    async with Rig(9) as rig:
        connection, _ = await Connector(rig.target()).connect(TunnelSession())
        session.on_closed(connection, HandshakeError("the connection was lost"))
        del session
        gc.collect()
        connection.close(HandshakeError("enough"))
    assert not faults
