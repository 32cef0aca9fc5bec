"""What an idle stream costs: objects, and no buffer."""

import gc
import tracemalloc

import pytest

from tests.helpers.rig import Events, Rig, Stream, echo, hang_up, service, until

pytestmark = pytest.mark.both_loops

#: Bytes that an idle stream may cost on each side.
PER_SIDE = 8 * 1024
STREAMS = 100


async def test_an_idle_stream_costs_less_than_8_kilobytes_a_side(events: Events) -> None:
    """Measured in one process: both sides, the application, the target. Only what our own code allocated counts."""

    async def talk() -> Stream:
        reader, writer = await rig.open()
        writer.write(b"x" * 20_000)
        await reader.readexactly(20_000)
        return reader, writer

    async with service(echo) as port, Rig(port) as rig:
        _, first = await talk()
        tracemalloc.start()
        try:
            before = tracemalloc.take_snapshot()
            streams = [await talk() for _ in range(STREAMS)]
            gc.collect()
            grown = tracemalloc.take_snapshot().compare_to(before, "filename")
        finally:
            tracemalloc.stop()
        ours = sum(item.size_diff for item in grown if "/hyperion/" in item.traceback[0].filename)
        assert 0 < ours < 2 * PER_SIDE * STREAMS
        for writer in [first, *(writer for _, writer in streams)]:
            await hang_up(writer)
        await until(lambda: not rig.server_tunnels()[0].owners)
