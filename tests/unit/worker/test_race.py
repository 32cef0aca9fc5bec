"""Attempts to connect, one after the other: the first wins, and nothing is left of the others."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from hyperion.proto.control import KnockOrder
from hyperion.proto.knock import KNOCK_BYTES, derive_knock_key
from hyperion.worker import race
from hyperion.worker.addresses import Address
from hyperion.worker.knocker import Knocker, Knocks
from hyperion.worker.race import ADDRESS_DELAY, MAX_IN_FLIGHT, QUICK_SECONDS, Race, moments
from hyperion.worker.server_clock import ServerClock
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops


class Sockets:
    """Makes them, and knows what became of them."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.most = 0

    def __call__(self, family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        self.made.append(sock)
        self.most = max(self.most, len(self.open(kind)))
        return sock

    def open(self, kind: int = socket.SOCK_STREAM) -> list[socket.socket]:
        return [sock for sock in self.made if sock.fileno() >= 0 and sock.type == kind]


class Gate:
    """A server that knows no TCP handshake until a number of knocks came: its backlog is full before."""

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.listener.getsockname()[1]
        self._fill = [socket.socket() for _ in range(2)]
        for sock in self._fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.bind(("127.0.0.1", 0))
        self._ear.setblocking(False)
        self.knock_port = self._ear.getsockname()[1]
        self.heard = 0
        self._accepted: list[socket.socket] = []

    async def serve(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            with contextlib.suppress(BlockingIOError):
                assert len(self._ear.recv(100)) == KNOCK_BYTES
                self.heard += 1
            if self.heard >= self._needed:
                self.listener.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    self._accepted.append(self.listener.accept()[0])

    def close(self) -> None:
        for sock in (*self._fill, *self._accepted, self._ear, self.listener):
            sock.close()


@contextlib.asynccontextmanager
async def gate(needed: int) -> AsyncIterator[Gate]:
    made = Gate(needed)
    task = asyncio.create_task(made.serve())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        made.close()


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as sock:
        yield sock


def address(port: int, host: str = "127.0.0.1") -> Address:
    return Address(socket.AF_INET, (host, port))


def of(listener: socket.socket) -> Address:
    return address(listener.getsockname()[1])


def knocks(port: int, sockets: Sockets) -> Knocks:
    order = KnockOrder(derive_knock_key(bytes(32)), port)
    return Knocks(Knocker(order, bytes([7] * 32), 8443, ServerClock(), sockets))


def test_the_schedule_is_dense_at_first_and_bounded() -> None:
    quick = list(itertools.takewhile(lambda at: at < QUICK_SECONDS, moments()))
    assert quick[:3] == [0.0, 0.02, 0.06]
    assert len(quick) == 23
    assert quick == sorted(quick)
    later = list(itertools.takewhile(lambda at: at < 60, moments()))[len(quick) + 1 :]
    assert {round(b - a, 6) for a, b in itertools.pairwise(later)} == {1.0}


def test_on_a_long_path_an_answer_is_waited_for() -> None:
    def first(round_trip: float) -> list[float]:
        return [round(at, 6) for at in itertools.islice(moments(round_trip), 4)]

    assert first(0.0) == [0.0, 0.02, 0.06, 0.15]
    assert first(0.1) == [0.0, 0.16, 0.32, 0.48]
    assert first(0.3) == [0.0, 0.46, 0.92, 1.38]
    assert first(30.0) == [0.0, 1.0, 2.0, 3.0]


async def test_without_a_gate_one_attempt_is_enough(listener: socket.socket, sockets: Sockets) -> None:
    race = Race([of(listener)], None, sockets)
    sock = await race.run(QUICK_SECONDS)
    assert 0 < (race.round_trip or 0) < 1
    assert sock.getpeername() == listener.getsockname()
    assert sockets.made == [sock]
    assert not sock.getblocking()
    sock.close()


async def test_an_address_that_refuses_costs_no_time(listener: socket.socket, sockets: Sockets) -> None:
    began = time.monotonic()
    sock = await Race([address(closed_port()), of(listener)], None, sockets).run(QUICK_SECONDS)
    assert time.monotonic() - began < ADDRESS_DELAY
    assert sock.getpeername() == listener.getsockname()
    assert sockets.open() == [sock]
    sock.close()


async def test_an_address_that_is_silent_costs_one_delay(listener: socket.socket, sockets: Sockets) -> None:
    async with gate(1) as silent:
        began = time.monotonic()
        sock = await Race([address(silent.port), of(listener)], None, sockets).run(QUICK_SECONDS)
        assert 0.9 * ADDRESS_DELAY < time.monotonic() - began < 4 * ADDRESS_DELAY  # a loop's clock has its own grain
        assert sockets.open() == [sock]
        sock.close()


async def test_if_none_is_left_the_most_telling_error_is_raised(sockets: Sockets) -> None:
    unreachable = address(1, "255.255.255.255")
    with pytest.raises(ConnectionRefusedError):
        await Race([unreachable, address(closed_port())], None, sockets).run(QUICK_SECONDS)
    with pytest.raises(OSError, match=r"(?i)unreachable|permission") as caught:
        await Race([unreachable], None, sockets).run(QUICK_SECONDS)
    assert not isinstance(caught.value, ConnectionRefusedError)
    assert sockets.open() == []


@pytest.mark.parametrize("needed", [1, 2, 4])
async def test_it_knocks_until_the_gate_opens(sockets: Sockets, needed: int) -> None:
    async with gate(needed) as server:
        with knocks(server.knock_port, sockets) as sent:
            began = time.monotonic()
            sock = await Race([address(server.port)], sent, sockets).run(QUICK_SECONDS)
            assert time.monotonic() - began < 0.9  # no SYN of the kernel's own was needed
        assert sent.sent >= needed
        assert sock.getpeername()[1] == server.port
        assert sockets.open() == [sock]
        assert sockets.open(socket.SOCK_DGRAM) == []
        sock.close()


async def test_a_gate_that_stays_shut_is_not_hammered(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "INTERVAL", 0.02)
    async with gate(10_000) as server:
        with knocks(server.knock_port, sockets) as sent, pytest.raises(TimeoutError):
            await Race([address(server.port)], sent, sockets).run(1.0)
        assert 10 < sent.sent < 40
        assert sockets.most <= MAX_IN_FLIGHT
        assert sockets.open() == sockets.open(socket.SOCK_DGRAM) == []


async def test_nothing_begins_behind_the_deadline(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "moments", lambda _: iter((0.0, 0.05, 0.1, 0.105, 0.11)))
    monkeypatch.setattr(race, "LAST_LOOK", 0.2)
    async with gate(10_000) as server:
        with knocks(server.knock_port, sockets) as sent, pytest.raises(TimeoutError):
            await Race([address(server.port)], sent, sockets).run(0.099)
        assert sent.sent == 2


async def test_what_fails_in_the_last_look_leaves_nothing_to_wait_for(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another address would have had its turn, but nothing begins any more."""

    class LateRefusal(Race):
        async def _attempt(self, address: Address) -> socket.socket:
            await asyncio.sleep(0.15)
            raise ConnectionRefusedError

    monkeypatch.setattr(race, "moments", lambda _: iter((0.0, 10.0)))
    monkeypatch.setattr(race, "LAST_LOOK", 0.2)
    with knocks(9, sockets) as sent, pytest.raises(TimeoutError):
        await LateRefusal([address(9), address(9, "127.0.0.2")], sent, sockets).run(0.1)


async def test_a_port_that_refuses_ends_the_dial(sockets: Sockets) -> None:
    with knocks(9, sockets) as sent, pytest.raises(ConnectionRefusedError):
        await Race([address(closed_port())], sent, sockets).run(QUICK_SECONDS)
    assert 1 <= sent.sent <= 10  # of 23; on a busy machine the next ones may be on their way


async def test_with_two_addresses_both_are_knocked_at(listener: socket.socket, sockets: Sockets) -> None:
    async with gate(10_000) as server:
        second = Address(socket.AF_INET, ("127.0.0.2", server.port))  # nobody: the gate listens on 127.0.0.1
        with knocks(server.knock_port, sockets) as sent, pytest.raises(TimeoutError):
            await Race([address(server.port), second], sent, sockets).run(0.7)
        assert len([sock for sock in sockets.made if sock.type == socket.SOCK_DGRAM]) == 2  # one for each address
        assert sent.sent >= 5


async def test_who_is_answered_too_late_is_reset(listener: socket.socket, sockets: Sockets) -> None:
    """Two attempts are answered at once: one is taken, the other gives its place back."""
    both = Race([of(listener), address(listener.getsockname()[1])], None, sockets)
    first, second = (asyncio.create_task(both._attempt(of(listener))) for _ in range(2))
    await asyncio.wait([first, second])
    both._running = {first: of(listener), second: of(listener)}
    winner = both._judge({first, second})
    assert winner is not None
    accepted = [listener.accept()[0] for _ in range(2)]
    loser = next(sock for sock in accepted if sock.getpeername() != winner.getsockname())
    await both._take_back(winner)
    assert sockets.open() == [winner]
    with pytest.raises(ConnectionResetError):
        loser.recv(1)
    for sock in (*accepted, winner):
        sock.close()


async def test_giving_up_closes_everything(sockets: Sockets) -> None:
    async with gate(10_000) as server:
        with knocks(server.knock_port, sockets) as sent:
            attempt = asyncio.create_task(Race([address(server.port)], sent, sockets).run(QUICK_SECONDS))
            await asyncio.sleep(0.1)
            assert sockets.open()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        assert sockets.open() == sockets.open(socket.SOCK_DGRAM) == []


async def test_it_connects_from_where_it_knocked(listener: socket.socket, sockets: Sockets) -> None:
    class Elsewhere(Knocks):
        def source(self, address: Address) -> tuple[object, ...]:
            return ("127.0.0.77", 0)

    order = KnockOrder(derive_knock_key(bytes(32)), 9)
    with Elsewhere(Knocker(order, bytes(32), 1, ServerClock(), sockets)) as sent:
        sock = await Race([of(listener)], sent, sockets).run(QUICK_SECONDS)
    assert sock.getsockname()[0] == "127.0.0.77"
    sock.close()


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("pause", [0.3, 0.8])
async def test_an_answer_that_came_while_we_stood_still_counts(
    listener: socket.socket, sockets: Sockets, gated: bool, pause: float
) -> None:
    """A process that was stopped sees its deadline and the answer at once."""

    def stand_still(family: int, kind: int) -> socket.socket:
        if kind == socket.SOCK_STREAM:
            asyncio.get_running_loop().call_soon(time.sleep, pause)  # behind the connect, before anybody looks
        return sockets(family, kind)

    with knocks(9, sockets) as sent:
        sock = await Race([of(listener)], sent if gated else None, stand_still).run(0.2)
    with sock:
        assert sock.getpeername() == listener.getsockname()


async def test_whoever_stood_still_looks_once_more_and_then_gives_up(sockets: Sockets) -> None:
    """The answer itself may have been lost meanwhile, and comes again."""
    async with gate(10_000) as silent:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, time.sleep, 0.15 + race.STOOD_STILL_SECONDS + 0.1)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await Race([address(silent.port)], None, sockets).run(0.2)
        assert 0.2 + race.STOOD_STILL_SECONDS + race.SECOND_CHANCE < loop.time() - began < 4
        assert sockets.open() == []


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([9.9, 10.0, 10.01, 10.03], [False, False, False, True]),
        ([16.0, 16.9, 17.0], [False, False, True]),
        ([16.0, 30.0], [False, True]),
    ],
)
def test_a_deadline_moves_once(looks: list[float], over: list[bool]) -> None:
    deadline = race.Deadline(10.0)
    assert [deadline.is_over(now) for now in looks] == over
