"""A local socket under random use: whatever the order of writes, pauses and reads, bytes arrive once and in order."""

import asyncio
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion import loop
from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker.buffers import local_buffer
from hyperion.worker.local_socket import LOCAL_HIGH_BYTES, LocalOwner, LocalSocket, prepare
from hyperion.worker.poller import EpollPoller, LoopPoller, Poller

#: What may happen, with how much.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "pause", "resume", "application reads", "application writes", "turn"]),
        st.integers(1, 200_000),
    ),
    max_size=40,
)


class Owner(LocalOwner):
    """Takes everything, up to a limit that changes with each read."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.data = bytearray()
        self.may_read = False
        self.ended = False
        self.closed: list[OSError | None] = []
        self.owed = False

    def read_limit(self) -> int:
        assert self.may_read
        return self._random.randint(1, 65_000)

    def on_local_data(self, size: int) -> None:
        assert self.may_read
        self.data += local_buffer[HEADER_BYTES : HEADER_BYTES + size]

    def on_local_end(self) -> None:
        assert not self.ended
        self.ended = True

    def on_local_drained(self) -> None:
        assert self.owed
        self.owed = False

    def on_local_closed(self, error: OSError | None) -> None:
        self.closed.append(error)


async def use(kind: type[Poller], steps: list[tuple[str, int]], seed: int) -> None:
    """Take all steps, then say the last word on both sides."""
    source = random.Random(seed)
    poller = kind()
    owner = Owner(seed)
    ours, application = socket.socketpair()
    application.setblocking(False)
    prepare(ours)
    local = LocalSocket(ours, poller, owner)
    down, up, received = bytearray(), bytearray(), bytearray()

    def application_reads(size: int) -> bool:
        try:
            part = application.recv(size)
        except BlockingIOError:
            return True
        received.extend(part)
        return bool(part)

    for step, size in steps:
        if step == "write":
            data = source.randbytes(size)
            down += data
            local.write(memoryview(data))
            owner.owed = owner.owed or local.full
            assert local.full or local.waiting_bytes <= LOCAL_HIGH_BYTES
        elif step in ("pause", "resume"):
            owner.may_read = step == "resume"
            (local.resume_reading if owner.may_read else local.pause_reading)()
        elif step == "application reads":
            application_reads(size)
        elif step == "application writes":
            data = source.randbytes(size)
            try:
                up += data[: application.send(data)]
            except BlockingIOError:
                continue
        await asyncio.sleep(0)
    owner.may_read = True
    local.resume_reading()
    application.shutdown(socket.SHUT_WR)
    while not owner.ended:
        await asyncio.sleep(0)
    local.close()
    while application_reads(1 << 16):
        await asyncio.sleep(0)
    assert received == down
    assert owner.data == up
    assert owner.closed == [None]
    application.close()
    poller.close()


@pytest.mark.parametrize("kind", [EpollPoller, LoopPoller])
@pytest.mark.parametrize("choice", ["uvloop", "asyncio"])
@given(steps=STEPS, seed=st.integers(0, 1 << 16))
def test_bytes_arrive_once_and_in_order(
    choice: loop.LoopChoice, kind: type[Poller], steps: list[tuple[str, int]], seed: int
) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await use(kind, steps, seed)

    loop.run(main, loop=choice)
