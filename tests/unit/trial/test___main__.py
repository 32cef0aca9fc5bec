"""The process as its command starts it. (That it outlives its command is shown in namespaces: ``tests/e2e``.)"""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hyperion.channel import FrameReader, encode
from hyperion.proto.control import Message
from hyperion.proto.trial import Committed, Confirmed, Failed, Loaded, Order, RolledBack, TrialToCommand
from hyperion.trial.__main__ import _line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nftables is Linux's")


@contextlib.contextmanager
def trial() -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    with ours, theirs:
        child = subprocess.Popen([sys.executable, "-I", "-m", "hyperion.trial", str(number)], pass_fds=(number,))
        theirs.close()
        ours.settimeout(20)
        try:
            yield child, ours
        finally:
            child.kill()
            child.wait(20)


def messages(sock: socket.socket) -> list[Message]:
    reader: FrameReader[TrialToCommand] = FrameReader(msgspec.msgpack.Decoder(TrialToCommand))
    found: list[Message] = []
    while data := sock.recv(65_536):
        found += reader.receive_data(data)
    return found


def test_without_an_order_it_ends() -> None:
    with trial() as (child, ours):
        ours.shutdown(socket.SHUT_WR)
        assert child.wait(20) == 0
    with trial() as (child, ours):
        ours.sendall(encode(Confirmed()))  # not an order
        assert messages(ours) == []
        assert child.wait(20) == 0


def test_a_directory_that_cannot_be_had_is_a_failure_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    order = Order(1, "t", "s", (), False, False, 64, 1.0, str(tmp_path / "file" / "x"), str(tmp_path))
    with trial() as (child, ours):
        ours.sendall(encode(order))
        (failed,) = messages(ours)
        assert isinstance(failed, Failed)
        assert failed.exit_code == 73
        assert child.wait(20) == 0


def test_a_hang_up_is_the_commands_business() -> None:
    with trial() as (child, ours):
        while Path(f"/proc/{child.pid}/comm").read_text() != "hyp-trial\n":
            pass
        # Ignored from here on: SigIgn of /proc names them once the program has set them.
        wanted = 1 << signal.SIGHUP - 1 | 1 << signal.SIGINT - 1
        while int(_status(child.pid, "SigIgn"), 16) & wanted != wanted:
            pass
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGINT)
        ours.shutdown(socket.SHUT_WR)
        assert child.wait(20) == 0


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def test_what_the_systems_log_is_told() -> None:
    assert _line(Loaded(1.0, True)) is None
    assert _line(Committed("knock", "192.0.2.1")) == "firewall committed: proven by a knock from 192.0.2.1"
    assert _line(RolledBack("killed", True)) == "firewall rolled back: killed"
    assert _line(RolledBack("killed", False, detail="no")) == "firewall could not be rolled back (killed): no"
