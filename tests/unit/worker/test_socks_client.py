"""One SOCKS client after another, through a rig's worker."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperion.events import SOCKS_REFUSED, STREAM_DENIED, STREAM_FAILED
from hyperion.proto import socks as machine
from hyperion.proto.control import LogSettings, SocksConfig, StreamPlace
from hyperion.proto.socks import Reply
from hyperion.worker import socks_client
from hyperion.worker.deadlines import Deadlines
from hyperion.worker.socks import SocksWorker
from tests.helpers.calls import CalledRig, bind, reach
from tests.helpers.rig import Events, echo, listen, noise, port_of, reset, service, until
from tests.helpers.socks import dial, exactly, to_the_end
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops

ADDRESSES = ("10.99.0.10", "192.0.2.1")
DATA = noise(2_000_000)


@contextlib.asynccontextmanager
async def proxy(path: Path) -> AsyncIterator[tuple[str, int]]:
    """A SOCKS child in this process for the worker that is met at ``path``; nothing of it is left afterwards."""
    listener = listen()
    address = ("127.0.0.1", port_of(listener))
    config = SocksConfig(("x",), (StreamPlace("Web1", str(path), ADDRESSES),), LogSettings())
    worker = SocksWorker(config, lambda _: None)
    await worker.start([listener])
    try:
        yield address
    finally:
        worker.drain(5)
        async with asyncio.timeout(10):
            await worker.finished.wait()


async def blocking_dial(
    address: tuple[str, int], host: str, port: int, early: bytes = b""
) -> tuple[socket.socket, int]:
    answered = await asyncio.to_thread(dial, address, host, port, early=early)
    return answered.sock, answered.code


@pytest.mark.parametrize("host", ["Web1", "web1", "WEB1.hyperion", "10.99.0.10", "192.0.2.1"])
async def test_a_server_by_each_of_its_names(events: Events, tmp_path: Path, host: str) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port), proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, host, port, b"early")
        assert code == Reply.SUCCEEDED
        with sock:
            await asyncio.to_thread(sock.sendall, b" and late")
            sock.shutdown(socket.SHUT_WR)
            assert await asyncio.to_thread(to_the_end, sock) == b"early and late"
        assert events.fields(SOCKS_REFUSED) == []


async def test_bulk_both_ways_and_half_close(events: Events, tmp_path: Path) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port), proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, "web1", port)
        assert code == Reply.SUCCEEDED

        def send() -> None:
            sock.sendall(DATA)
            sock.shutdown(socket.SHUT_WR)

        with sock:
            _, received = await asyncio.gather(asyncio.to_thread(send), asyncio.to_thread(to_the_end, sock))
        assert received == DATA


@pytest.mark.parametrize("host", ["web2", "192.0.2.2", "127.0.0.1", "example.com", "2001:db8::1", "hyperion"])
async def test_only_configured_servers(events: Events, tmp_path: Path, host: str) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port), proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, host, port, b"x" * 1000)
        assert code == Reply.NOT_ALLOWED
        assert await asyncio.to_thread(to_the_end, sock) == b""  # an end, no reset: it can be told why
        sock.close()
        (line,) = events.fields(SOCKS_REFUSED)
        assert events.reasons(SOCKS_REFUSED) == ["unknown-server"]
        assert (line["destination.address"], line["destination.port"]) == (host, port)
        assert line["source.ip"] == "127.0.0.1"


async def test_a_denied_port_is_said_once(events: Events, tmp_path: Path) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port, allow=()), proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, "web1", port, b"x" * 1000)
        assert code == Reply.NOT_ALLOWED
        assert await asyncio.to_thread(to_the_end, sock) == b""
        sock.close()
        assert events.reasons(STREAM_DENIED) == ["egress-policy"] * 2  # client's worker and server's, both in here
        assert events.reasons(SOCKS_REFUSED) == []


async def test_a_port_where_nobody_listens(events: Events, tmp_path: Path) -> None:
    port = closed_port()
    async with CalledRig(tmp_path / "s", port), proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, "web1", port)
        assert code == Reply.CONNECTION_REFUSED
        sock.close()
        assert "unreachable" in events.reasons(STREAM_FAILED)
        assert events.reasons(SOCKS_REFUSED) == []


async def test_a_dead_server(events: Events, tmp_path: Path) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port, link=True) as rig:
        assert rig.link is not None
        rig.client._pool._waiting = Deadlines(0.2, rig.client._pool._waited_too_long)
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: not state.up)
        async with proxy(tmp_path / "s") as address:
            sock, code = await blocking_dial(address, "web1", port)
            assert code == Reply.HOST_UNREACHABLE
            sock.close()
            assert events.reasons(STREAM_FAILED) == ["no-tunnel"]
            assert events.reasons(SOCKS_REFUSED) == []


@pytest.mark.parametrize("death", ["was never there", "dies at once", "says something else"])
async def test_a_worker_that_is_gone(events: Events, tmp_path: Path, death: str) -> None:
    with contextlib.ExitStack() as stack:
        if death != "was never there":
            listener = stack.enter_context(bind(tmp_path / "s"))

            def die() -> None:
                with listener.accept()[0] as control:
                    _, descriptors, _, _ = socket.recv_fds(control, 100, 1)
                    os.close(descriptors[0])
                    if death == "says something else":
                        control.sendall(b"\xff")

            dying = asyncio.create_task(asyncio.to_thread(die))
        async with proxy(tmp_path / "s") as address:
            sock, code = await blocking_dial(address, "web1", 22)
            assert code == Reply.GENERAL_FAILURE
            sock.close()
            assert events.reasons(SOCKS_REFUSED) == ["worker-gone"]
        if death != "was never there":
            await dying


async def test_a_worker_that_hangs_holds_up_nobody_else(events: Events, tmp_path: Path) -> None:
    """The kernel holds no more callers for it: the next one must be told so, and not stop this process."""
    path = tmp_path / "s"
    with bind(path, backlog=0), reach(path):
        async with proxy(path) as address:
            sock, code = await blocking_dial(address, "web1", 22)
            assert code == Reply.GENERAL_FAILURE
            sock.close()
            assert events.reasons(SOCKS_REFUSED) == ["worker-gone"]


async def test_a_broken_tunnel_resets_the_client(events: Events, tmp_path: Path) -> None:
    """It has the client's own socket, so there is nothing in between that could soften it."""
    async with service(echo) as port, CalledRig(tmp_path / "s", port, link=True) as rig:
        assert rig.link is not None
        async with proxy(tmp_path / "s") as address:
            sock, code = await blocking_dial(address, "web1", port)
            assert code == Reply.SUCCEEDED
            with sock:
                sock.sendall(b"x")
                assert await asyncio.to_thread(exactly, sock, 1) == b"x"
                rig.link.cut()
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(to_the_end, sock)


@pytest.mark.parametrize(
    ("said", "answer", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"", "not-socks5"),
        (b"\x04\x01\x00\x16\x7f\x00\x00\x01\x00", b"", "not-socks5"),
        (b"\x05\x01\x02", b"\x05\xff", "method"),
        (b"\x05\x01\x00\x05\x02\x00\x01" + bytes(6), b"\x05\x00\x05\x07\x00\x01" + bytes(6), "command"),
        (b"\x05\x01\x00\x05\x01\x00\x09" + bytes(6), b"\x05\x00\x05\x08\x00\x01" + bytes(6), "address-type"),
    ],
)
async def test_clients_that_want_something_else(
    events: Events, tmp_path: Path, said: bytes, answer: bytes, reason: str
) -> None:
    async with proxy(tmp_path / "s") as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(said)
        async with asyncio.timeout(5):
            assert await reader.read() == answer
        writer.close()
        assert events.reasons(SOCKS_REFUSED) == [reason]


async def test_a_client_that_says_nothing_is_left(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "NEGOTIATION_TIMEOUT", 0.1)
    async with proxy(tmp_path / "s") as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"\x05")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert events.reasons(SOCKS_REFUSED) == ["timeout"]


async def test_a_client_that_hangs_up_is_no_news(events: Events, tmp_path: Path) -> None:
    async with proxy(tmp_path / "s") as address:
        for said in (b"", b"\x05", b"\x05\x01\x00"):
            _, polite = await asyncio.open_connection(*address)
            polite.write(said)
            polite.close()
            _, rude = await asyncio.open_connection(*address)
            rude.write(said)
            reset(rude)
        await asyncio.sleep(0)
    assert events.all == [] or events.reasons(SOCKS_REFUSED) == []


async def test_a_refused_client_that_goes_on_talking_is_cut(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks_client, "FAREWELL_TIMEOUT", 0.1)
    async with proxy(tmp_path / "s") as address:
        sock, code = await blocking_dial(address, "web2", 22)
        assert code == Reply.NOT_ALLOWED

        def talk() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    sock.sendall(bytes(1 << 16))

        await asyncio.wait_for(asyncio.to_thread(talk), 10)
        sock.close()


async def test_a_flood_of_refusals_is_counted(events: Events, tmp_path: Path) -> None:
    async with proxy(tmp_path / "s") as address:
        for _ in range(5):
            sock, _ = await blocking_dial(address, "web2", 22)
            sock.close()
    assert len(events.reasons(SOCKS_REFUSED)) < 5


async def test_nothing_of_a_served_client_is_left_here(events: Events, tmp_path: Path) -> None:
    async with service(echo) as port, CalledRig(tmp_path / "s", port) as rig, proxy(tmp_path / "s") as address:
        before = 0
        for turn in range(4):
            sock, code = await blocking_dial(address, "web1", port)
            assert code == Reply.SUCCEEDED
            sock.shutdown(socket.SHUT_WR)
            assert await asyncio.to_thread(to_the_end, sock) == b""
            sock.close()
            await until(lambda: not rig.client._calls._callers and not rig.server_tunnels()[0].owners)
            if turn == 0:
                before = len(os.listdir("/proc/self/fd"))
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
