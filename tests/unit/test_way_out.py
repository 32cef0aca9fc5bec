"""Which device an address leads out by: a wire plays the device of transparent mode; the real one, in e2e."""

import socket
from collections.abc import Iterator

import pytest

from hyperion import way_out
from hyperion.way_out import leads_into
from tests.helpers.netns import Host, alone

BEHIND, ELSEWHERE = ("198.51.100.7", 8443), ("203.0.113.9", 8443)
MARK = 26_745


def test_without_such_a_device_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked(family: int, kind: int) -> socket.socket:
        raise AssertionError((family, kind))

    assert not leads_into(socket.AF_INET, ("127.0.0.1", 9), unasked, device="no-such-device")
    monkeypatch.setattr(way_out, "_BIND_TO_DEVICE", None)
    assert not leads_into(socket.AF_INET, ("127.0.0.1", 9), unasked, device="lo")


@pytest.fixture
def host() -> Iterator[Host]:
    """``wire0`` to ``BEHIND``, ``wire1`` to everywhere else."""
    with alone() as made:
        made.ip("link", "add", "wire0", "type", "veth", "peer", "wire1")
        for number in (0, 1):
            made.ip("address", "add", f"192.0.2.{number * 16 + 1}/28", "dev", f"wire{number}")
            made.ip("address", "add", f"2001:db8:{number}::1/64", "dev", f"wire{number}")
            made.ip("link", "set", f"wire{number}", "up")
        made.ip("route", "add", "198.51.100.7", "dev", "wire0", "table", "99")
        made.ip("route", "add", "default", "dev", "wire1")
        made.ip("-6", "route", "add", "2001:db8:ffff::7", "dev", "wire0")
        made.ip("rule", "add", "not", "fwmark", str(MARK), "table", "99")
        yield made


def marked(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    return sock


@pytest.mark.root
@pytest.mark.needs("ip")
def test_the_kernel_knows_the_way(host: Host) -> None:
    def into(family: int, address: tuple[str, int]) -> bool:
        return host.call(lambda: leads_into(family, address, device="wire0"))

    assert into(socket.AF_INET, BEHIND)
    assert not into(socket.AF_INET, ELSEWHERE)
    assert into(socket.AF_INET6, ("2001:db8:ffff::7", 8443))
    assert not into(socket.AF_INET6, ("2001:db8:fffe::7", 8443))  # no way at all
    assert not host.call(lambda: leads_into(socket.AF_INET, BEHIND, marked, device="wire0"))
