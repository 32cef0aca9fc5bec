"""The client's listeners and the streams they accept."""

import asyncio

import pytest

from hyperion.events import LISTENER_STARTED, STREAM_FAILED, STREAM_OPENED
from hyperion.proto.connect import RESPONSE_BYTES
from hyperion.worker.buffers import local_buffer
from hyperion.worker.deadlines import Deadlines
from hyperion.worker.forward import ForwardedStream
from tests.helpers.rig import Events, Rig, Stream, echo, ending, hang_up, service, took, until

pytestmark = pytest.mark.both_loops


async def opened(rig: Rig, count: int) -> list[Stream]:
    """So many applications, connected and heard by the echo."""

    async def one() -> Stream:
        reader, writer = await rig.open()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        return reader, writer

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def test_more_opens_than_may_be_unanswered_go_on_as_answers_come(events: Events) -> None:
    """256 may be unacknowledged at once; the next wait for an acknowledgement, not for the end of some other stream."""
    async with service(echo) as port, Rig(port) as rig, asyncio.timeout(8):
        for _, writer in await opened(rig, 300):
            await hang_up(writer)


async def test_the_listener_and_each_stream_are_logged(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        assert await rig.exchange(b"hello") == b"hello"
        assert events.fields(LISTENER_STARTED) == [
            {
                "hyperion.server.name": "web1",
                "hyperion.forward.local": f"127.0.0.1:{rig.local_ports[0]}",
                "destination.port": port,
            }
        ]
        assert events.fields(STREAM_OPENED)[-1]["hyperion.stream.id"] == 1


async def test_a_server_that_never_answers_is_given_up(events: Events) -> None:
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        forward = rig.client._forwards[0]
        forward.answers = Deadlines(0.1, lambda stream: stream.end("timeout"))
        rig.link.stall("down")
        started = asyncio.get_running_loop().time()
        reader, writer = await rig.open()
        assert await ending(reader) == "reset"
        assert took(started) < 5
        await hang_up(writer)
        assert events.reasons(STREAM_FAILED)[0] == "timeout"
        assert forward.streams == []
        rig.link.resume()


async def test_an_answer_that_is_not_in_the_table_ends_the_stream(events: Events) -> None:
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("down")
        reader, writer = await rig.open()
        await until(lambda: rig.client._forwards[0].streams)
        stream = rig.client._forwards[0].streams[0]
        assert isinstance(stream, ForwardedStream)
        await until(lambda: stream.stream is not None)
        stream.on_data(memoryview(b"\x07" * RESPONSE_BYTES))
        assert await ending(reader) == "reset"
        await hang_up(writer)
        rig.link.resume()
        assert events.reasons(STREAM_FAILED)[0] == "bad-response"


async def test_a_hasty_application_loses_nothing(events: Events) -> None:
    """It speaks, and even ends, before the server has answered."""
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("down")
        data = bytes(local_buffer[:9])
        reader, writer = await rig.open()
        writer.write(data)
        writer.write_eof()
        await until(lambda: len(rig.server_tunnels()[0].owners) == 1)
        rig.link.resume()
        assert await reader.read() == data
        await hang_up(writer)
