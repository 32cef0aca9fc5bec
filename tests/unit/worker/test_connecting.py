"""Connecting to a port of this machine, at once or later."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from hyperion.worker.connecting import Connecting
from hyperion.worker.poller import Poller, new_poller
from tests.helpers.rig import until
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = new_poller()
    yield made
    made.close()


class Told:
    """What ``done`` was called with."""

    def __init__(self) -> None:
        self.all: list[tuple[socket.socket | None, int]] = []

    def __call__(self, sock: socket.socket | None, error: int) -> None:
        self.all.append((sock, error))


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue takes no more: the next SYN gets no answer, and comes again after a second."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.create_connection(listener.getsockname())]
    return listener, waiting


async def test_a_connection_is_made_prepared(poller: Poller) -> None:
    told = Told()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Connecting(listener.getsockname(), poller, told)
        await until(lambda: told.all)
        ((sock, error),) = told.all
        assert error == 0
        assert sock is not None
        with sock:
            assert sock.getpeername() == listener.getsockname()
            assert sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == b"\x01\0\0\0\0\0\0\0"


async def test_a_refusal_has_its_number(poller: Poller) -> None:
    told = Told()
    Connecting(("127.0.0.1", closed_port()), poller, told)
    await until(lambda: told.all)
    assert told.all == [(None, errno.ECONNREFUSED)]


async def test_without_room_it_fails_at_once(poller: Poller) -> None:
    told = Told()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            Connecting(listener.getsockname(), poller, told)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.all == [(None, errno.EMFILE)]


async def test_it_comes_true_later(poller: Poller) -> None:
    told = Told()
    listener, waiting = full_listener()
    attempt = Connecting(listener.getsockname(), poller, told)
    attempt.on_ready(0)  # woken in vain
    await asyncio.sleep(0.05)
    assert told.all == []
    waiting.append(listener.accept()[0])
    await until(lambda: told.all)
    ((sock, error),) = told.all
    assert error == 0
    assert sock is not None
    for each in (sock, listener, *waiting):
        each.close()


async def test_given_up_it_says_nothing(poller: Poller) -> None:
    told = Told()
    listener, waiting = full_listener()
    attempt = Connecting(listener.getsockname(), poller, told)
    attempt.cancel()
    attempt.cancel()
    attempt.on_ready(0)
    waiting.append(listener.accept()[0])
    await asyncio.sleep(0.05)
    assert told.all == []
    for each in (listener, *waiting):
        each.close()


async def test_a_fault_is_an_error(poller: Poller) -> None:
    told = Told()
    listener, waiting = full_listener()
    attempt = Connecting(listener.getsockname(), poller, told)
    attempt.on_fault()
    assert told.all == [(None, errno.EIO)]
    for each in (listener, *waiting):
        each.close()
