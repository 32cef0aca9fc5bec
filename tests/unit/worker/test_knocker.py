"""Knocks as they leave this machine."""

import errno
import socket
import time
from collections.abc import Iterator

import pytest

from hyperion.proto.control import KnockOrder
from hyperion.proto.knock import KnockTable, Verdict, derive_knock_key, open_knock
from hyperion.worker.addresses import Address
from hyperion.worker.knocker import Knocker, Knocks
from hyperion.worker.server_clock import ServerClock

KEY, SERVER, TUNNEL_PORT = derive_knock_key(bytes(32)), bytes([7] * 32), 8443
TABLE = KnockTable(SERVER, {"fleet": KEY})


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def knocker(port: int, clock: ServerClock | None = None) -> Knocker:
    return Knocker(KnockOrder(KEY, port), SERVER, TUNNEL_PORT, clock or ServerClock())


def address(port: int = TUNNEL_PORT) -> Address:
    return Address(socket.AF_INET, ("127.0.0.1", port))


def test_each_is_genuine_new_and_of_now(ear: socket.socket) -> None:
    with Knocks(knocker(ear.getsockname()[1])) as knocks:
        seen, sources = [], set()
        for _ in range(3):
            knocks.send(address())
            datagram, source = ear.recvfrom(100)
            verdict, knock = open_knock(datagram, TABLE)
            assert verdict is Verdict.ACCEPTED
            assert knock is not None
            assert abs(knock.timestamp - time.time()) <= 2
            assert knock.port == TUNNEL_PORT
            seen.append(knock.nonce)
            sources.add(source)
        assert len(set(seen)) == 3
        assert knocks.sent == 3
        # they come from one place, and that is where a connection will come from
        assert len(sources) == 1
        assert knocks.source(address()) == ("127.0.0.1", 0)
        assert knocks.source(address(1)) is None
    assert knocks.rejected is None


def test_they_carry_the_servers_time(ear: socket.socket) -> None:
    with Knocks(knocker(ear.getsockname()[1], ServerClock(-20_000))) as knocks:
        offsets = []
        for _ in range(2):
            knocks.send(address())
            _, knock = open_knock(ear.recv(100), TABLE)
            assert knock is not None
            offsets.append(knock.timestamp - time.time())
    assert -22 < offsets[0] < -19
    assert -2 < offsets[1] < 1


def test_a_rejection_is_noted_and_knocking_goes_on(ear: socket.socket) -> None:
    """Nobody listens: the machine says so, and the next knock goes out all the same."""
    port = ear.getsockname()[1]
    ear.close()
    with Knocks(knocker(port)) as knocks:
        for _ in range(3):
            knocks.send(address())
    assert knocks.sent == 3
    assert knocks.rejected == errno.ECONNREFUSED


def test_an_error_of_one_dial_is_gone_with_the_next(ear: socket.socket) -> None:
    sender = knocker(ear.getsockname()[1])
    unreachable = Address(socket.AF_INET, ("255.255.255.255", 1))  # forbidden without a right of its own
    with Knocks(sender) as knocks, pytest.raises(PermissionError):
        knocks.send(unreachable)
    assert knocks.first_at is None
    with Knocks(sender) as knocks:
        knocks.send(address())
        assert len(ear.recv(100)) == 44


def test_a_full_queue_is_a_lost_knock(ear: socket.socket) -> None:
    class Full(socket.socket):
        def send(self, *_: object) -> int:
            raise BlockingIOError

    sender = Knocker(KnockOrder(KEY, 1), SERVER, TUNNEL_PORT, ServerClock(), Full)
    with Knocks(sender) as knocks:
        knocks.send(address())
    assert (knocks.sent, knocks.first_at) == (0, None)


def test_every_socket_is_closed() -> None:
    made: list[socket.socket] = []

    def make(family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[-1]

    sender = Knocker(KnockOrder(KEY, 9), SERVER, TUNNEL_PORT, ServerClock(), make)
    with Knocks(sender) as knocks:
        knocks.send(address())
        knocks.send(Address(socket.AF_INET6, ("::1", 1, 0, 0)))
    assert [sock.fileno() for sock in made] == [-1, -1]
