"""Callers of the stream socket: answers, endings, and those that do not behave."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from hyperion.events import STREAM_DENIED, STREAM_FAILED, STREAM_OPENED
from hyperion.proto.handover import Answer, Ending, encode_handover
from hyperion.rendezvous import call
from hyperion.worker.deadlines import Deadlines
from tests.helpers.calls import Call, CalledRig, reach
from tests.helpers.rig import (
    WAIT_SECONDS,
    Events,
    Stream,
    digest,
    echo,
    ending,
    hang_up,
    noise,
    send_all,
    service,
    until,
)
from tests.peer.services import closed_port

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here"),
]

#: More than all windows and buffers hold.
MUCH = noise(3_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


async def tcp_pair() -> tuple[Stream, socket.socket]:
    """An application's connection, and our accepted end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await asyncio.open_connection(*listener.getsockname()[:2], limit=1 << 18)
        accepted, _ = listener.accept()
    return stream, accepted


async def test_a_stream_with_a_clean_end(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.OK
        received, _ = await asyncio.gather(made.reader.read(), send_all(made.writer, MUCH))
        assert received == MUCH
        assert await made.ending() is Ending.CLEAN
        made.close()
        assert events.fields(STREAM_OPENED)[-1]["destination.port"] == port
        await until(lambda: not rig.client._calls.streams)


async def test_half_close_is_kept(events: Events, path: Path) -> None:
    async with service(digest) as port, CalledRig(path, port) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.OK
        await send_all(made.writer, MUCH)
        assert len(await made.reader.read()) == 32
        assert await made.ending() is Ending.CLEAN
        made.close()


async def test_the_preamble_comes_first_and_the_child_may_leave(events: Events, path: Path) -> None:
    """As SOCKS does it: a TCP connection is handed over, and its negotiator leaves."""
    async with service(echo) as port, CalledRig(path, port) as rig:
        (reader, writer), accepted = await tcp_pair()
        with accepted:
            control = call(rig.meeting, port, accepted, b"reply", patience=WAIT_SECONDS)
        control.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(control, 10) == bytes((Answer.OK,))
        control.close()
        writer.write(b"hello")
        assert await reader.readexactly(10) == b"replyhello"
        writer.write_eof()
        assert await reader.read() == b""
        await hang_up(writer)


async def test_a_denied_port(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, allow=()) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.DENIED
        assert await made.reason() == "egress-policy"
        made.close()
        # the client's line and, in the same process here, the server's
        assert events.reasons(STREAM_DENIED) == ["egress-policy"] * 2
        assert {"hyperion.server.name": "web1", "destination.port": port, "hyperion.stream.id": 1} in events.fields(
            STREAM_DENIED
        )


async def test_a_port_where_nobody_listens(events: Events, path: Path) -> None:
    port = closed_port()
    async with CalledRig(path, port) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.UNREACHABLE
        assert await made.reason() == "unreachable"
        made.close()


async def test_no_tunnel_is_told_with_its_reason(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, link=True) as rig:
        assert rig.link is not None
        rig.client._pool._waiting = Deadlines(0.2, rig.client._pool._waited_too_long)
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: not state.up)
        made = await rig.call(port)
        assert await made.answer() is Answer.NO_TUNNEL
        assert await made.reason() in {"refused", "peer-closed", "peer-reset"}
        made.close()


async def test_a_broken_tunnel_is_no_clean_end(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, link=True) as rig:
        assert rig.link is not None
        made = await rig.call(port)
        assert await made.answer() is Answer.OK
        made.writer.write(b"x")
        assert await made.reader.readexactly(1) == b"x"
        rig.link.cut()
        assert await made.ending() is Ending.BROKEN
        made.close()


async def test_a_broken_tunnel_resets_a_tcp_connection(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, link=True) as rig:
        assert rig.link is not None
        (reader, writer), accepted = await tcp_pair()
        with accepted:
            control = call(rig.meeting, port, accepted, patience=WAIT_SECONDS)
        made = Call(*await asyncio.open_unix_connection(sock=control), writer)  # type: ignore[arg-type]
        assert (await made.control.readexactly(1))[0] == Answer.OK
        rig.link.cut()
        assert await ending(reader) == "reset"
        made.reader.close()  # type: ignore[attr-defined]
        await hang_up(writer)


async def test_a_caller_that_leaves_before_the_answer_opens_nothing(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("down")
        made = await rig.call(port)
        await until(lambda: rig.client._calls.streams)
        made.close()
        await until(lambda: not rig.client._calls.streams)
        assert events.reasons(STREAM_FAILED)[0] in {"caller-gone", "local-closed"}
        rig.link.resume()


@pytest.mark.parametrize("what", ["nothing", "no-descriptor", "a-file", "a-listener", "a-datagram", "half"])
async def test_callers_that_do_not_behave(events: Events, path: Path, what: str) -> None:
    async with service(echo) as port, CalledRig(path, port) as rig:
        before = len(os.listdir("/proc/self/fd"))
        control = reach(path)
        held: list[socket.socket] = []
        match what:
            case "nothing":
                control.shutdown(socket.SHUT_WR)
            case "half":
                control.send(encode_handover(port)[:2])
                control.shutdown(socket.SHUT_WR)
            case "no-descriptor":
                control.send(encode_handover(port))
            case "a-file":
                with Path("/dev/null").open() as file:
                    socket.send_fds(control, [encode_handover(port)], [file.fileno()])
            case "a-listener":
                held.append(socket.create_server(("127.0.0.1", 0)))
            case "a-datagram":
                held += socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            case _:
                raise AssertionError(what)
        if held:
            socket.send_fds(control, [encode_handover(port)], [held[0].fileno()])
        control.setblocking(False)
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(control, 1) == b""
        for sock in (control, *held):
            sock.close()
        await until(lambda: not rig.client._calls._callers and len(os.listdir("/proc/self/fd")) <= before)
        good = await rig.call(port)
        assert await good.answer() is Answer.OK
        good.close()


async def test_a_silent_caller_is_sent_away(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port) as rig:
        calls = rig.client._calls
        calls.requests = Deadlines(0.1, lambda caller: caller.close())
        control = reach(path)
        control.setblocking(False)
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(control, 1) == b""
        control.close()


async def test_another_user_is_not_served(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port, uids=(os.getuid() + 1,)) as rig:
        made = await rig.call(port)
        assert await made.answer() is None
        made.close()
        assert events.reasons(STREAM_DENIED) == ["not-permitted"]


async def test_drain_waits_for_callers(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.OK
        rig.client.drain(30)
        with pytest.raises(ConnectionRefusedError):
            await rig.call(port)
        made.writer.write(b"still here")
        assert await made.reader.readexactly(10) == b"still here"
        assert not rig.client.finished.is_set()
        made.writer.write_eof()
        assert await made.reader.read() == b""
        assert await made.ending() is Ending.CLEAN
        made.close()
        async with asyncio.timeout(5):
            await rig.client.finished.wait()


async def test_the_heartbeat_counts_called_streams(events: Events, path: Path) -> None:
    async with service(echo) as port, CalledRig(path, port) as rig:
        made = await rig.call(port)
        assert await made.answer() is Answer.OK
        made.writer.write(b"12345")
        assert await made.reader.readexactly(5) == b"12345"
        beat = rig.client.heartbeat()
        assert (beat.streams, beat.streams_total, beat.bytes_in, beat.bytes_out) == (1, 1, 5, 5)
        made.close()
