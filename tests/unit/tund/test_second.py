"""The second interpreter's beginning; its work is in ``test_pump``."""

import os
import socket

import msgspec
import pytest

from hyperion.framing import FrameReader
from hyperion.proto.control import Ready
from hyperion.proto.control_tund import DeviceMade, TundToSupervisor
from hyperion.tund import second


def test_it_says_ready_and_ends_with_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device.setblocking(False)
    monkeypatch.setattr(second, "CONTROL_FD", theirs.detach())
    monkeypatch.setattr(second, "set_process_name", lambda _: None)
    monkeypatch.setattr(second, "harden_worker", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    os.set_inheritable(device.fileno(), True)
    ours.shutdown(socket.SHUT_WR)
    with ours, kernel, device:
        assert second.main([str(device.fileno()), "", "hyperion0", "10.99.0.1", ""]) == 0
        assert not os.get_inheritable(device.fileno())
        said = FrameReader(msgspec.msgpack.Decoder(TundToSupervisor)).receive_data(ours.recv(65_536))
        assert said[:2] == [Ready(os.getpid()), DeviceMade("hyperion0", ("10.99.0.1",), shortcut=False)]
