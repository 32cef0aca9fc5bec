"""On real sockets: who connects, who does not, and what goes on."""

import socket
import sys

import pytest

from hyperion import capabilities, privileges
from hyperion.capabilities import NONE, Sets
from hyperion.config import Endpoint
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
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1)
    shutter = Shutter([listener])
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
    (listener,) = listen_shared(Endpoint("127.0.0.1", 0), 1)
    shutter = Shutter([listener])
    with listener:
        before = capabilities.read()
        capabilities.write(Sets(NONE, before.permitted, before.inheritable))
        try:
            shutter.shut()
            seen.append(capabilities.read().effective)
        finally:
            capabilities.write(before)
        assert seen == [NONE]
        monkeypatch.setattr(privileges, "held", lambda _: NONE)  # an older kernel, an ordinary user
        shutter.shut()
