"""The loop, on a pair of sockets that keep packets whole, in place of a device."""

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Message, Stop
from hyperion.proto.control_tund import (
    Fault,
    ForgetTarget,
    ReflectorCounts,
    TargetState,
    TundConfig,
    TundToSupervisor,
    WantListener,
)
from hyperion.tund import pump as pump_module
from hyperion.tund.pump import EXIT_BUG, EXIT_OK, HOLD_SECONDS, LAST_WORDS_SECONDS, Pump
from hyperion.tund.shortcut import Shortcut
from tests.helpers.tun_frames import Seen, read, tcp
from tests.helpers.tund_process import SETTINGS, await_reader

OWN, SERVER = bytes((10, 99, 0, 1)), bytes((10, 99, 0, 10))
UP = TargetState("web1", ("10.99.0.10", "fd00::10"), True, True, ((22, 40_022),))
RST = 4


class Rig:
    """A pump that runs in a thread, its supervisor and its kernel."""

    def __init__(self, shortcut: Shortcut) -> None:
        self.kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor, control = socket.socketpair()
        self.kernel.settimeout(5)
        self.supervisor.settimeout(5)
        device.setblocking(False)
        self._ends = (device, control)
        self._reader = FrameReader(msgspec.msgpack.Decoder(TundToSupervisor))
        self._said: list[Message] = []
        self.codes: list[int] = []
        pump = Pump(device.fileno(), control, OWN, None, shortcut)
        self.thread = threading.Thread(target=lambda: self.codes.append(pump.run()))
        self.thread.start()

    def tell(self, *messages: Message) -> None:
        self.supervisor.sendall(b"".join(encode(message) for message in messages))
        await_reader(self.supervisor)

    def hear(self, kind: type[Message]) -> Message:
        while True:
            while self._said:
                if isinstance(message := self._said.pop(0), kind):
                    return message
            self._said += self._reader.receive_data(self.supervisor.recv(65_536))

    def ask(self, given: bytearray) -> Seen:
        self.kernel.send(given)
        return read(self.kernel.recv(70_000))

    def end(self) -> int:
        self.thread.join(5)
        assert not self.thread.is_alive()
        return self.codes[0]

    def close(self) -> None:
        self.supervisor.close()
        self.thread.join(5)
        for end in (*self._ends, self.kernel):
            end.close()


@pytest.fixture
def shortcut() -> Shortcut:
    return Shortcut(None)


@pytest.fixture
def rig(shortcut: Shortcut) -> Iterator[Rig]:
    made = Rig(shortcut)
    yield made
    made.close()


def test_packets_go_round(rig: Rig) -> None:
    rig.tell(UP)
    for number in range(1000):
        assert rig.ask(tcp(OWN, SERVER, 50_000 + number, 22)).ports == (50_000 + number, 40_022)


def test_the_latest_word_on_a_server_holds(rig: Rig) -> None:
    rig.tell(UP, msgspec.structs.replace(UP, listeners=((22, 40_023),)))
    assert rig.ask(tcp(OWN, SERVER, 50_000, 22)).ports == (50_000, 40_023)
    rig.tell(msgspec.structs.replace(UP, up=False))
    assert rig.ask(tcp(OWN, SERVER, 50_000, 22)).protocol == 1
    rig.tell(msgspec.structs.replace(UP, addresses=("10.99.0.11",)))
    assert rig.ask(tcp(OWN, SERVER, 50_000, 22)).protocol == 1
    assert rig.ask(tcp(OWN, bytes((10, 99, 0, 11)), 50_000, 22)).ports == (50_000, 40_022)
    rig.tell(ForgetTarget("web1"), ForgetTarget("nobody"))
    assert rig.ask(tcp(OWN, bytes((10, 99, 0, 11)), 50_000, 22)).protocol == 1


def test_a_shortcut_that_hears_nothing_any_more_ends_it(
    rig: Rig, shortcut: Shortcut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would send packets where they no longer belong; it goes with the device."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no right")

    rig.tell(UP)
    monkeypatch.setattr(shortcut, "set", refuse)
    rig.tell(UP)
    assert rig.hear(Fault) == Fault("packets cannot be turned any more: no right", EXIT_BUG)
    assert rig.end() == EXIT_BUG


def test_a_listener_on_demand(rig: Rig) -> None:
    rig.tell(msgspec.structs.replace(UP, closed=False))
    rig.kernel.send(tcp(OWN, SERVER, 50_000, 80))
    assert rig.hear(WantListener) == WantListener("web1", 80)
    rig.tell(msgspec.structs.replace(UP, closed=False, listeners=((22, 40_022), (80, 40_080))))
    assert read(rig.kernel.recv(70_000)).ports == (50_000, 40_080)


def test_nobody_answers(rig: Rig) -> None:
    rig.tell(msgspec.structs.replace(UP, closed=False))
    began = time.monotonic()
    assert rig.ask(tcp(OWN, SERVER, 50_000, 80)).flags & RST
    assert HOLD_SECONDS - 0.1 < time.monotonic() - began < 1


def test_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "REPORT_INTERVAL", 0.05)
    rig = Rig(Shortcut(None))
    first = rig.hear(ReflectorCounts)
    assert isinstance(first, ReflectorCounts)
    assert first.counts["reflected"] == 0
    rig.tell(UP)
    rig.ask(tcp(OWN, SERVER, 50_000, 22))
    while not (message := rig.hear(ReflectorCounts)).counts["reflected"]:  # type: ignore[attr-defined]
        assert isinstance(message, ReflectorCounts)
    rig.close()


def test_the_end_of_the_supervisor_is_the_end(rig: Rig) -> None:
    rig.supervisor.close()
    assert rig.end() == EXIT_OK


def test_packets_go_round_for_a_moment_longer_than_the_supervisor_lives(rig: Rig) -> None:
    """The workers die with it, and the resets of their sockets must find home."""
    rig.tell(msgspec.structs.replace(UP, closed=False))
    rig.kernel.send(tcp(OWN, SERVER, 50_001, 80))
    assert rig.hear(WantListener) == WantListener("web1", 80)
    began = time.monotonic()
    rig.supervisor.close()
    assert read(rig.kernel.recv(70_000)).flags & RST  # who waited for a listener waits no longer
    assert rig.ask(tcp(OWN, SERVER, 40_022, 50_000, flags=RST)).ports == (22, 50_000)
    # Nobody new: the listeners go with the workers, and their ports may be anybody's.
    assert rig.ask(tcp(OWN, SERVER, 50_002, 22)).protocol == 1
    assert rig.end() == EXIT_OK
    assert time.monotonic() - began < LAST_WORDS_SECONDS + 1


def test_an_order(rig: Rig) -> None:
    rig.tell(Stop())
    assert rig.end() == EXIT_OK


@pytest.mark.parametrize("said", [encode(TundConfig(SETTINGS)), bytes(8), b"\xff" * 8], ids=["again", "zeros", "long"])
def test_what_may_not_be_said_is_the_end(rig: Rig, said: bytes) -> None:
    rig.supervisor.sendall(said)
    assert rig.end() == EXIT_BUG


def test_a_kernel_that_takes_nothing_costs_only_the_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(Shortcut(None))
    rig.tell(UP)
    rig.ask(tcp(OWN, SERVER, 50_000, 22))

    def refuse(_descriptor: int, _data: object) -> int:
        raise OSError(5, "it is down")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        rig.kernel.send(tcp(OWN, SERVER, 50_000, 22))
        time.sleep(0.1)
    assert rig.ask(tcp(OWN, SERVER, 50_001, 22)).ports == (50_001, 40_022)
    rig.close()
