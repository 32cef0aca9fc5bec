"""The first interpreter, as far as it needs no right; the rest is in ``tests/e2e/test_tund.py``."""

import os
import socket
import struct

import msgspec
import pytest

from hyperion.errors import RefusedError
from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Fault, Ready, Stop
from hyperion.proto.control_tund import TundConfig, TundToSupervisor
from hyperion.tund import __main__ as first
from tests.helpers.tund_process import SETTINGS

CONFIG = TundConfig(SETTINGS)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Its end; the other is where tund looks for it."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(first, "CONTROL_FD", theirs.detach())
    monkeypatch.setattr(first, "set_process_name", lambda _: None)
    monkeypatch.setattr(first, "harden_worker", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    ours.settimeout(5)
    return ours


def fault(supervisor: socket.socket) -> Fault:
    [message] = FrameReader(msgspec.msgpack.Decoder(TundToSupervisor)).receive_data(supervisor.recv(65_536))
    assert isinstance(message, Fault)
    return message


def run() -> int:
    with pytest.raises(SystemExit) as caught:
        first.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_supervisor_that_is_gone(supervisor: socket.socket) -> None:
    supervisor.close()
    assert run() == 0


@pytest.mark.parametrize(
    "said", [encode(Stop()), struct.pack(">I", 1 << 20), struct.pack(">I", 3) + b"abc"], ids=["order", "long", "noise"]
)
def test_what_is_no_configuration(supervisor: socket.socket, said: bytes) -> None:
    with supervisor:
        supervisor.sendall(said)
        assert run() == 70
        assert fault(supervisor).exit_code == 70


def test_a_refusal_is_told_with_its_hint(supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RefusedError("no", hint="ask root")

    monkeypatch.setattr(first, "check_free", refuse)
    with supervisor:
        supervisor.sendall(encode(CONFIG))
        assert run() == 77
        assert fault(supervisor) == Fault("no", 77, "ask root")


def test_what_comes_after_is_left_for_the_second(supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[bytes] = []
    words: list[list[str]] = []

    def refuse(*_: object) -> tuple[int, int]:
        raise PermissionError

    def execute(_: str, given: list[str]) -> None:
        left.append(os.read(first.CONTROL_FD, 100))
        words.append(given[4:])

    monkeypatch.setattr(first, "check_free", lambda _: None)
    monkeypatch.setattr(first, "open_device", lambda _: supervisor.fileno())
    monkeypatch.setattr(first, "configure", lambda _: False)
    monkeypatch.setattr("hyperion.tund.shortcut.make", refuse)
    monkeypatch.setattr("os.execv", execute)
    with supervisor:
        supervisor.sendall(encode(CONFIG) + encode(Ready(1)))
        first.main()
        assert left == [encode(Ready(1))]
        assert words == [[str(supervisor.fileno()), "", "hyperion0", "10.99.0.1", ""]]
