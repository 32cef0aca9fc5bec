"""The control channel: its limits and its ends; on a Unix pair and on a TCP pair, on both loops."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from hyperion import channel
from hyperion.channel import Channel, ChannelError, encode
from hyperion.proto.admins import Roster
from hyperion.proto.control import (
    MAX_MESSAGE_BYTES,
    Drain,
    Fault,
    Heartbeat,
    Message,
    Ready,
    ServerPolicy,
    Stop,
    SupervisorToWorker,
    TunnelState,
    WorkerToSupervisor,
)

Ends = tuple[Channel[WorkerToSupervisor], Channel[SupervisorToWorker]]
SAID = [Ready(1), Heartbeat(1, 2, 3, 4, 5, 6), TunnelState(1, 4, None, 0.2), Fault("x", 78)]


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """What ``socket.socketpair`` makes on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


@pytest.fixture(params=["unix", "tcp"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    ours, theirs = socket.socketpair() if request.param == "unix" else tcp_pair()
    pair = await channel.open_supervisor_end(ours), await channel.open_worker_end(theirs)
    yield pair
    for end in pair:
        end.abort()
    await asyncio.sleep(0)  # the transports close in the next turn


@pytest.fixture
async def raw() -> AsyncIterator[tuple[Channel[WorkerToSupervisor], socket.socket]]:
    """A supervisor's end, and a socket that says anything."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = await channel.open_supervisor_end(ours)
    yield end, theirs
    end.abort()
    theirs.close()
    await asyncio.sleep(0)


@pytest.mark.both_loops
async def test_messages_arrive_in_order_both_ways(ends: Ends) -> None:
    supervisor, worker = ends
    orders: list[Message] = [Drain(3.0), ServerPolicy(Roster(), 2.0), Stop()]
    for order in orders:
        supervisor.send(order)
    for message in SAID:
        worker.send(message)
    assert [await worker.receive() for _ in orders] == orders
    assert [await supervisor.receive() for _ in SAID] == SAID


@pytest.mark.both_loops
async def test_the_end_of_the_other_side_is_none_each_time(ends: Ends) -> None:
    supervisor, worker = ends
    worker.send(Ready(5))
    worker.close()
    assert await supervisor.receive() == Ready(5)
    assert [await supervisor.receive(), await supervisor.receive()] == [None, None]


@pytest.mark.both_loops
async def test_an_aborted_end_is_an_end(ends: Ends) -> None:
    supervisor, worker = ends
    waiting = asyncio.create_task(supervisor.receive())
    await asyncio.sleep(0)
    worker.abort()
    assert await waiting is None


async def test_sending_to_nobody_is_no_error(ends: Ends) -> None:
    supervisor, worker = ends
    worker.abort()
    assert await supervisor.receive() is None
    supervisor.send(Stop())
    worker.send(Ready(1))
    assert await worker.receive() is None


@pytest.mark.both_loops
async def test_a_message_of_the_other_direction_is_refused(ends: Ends) -> None:
    supervisor, worker = ends
    worker.send(Ready(1))
    worker.send(Stop())
    worker.send(Ready(2))
    assert await supervisor.receive() == Ready(1)
    for _ in range(2):
        with pytest.raises(ChannelError, match="refused"):
            await supervisor.receive()


async def test_too_large_a_message_is_not_sent(ends: Ends) -> None:
    with pytest.raises(ChannelError, match="at most 65536"):
        ends[1].send(Fault("x" * MAX_MESSAGE_BYTES, 1))


@pytest.mark.both_loops
async def test_the_largest_message_passes(ends: Ends) -> None:
    empty = len(encode(Fault("", 1))) - 4
    # The length of a long string takes four bytes more than that of an empty one.
    message = Fault("x" * (MAX_MESSAGE_BYTES - empty - 4), 1)
    assert MAX_MESSAGE_BYTES - 2 <= len(encode(message)) - 4 <= MAX_MESSAGE_BYTES
    ends[1].send(message)
    assert await ends[0].receive() == message


async def test_an_end_that_does_not_read_is_an_error_in_the_end() -> None:
    ours, theirs = socket.socketpair()
    supervisor = await channel.open_supervisor_end(ours)
    message = Fault("x" * 60_000, 1)

    def send_much() -> None:
        for _ in range(1000):
            supervisor.send(message)

    with theirs, pytest.raises(ChannelError, match="unread"):
        send_much()
    supervisor.abort()
    await asyncio.sleep(0)


@pytest.mark.both_loops
async def test_a_flood_waits_in_the_socket_and_loses_nothing(ends: Ends) -> None:
    supervisor, worker = ends
    count = 4 * channel.MAX_WAITING_MESSAGES
    for number in range(count):
        worker.send(Ready(number))
    worker.close()
    await asyncio.sleep(0.05)
    assert [await supervisor.receive() for _ in range(count)] == [Ready(number) for number in range(count)]
    assert await supervisor.receive() is None


@pytest.mark.both_loops
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 9])
async def test_a_message_cut_short_is_an_end(raw: tuple[Channel[WorkerToSupervisor], socket.socket], cut: int) -> None:
    end, theirs = raw
    theirs.send(encode(Ready(1)) + encode(Ready(2))[:cut])
    theirs.close()
    assert await end.receive() == Ready(1)
    assert await end.receive() is None


@pytest.mark.both_loops
async def test_an_announced_length_is_judged_before_the_body_comes(
    raw: tuple[Channel[WorkerToSupervisor], socket.socket],
) -> None:
    end, theirs = raw
    theirs.send(struct.pack(">I", MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ChannelError, match="announces 65537 bytes"):
        await end.receive()


@pytest.mark.both_loops
async def test_random_bytes_end_the_channel_or_wait(raw: tuple[Channel[WorkerToSupervisor], socket.socket]) -> None:
    end, theirs = raw
    theirs.send(random.Random(1).randbytes(4096))
    with pytest.raises(ChannelError):
        await end.receive()
