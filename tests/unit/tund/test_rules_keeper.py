"""The rules keeper: one rule for all servers, and none afterwards. Its life is ``test_keeper``'s."""

import socket
from collections.abc import Iterator

import pytest

from hyperion.errors import RefusedError
from hyperion.proto.control_keeper import HostNames, RoutingRule
from hyperion.tund import rules_keeper
from hyperion.tund.rules_keeper import hold
from tests.helpers.netns import Host, alone

RULE = RoutingRule((4, 6), 0x6879, 26_745, 100)


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


def rules(host: Host) -> list[str]:
    return [line for version in ("-4", "-6") for line in host.ip(version, "rule").splitlines() if "26745" in line]


@pytest.mark.root
@pytest.mark.needs("ip")
def test_the_rule_and_its_end(host: Host) -> None:
    host.ip("rule", "add", "to", "192.0.2.1", "lookup", "26745", "priority", "100")  # somebody left it behind
    host.ip("rule", "add", "lookup", "26745", "priority", "101")  # not ours
    undo = host.call(lambda: hold(RULE))
    assert [line.split(maxsplit=1)[1] for line in rules(host)] == [
        "not from all fwmark 0x6879 lookup 26745",
        "from all lookup 26745",
        "not from all fwmark 0x6879 lookup 26745",
    ]
    host.call(lambda: hold(RULE))
    assert len(rules(host)) == 3
    host.call(undo)
    assert len(rules(host)) == 1


@pytest.mark.root
@pytest.mark.needs("ip")
def test_only_the_versions_that_are_asked_for(host: Host) -> None:
    host.call(lambda: hold(RoutingRule((4,), 0x6879, 26_745, 100)))
    assert len(rules(host)) == 1


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr("hyperion.privileges.raised", refuse)
    with pytest.raises(RefusedError, match="permission denied"):
        hold(RULE)


def test_no_other_order() -> None:
    with pytest.raises(TypeError):
        hold(HostNames("/etc/hosts", ()))


def test_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(rules_keeper, "CONTROL_FD", theirs.detach())
    monkeypatch.setattr(rules_keeper, "set_process_name", lambda _: None)
    monkeypatch.setattr("hyperion.privileges.drop_to", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    ours.close()
    assert rules_keeper.main() == 0
