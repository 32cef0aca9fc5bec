"""The process, as far as it goes without root: what it says when it cannot do its work, and when it ends.

With root, in a network of its own: tests/e2e/test_knockd.py.
"""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from hyperion.errors import HyperionError, RefusedError, TemporaryError
from hyperion.framing import FrameReader, encode
from hyperion.knockd import __main__ as main
from hyperion.proto.control import Drain, Message
from hyperion.proto.control_knockd import Fault, KnockdConfig, KnockdToSupervisor, Pulse, Stop

ROOT = Path(__file__).parents[3]
CONFIG = KnockdConfig(bytes(32), bytes(32), 8443, 8443, 30, "hyperion", "admitted", 60, "/nonexistent/replay")

# Descriptor 3 is the control socket, whatever number it has here.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, '-m', 'hyperion.knockd'])"
)


@contextmanager
def knockd() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", START, str(theirs.fileno())]
        child = subprocess.Popen(command, cwd=ROOT, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE)
        theirs.close()
        ours.settimeout(20)
        try:
            yield child, ours
        finally:
            child.kill()
            child.communicate(timeout=20)


def answer(ours: socket.socket) -> list[KnockdToSupervisor]:
    """All it says until it ends."""
    reader = FrameReader(msgspec.msgpack.Decoder(KnockdToSupervisor))
    messages: list[KnockdToSupervisor] = []
    while data := ours.recv(4096):
        messages += reader.receive_data(data)
    return messages


@pytest.mark.parametrize(("first", "code"), [(None, 0), (Stop(), 70), (Drain(1.0), 70)])
def test_what_comes_instead_of_a_configuration(first: Message | None, code: int) -> None:
    with knockd() as (child, ours):
        if first is not None:
            ours.sendall(encode(first))
        ours.shutdown(socket.SHUT_WR)
        assert answer(ours) == []
        assert child.wait(20) == code
        assert child.stderr is not None
        assert child.stderr.read() == b""


@pytest.mark.parametrize(
    ("change", "word"),
    [({"knock_port": 0}, "port"), ({"table": "x; flush ruleset"}, "table"), ({"knock_key": b""}, "key")],
)
def test_a_configuration_that_cannot_work_is_a_fault_with_78(change: dict[str, object], word: str) -> None:
    with knockd() as (child, ours):
        ours.sendall(encode(msgspec.structs.replace(CONFIG, **change)))
        (fault,) = answer(ours)
        assert isinstance(fault, Fault)
        assert word in fault.reason
        assert fault.exit_code == child.wait(20) == 78


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, RefusedError),
        (errno.EACCES, RefusedError),
        (errno.ENOMEM, TemporaryError),
        (errno.ENOBUFS, TemporaryError),
        (errno.EMFILE, TemporaryError),
    ],
)
@pytest.mark.parametrize("step", ["open_capture", "keep_only_net_admin"])
def test_only_what_lacks_a_right_is_hopeless(
    monkeypatch: pytest.MonkeyPatch, step: str, number: int, kind: type[HyperionError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(main, "open_capture", lambda _: ())
    monkeypatch.setattr(main, step, fail)
    with pytest.raises(kind, match=os.strerror(number)) as caught:
        main._open(CONFIG)
    assert ("CAP_NET_ADMIN" in str(caught.value.hint)) == (kind is RefusedError)


async def test_it_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "KNOCKD_PULSE_SECONDS", 0.01)
    sent: list[Message] = []

    class FakeChannel:
        def send(self, message: Message) -> None:
            sent.append(message)

    beating = asyncio.create_task(main._beat(FakeChannel()))  # type: ignore[arg-type]
    while len(sent) < 3:
        await asyncio.sleep(0.005)
    beating.cancel()
    assert set(sent) == {Pulse()}
