"""Whichever way the supervisor goes, what is held goes with it: shown with names in a file."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hyperion.framing import FrameReader, encode
from hyperion.hosts import BEGIN
from hyperion.proto.control import Message
from hyperion.proto.control_keeper import Fault, HostNames, KeeperToSupervisor, Pulse, Ready, RoutingRule, Stop
from hyperion.tund import keeper
from hyperion.tund.hosts_keeper import hold
from hyperion.tund.keeper import EXIT_BUG, EXIT_OK, Keeper

THEIRS = "127.0.0.1 localhost\n"


class Rig:
    """A keeper in a thread, and its supervisor's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.supervisor, self._theirs = socket.socketpair()
        self.supervisor.settimeout(5)
        self._reader = FrameReader(msgspec.msgpack.Decoder(KeeperToSupervisor))
        self._codes: list[int] = []
        self._thread = threading.Thread(target=lambda: self._codes.append(Keeper(self._theirs, hold).run()))
        self._thread.start()

    def tell(self, *names: tuple[str, str]) -> None:
        self.supervisor.sendall(encode(HostNames(str(self.path), names)))

    def hear(self) -> list[Message]:
        return list(self._reader.receive_data(self.supervisor.recv(65_536)))

    def end(self) -> int:
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self._codes[0]

    def close(self) -> None:
        self.supervisor.close()
        self._thread.join(5)
        self._theirs.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    path = tmp_path / "hosts"
    path.write_text(THEIRS, encoding="utf-8")
    made = Rig(path)
    yield made
    made.close()


def held(rig: Rig) -> str:
    rig.tell(("10.99.0.10", "web1.hyperion"))
    [ready] = rig.hear()
    assert isinstance(ready, Ready)
    return rig.path.read_text(encoding="utf-8")


def test_names_are_there_once_it_is_ready(rig: Rig) -> None:
    assert "10.99.0.10\tweb1.hyperion" in held(rig)


@pytest.mark.parametrize("how", ["stop", "gone", "noise"])
def test_they_go_with_the_supervisor(rig: Rig, how: str) -> None:
    assert BEGIN in held(rig)
    if how == "gone":
        rig.supervisor.close()
    else:
        rig.supervisor.sendall(encode(Stop()) if how == "stop" else b"\xff" * 8)
    assert rig.end() == (EXIT_BUG if how == "noise" else EXIT_OK)
    assert rig.path.read_text(encoding="utf-8") == THEIRS


def test_other_names_after_a_reload(rig: Rig) -> None:
    held(rig)
    rig.path.write_text(rig.path.read_text(encoding="utf-8") + "192.0.2.1 theirs\n", encoding="utf-8")
    rig.tell(("10.99.0.11", "db1.hyperion"))
    rig.supervisor.sendall(encode(Stop()))
    assert rig.end() == EXIT_OK
    assert rig.path.read_text(encoding="utf-8") == THEIRS + "192.0.2.1 theirs\n"


def test_a_file_that_cannot_be_had(rig: Rig) -> None:
    rig.path.unlink()
    rig.tell(("10.99.0.10", "web1.hyperion"))
    [fault] = rig.hear()
    assert isinstance(fault, Fault)
    assert fault.exit_code == 73
    rig.end()


def test_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PULSE_SECONDS", 0.02)
    made = Rig(tmp_path / "hosts")
    assert isinstance(made.hear()[0], Pulse)
    made.close()


def test_an_order_that_is_not_its_business(rig: Rig) -> None:
    rig.supervisor.sendall(encode(RoutingRule((4,), 1, 2, 3)))
    assert rig.end() == EXIT_BUG
