"""The hosts keeper: its one order, and its process; its life is ``test_keeper``'s."""

import contextlib
import socket
from collections.abc import Iterator
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
    monkeypatch.setattr("hyperion.privileges.drop_to", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    ours.close()
    assert hosts_keeper.main() == 0


def test_rights_that_it_has_are_in_effect_for_the_change_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []

    @contextlib.contextmanager
    def raise_(right: int) -> Iterator[None]:
        raised.append(right)
        yield
        raised.remove(right)

    def write(*_: object) -> None:
        assert set(raised) == hosts_keeper.FOREIGN_FILE

    monkeypatch.setattr("hyperion.privileges.held", lambda rights: rights)
    monkeypatch.setattr("hyperion.privileges.raised", raise_)
    monkeypatch.setattr("hyperion.hosts.write", write)
    undo = hold(HostNames(str(tmp_path / "hosts"), ()))
    assert raised == []
    undo()
    assert raised == []
