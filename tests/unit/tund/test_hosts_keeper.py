"""The hosts keeper: its one order, and its process; its life is ``test_keeper``'s."""

import socket
from pathlib import Path

import pytest

from hyperion.proto.control_keeper import HostNames, RoutingRule
from hyperion.tund import hosts_keeper
from hyperion.tund.hosts_keeper import hold

THEIRS = "127.0.0.1 localhost\n"


def test_names_and_their_end(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(THEIRS, encoding="utf-8")
    undo = hold(HostNames(str(file), (("10.99.0.10", "web1.hyperion"),)))
    assert "10.99.0.10\tweb1.hyperion" in file.read_text(encoding="utf-8")
    undo()
    assert file.read_text(encoding="utf-8") == THEIRS


def test_no_other_order() -> None:
    with pytest.raises(TypeError):
        hold(RoutingRule((4,), 1, 2, 3))


def test_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(hosts_keeper, "CONTROL_FD", theirs.detach())
    monkeypatch.setattr(hosts_keeper, "set_process_name", lambda _: None)
    monkeypatch.setattr(hosts_keeper, "harden_worker", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    ours.close()
    assert hosts_keeper.main() == 0
