"""Marked sockets for workers: made here, used there. ``MarkedSockets`` is the other side."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from hyperion.proto.control import MARK_REQUEST_BYTES
from hyperion.supervisor import marker as marker_module
from hyperion.supervisor.marker import Marker, make_marked
from hyperion.worker.marked import MarkedSockets
from tests.helpers.rig import until

MARK = 0x6879


@pytest.fixture
async def marker() -> AsyncIterator[Marker]:
    made = Marker(MARK)
    made.open()
    yield made
    made.close()


def mark_of(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)


@pytest.mark.root
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_worker_gets_what_it_asked_for(marker: Marker, family: int, kind: int) -> None:
    sockets = MarkedSockets()
    sockets.use(marker.desk("web1"))
    with await asyncio.to_thread(sockets, family, kind) as sock:
        assert (sock.family, sock.type, mark_of(sock)) == (family, kind, MARK)


@pytest.mark.root
def test_the_mark_needs_no_right_that_is_in_effect() -> None:
    with make_marked(socket.AF_INET, socket.SOCK_DGRAM, MARK) as sock:
        assert mark_of(sock) == MARK


@pytest.mark.root
async def test_an_answer_to_one_who_died_is_not_taken(marker: Marker) -> None:
    desk = marker.desk("web1")
    assert marker.desk("web1") is desk
    desk.send(b"6u" + bytes(MARK_REQUEST_BYTES - 2))
    await asyncio.sleep(0.05)
    sockets = MarkedSockets()
    sockets.use(desk)
    with await asyncio.to_thread(sockets, socket.AF_INET, socket.SOCK_STREAM) as sock:
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)


@pytest.mark.parametrize(
    "request_", [b"", b"4", b"4t", b"9t" + bytes(8), b"4x" + bytes(8), b"4t" + bytes(9)], ids=lambda item: item.hex()
)
async def test_what_is_no_request_gets_no_answer(
    marker: Marker, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marker_module, "make_marked", lambda *_: pytest.fail("made a socket"))
    desk = marker.desk("web1")
    desk.send(request_)
    desk.settimeout(0.05)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(desk.recv, 100)


async def test_without_a_mark_nobody_needs_it() -> None:
    assert not Marker(None).is_needed
    assert Marker(MARK).is_needed


async def test_the_desk_of_a_server_that_went_is_cleared_when_its_worker_has_left(
    marker: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(marker_module, "make_marked", lambda family, kind, _: socket.socket(family, kind))
    stays = marker.desk("db1")
    sockets = MarkedSockets()
    sockets.use(marker.desk("web1").dup())  # as the worker has it
    marker.keep(["db1"])
    assert marker.desk("db1") is stays
    with await asyncio.to_thread(sockets, socket.AF_INET, socket.SOCK_STREAM) as sock:  # it drains: answered still
        assert sock.family == socket.AF_INET
    sockets.close()
    await until(lambda: len(os.listdir("/proc/self/fd")) == before + 2)
    sockets.use(marker.desk("web1").dup())  # a reload later it is back
    with await asyncio.to_thread(sockets, socket.AF_INET, socket.SOCK_STREAM):
        pass
    marker.keep([])
    marker.close()
    sockets.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_desk_that_was_never_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    marker = Marker(MARK)
    marker.desk("web1")
    marker.keep([])
    assert len(os.listdir("/proc/self/fd")) == before
