"""On real sockets: who connects, who does not, and what goes on."""

import errno
import os
import socket
import sys

import pytest

from hyperion import capabilities, log, privileges
from hyperion.capabilities import NONE, Sets
from hyperion.config import Endpoint
from hyperion.supervisor import shutter as module
from hyperion.supervisor.shutter import Shutter
from hyperion.supervisor.sockets import listen_shared, port_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


def gets_in(port: int) -> bool:
    """Whether a connection comes to be. A refusal would be an answer, and fails the test."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except TimeoutError:
        return False
    return True


def test_shut_from_the_first_moment_open_and_shut_again() -> None:
    sockets = listen_shared(Endpoint("127.0.0.1", 0), 3, deaf=True)
    port = port_of(sockets[0])
    shutter = Shutter(sockets)
    try:
        assert not shutter.is_open
        assert [gets_in(port) for _ in range(3)] == [False] * 3
        shutter.open()
        shutter.open()
        assert shutter.is_open
        assert [gets_in(port) for _ in range(20)] == [True] * 20
        shutter.shut()
        shutter.shut()
        assert not shutter.is_open
        assert [gets_in(port) for _ in range(3)] == [False] * 3
    finally:
        for sock in sockets:
            sock.close()


def test_a_running_connection_goes_on_and_one_that_waits_to_be_accepted_too() -> None:
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1, deaf=True)
    shutter = Shutter([listener])
    shutter.open()
    with listener, socket.create_connection(listener.getsockname(), 5) as early:
        served, _ = listener.accept()
        with served, socket.create_connection(listener.getsockname(), 5) as waiting:
            shutter.shut()
            early.sendall(b"one")
            assert served.recv(9) == b"one"
            waiting.sendall(b"two")
            late, _ = listener.accept()
            with late:
                assert late.recv(9) == b"two"
            served.sendall(b"three")
            assert early.recv(9) == b"three"


def test_who_knocked_at_a_shut_door_gets_in_when_it_opens() -> None:
    """The kernel repeats the first packet after a second."""
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1, deaf=True)
    with listener, socket.socket() as client:
        client.settimeout(5)
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        Shutter([listener]).open()
        listener.settimeout(5)
        served, _ = listener.accept()
        served.close()


def test_the_right_is_in_effect_for_the_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[capabilities.Rights] = []
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1, deaf=True)
    shutter = Shutter([listener])
    shutter.open()
    with listener:
        before = capabilities.read()
        capabilities.write(Sets(NONE, before.permitted, before.inheritable))
        try:
            shutter.shut()
            seen.append(capabilities.read().effective)
        finally:
            capabilities.write(before)
        assert seen == [NONE]
        shutter.open()
        monkeypatch.setattr(privileges, "held", lambda _: NONE)  # an older kernel, an ordinary user
        shutter.shut()
        assert shutter.is_shut


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    said: list[str | None] = []
    monkeypatch.setattr(log, "event", lambda _what, _fields, *, message, level: said.append(f"{level}: {message}"))
    return said


def fail(*_: object) -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_without_memory_for_a_filter_it_is_shut_all_the_same(
    monkeypatch: pytest.MonkeyPatch, complaints: list[str | None]
) -> None:
    sockets = listen_shared(Endpoint("127.0.0.1", 0), 2, deaf=True)
    port = port_of(sockets[0])
    shutter = Shutter(sockets)
    try:
        monkeypatch.setattr(module, "attach", fail)
        shutter.shut()  # it is: nothing to do, nothing to fail
        assert complaints == []
        shutter.open()
        with socket.create_connection(("127.0.0.1", port), 5) as early:
            shutter.shut()
            assert (shutter.is_shut, shutter.is_open) == (True, False)
            for _ in range(20):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), 5)
            early.sendall(b"goes on")
            shutter.shut()
            assert len(complaints) == 2, "once for each socket"
        monkeypatch.undo()
        shutter.open()
        assert [gets_in(port) for _ in range(20)] == [True] * 20
        shutter.shut()
        assert [gets_in(port) for _ in range(3)] == [False] * 3
    finally:
        for sock in sockets:
            sock.close()


def test_what_cannot_be_shut_at_all_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, complaints: list[str | None]
) -> None:
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1, deaf=True)
    shutter = Shutter([listener])
    with listener:
        shutter.open()
        monkeypatch.setattr(module, "attach", fail)
        monkeypatch.setattr(module, "NOWHERE", -1)
        shutter.shut()
        assert not shutter.is_shut
        shutter.shut()
        assert complaints == ["error: the tunnel port cannot be shut"], "once"
        assert (shutter.trouble or "").startswith("the tunnel port cannot be shut: ")
        monkeypatch.undo()
        shutter.shut()
        assert shutter.is_shut
        assert shutter.trouble is None
        assert not gets_in(port_of(listener))


def test_what_cannot_be_opened_stays_shut_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, complaints: list[str | None]
) -> None:
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1, deaf=True)
    shutter = Shutter([listener])
    with listener:
        monkeypatch.setattr(module, "detach", fail)
        shutter.open()
        shutter.open()
        assert (shutter.is_shut, shutter.is_open) == (True, False)
        assert complaints == ["error: the tunnel port cannot be opened again"], "once"
        assert shutter.trouble == f"the tunnel port cannot be opened again: {os.strerror(errno.ENOMEM)}"
        monkeypatch.undo()
        shutter.open()
        assert shutter.trouble is None
        assert gets_in(port_of(listener))
