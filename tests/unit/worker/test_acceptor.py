"""Accepting on any kind of stream socket, and what happens without room."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperion.events import INTERNAL_ERROR
from hyperion.worker import acceptor
from hyperion.worker.acceptor import MAX_ACCEPTED, Acceptor
from hyperion.worker.poller import Poller, new_poller
from tests.helpers.rig import Events, until

pytestmark = pytest.mark.both_loops


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = new_poller()
    yield made
    made.close()


def listener_of(kind: str, directory: Path) -> socket.socket:
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(directory / "listener"))
        return sock
    sock = socket.socket(socket.AF_INET6 if kind == "IPv6" else socket.AF_INET)
    sock.bind(("::1" if kind == "IPv6" else "127.0.0.1", 0))
    return sock


def connected(listener: socket.socket, count: int) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.socket(listener.family)
        client.connect(listener.getsockname())
        clients.append(client)
    return clients


def close_all(*groups: list[socket.socket]) -> None:
    for group in groups:
        for sock in group:
            sock.close()


@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "unix"])
async def test_accepts_everybody_prepared(kind: str, poller: Poller, tmp_path: Path) -> None:
    accepted: list[socket.socket] = []
    listener = listener_of(kind, tmp_path)
    accepting = Acceptor(listener, poller, accepted.append)
    clients = connected(listener, 2 * MAX_ACCEPTED + 1)
    await until(lambda: len(accepted) == len(clients))
    for sock in accepted:
        assert sock.gettimeout() == 0
        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        if kind != "unix":
            assert linger == b"\x01\0\0\0\0\0\0\0"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    accepting.close()
    accepting.close()
    close_all(clients, accepted)


async def test_closed_it_accepts_no_more(poller: Poller, tmp_path: Path) -> None:
    accepted: list[socket.socket] = []
    listener = listener_of("IPv4", tmp_path)
    address = listener.getsockname()

    def take(sock: socket.socket) -> None:
        accepted.append(sock)
        accepting.close()

    accepting = Acceptor(listener, poller, take)
    clients = connected(listener, 3)
    await until(lambda: accepted)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    assert len(accepted) == 1
    close_all(clients, accepted)


async def test_without_room_it_rests_and_then_goes_on(
    poller: Poller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_SECONDS", 0.05)
    accepted: list[socket.socket] = []
    listener = listener_of("IPv4", tmp_path)
    accepting = Acceptor(listener, poller, accepted.append)
    clients = connected(listener, 1)
    await until(lambda: accepted)
    clients += connected(listener, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno(), hard))
    try:
        await asyncio.sleep(0.12)
        assert len(accepted) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: len(accepted) == 4)
    accepting.close()
    close_all(clients, accepted)


async def test_a_listener_that_is_broken_for_good_rests_and_is_reported_once(
    poller: Poller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_SECONDS", 0.05)
    listener = listener_of("IPv4", tmp_path)
    accepting = Acceptor(listener, poller, lambda _: None)
    served = 0
    on_ready = accepting.on_ready

    def count(ready: int) -> None:
        nonlocal served
        served += 1
        on_ready(ready)

    monkeypatch.setattr(accepting, "on_ready", count)
    listener.shutdown(socket.SHUT_RDWR)  # from now on accept(2) says EINVAL, and the poller that there is something
    await until(lambda: served >= 3)
    await asyncio.sleep(0.2)
    assert served < 20
    assert len(events.fields(INTERNAL_ERROR)) == 1
    accepting.close()


async def test_a_connection_that_broke_before_costs_nobody_else(poller: Poller, tmp_path: Path) -> None:
    accepted: list[socket.socket] = []

    class Unlucky(socket.socket):
        """The first accept fails as accept(2) says it may."""

        failed = False

        def accept(self) -> tuple[socket.socket, Any]:
            if not Unlucky.failed:
                Unlucky.failed = True
                raise OSError(errno.ECONNABORTED, "aborted")
            return super().accept()

    plain = listener_of("IPv4", tmp_path)
    listener = Unlucky(fileno=plain.detach())
    accepting = Acceptor(listener, poller, accepted.append)
    clients = connected(listener, 1)
    await until(lambda: accepted)
    assert Unlucky.failed
    accepting.close()
    close_all(clients, accepted)


async def test_a_bug_in_whoever_takes_them_does_not_end_the_listener(
    poller: Poller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
    accepted: list[socket.socket] = []

    def take(sock: socket.socket) -> None:
        accepted.append(sock)
        if len(accepted) == 1:
            raise ValueError("a bug")

    listener = listener_of("IPv4", tmp_path)
    accepting = Acceptor(listener, poller, take)
    clients = connected(listener, 2)
    await until(lambda: len(accepted) == 2)
    accepting.close()
    close_all(clients, accepted)


async def test_what_does_not_listen_is_an_error(poller: Poller) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="not supported"):
        Acceptor(sock, poller, lambda _: None)
