"""The worker's side of marked sockets; with the other side it is shown in the marker's tests."""

import socket

import pytest

from hyperion.worker import marked
from hyperion.worker.marked import MarkedSockets


def test_without_a_desk_they_are_plain() -> None:
    sockets = MarkedSockets()
    with sockets(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sock.type == socket.SOCK_DGRAM
    sockets.close()


def test_a_supervisor_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marked, "ANSWER_SECONDS", 0.05)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sockets = MarkedSockets()
    sockets.use(theirs)
    with ours, pytest.raises(TimeoutError):
        sockets(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(OSError):  # noqa: PT011 - a broken pipe, or the end
        sockets(socket.AF_INET, socket.SOCK_STREAM)
    sockets.close()


def test_a_supervisor_that_is_gone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sockets = MarkedSockets()
    sockets.use(theirs)
    ours.shutdown(socket.SHUT_WR)
    with ours, pytest.raises(ConnectionResetError):
        sockets(socket.AF_INET, socket.SOCK_STREAM)
    sockets.close()
