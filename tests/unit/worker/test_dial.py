"""The server's end of a stream. Small set-ups on real sockets, on both loops."""

import asyncio

import pytest

from hyperion.events import STREAM_CLOSED, STREAM_DENIED, STREAM_FAILED, STREAM_OPENED
from tests.helpers.rig import Events, Rig, echo, ending, hang_up, reset, service, until
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, and is done."""
    writer.write(b"hello")
    writer.write_eof()


async def hang_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def test_answer_data_and_end_in_one_go(events: Events) -> None:
    """The end of the stream is known before its first byte was handed on: it must not overtake it."""
    async with service(greet) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("down")
        reader, writer = await rig.open()
        await until(lambda: events.fields(STREAM_OPENED))
        await until(lambda: rig.server_tunnels()[0].tunnel.mux.streams[0].send_closed)
        rig.link.resume()
        assert await reader.read() == b"hello"
        writer.write_eof()
        await hang_up(writer)
        await until(lambda: len(events.fields(STREAM_CLOSED)) == 2)
        assert events.reasons(STREAM_CLOSED) == ["finished", "finished"]


async def test_answer_and_reset_in_one_go_cost_nobody_else(events: Events) -> None:
    async with service(hang_up_at_once) as port, service(echo) as other, Rig(port, other, link=True) as rig:
        assert rig.link is not None
        reader, writer = await rig.open(1)
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        rig.link.stall("down")
        broken, its_writer = await rig.open()
        its_writer.write(b"x" * 1000)
        await until(lambda: "local-error" in events.reasons(STREAM_CLOSED))
        rig.link.resume()
        assert await ending(broken) == "reset"
        await hang_up(its_writer)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        await hang_up(writer)


async def test_request_and_reset_in_one_go_cost_nobody_else(events: Events) -> None:
    """A local application that gives up at once: the refusal finds no stream any more."""
    async with service(echo) as port, Rig(port, 7, allow=(port,), link=True) as rig:
        assert rig.link is not None
        reader, writer = await rig.open()
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        rig.link.stall("up")
        _, its_writer = await rig.open(1)
        await until(lambda: len(rig.client_tunnels()[0].owners) == 2)
        rig.client._forwards[1].streams[0].end("test")
        await asyncio.sleep(0)
        rig.link.resume()
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        await hang_up(its_writer)
        await hang_up(writer)


async def test_denied_and_unreachable_are_told_apart(events: Events) -> None:
    dead = closed_port()
    async with Rig(7, dead, allow=(dead,)) as rig:
        for index in (0, 1):
            reader, writer = await rig.open(index)
            assert await ending(reader) == "reset"
            await hang_up(writer)
        await until(lambda: len(events.reasons(STREAM_FAILED)) == len(events.reasons(STREAM_DENIED)) == 2)
        assert events.reasons(STREAM_DENIED) == ["egress-policy", "egress-policy"]  # on both sides
        assert set(events.reasons(STREAM_FAILED)) == {"refused", "unreachable"}  # the server knows more
