"""What the kernel's refusals mean, and what is in use; the device itself is made in ``tests/e2e/test_tund.py``."""

import errno
import os

import msgspec
import pytest
from pyroute2.netlink.exceptions import NetlinkError

from hyperion.errors import CannotCreateError, HyperionError, RefusedError
from hyperion.tund import device
from hyperion.tund.device import configure, networks_in_use, open_device
from hyperion.tund.networks import parse
from tests.helpers.netns import alone
from tests.helpers.tund_process import SETTINGS


@pytest.mark.parametrize(
    ("number", "kind", "word"),
    [
        (errno.EPERM, RefusedError, "permission denied"),
        (errno.EACCES, RefusedError, "/dev/net/tun is closed to this user"),
        (errno.EBUSY, CannotCreateError, "is in use"),
        (errno.ENOENT, CannotCreateError, "no TUN devices"),
        (errno.ENODEV, CannotCreateError, "no TUN devices"),
        (errno.EINVAL, CannotCreateError, "Invalid argument"),
    ],
)
def test_a_refusal_is_put_in_words(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[HyperionError], word: str
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("pytun.TunTapDevice", refuse)
    with pytest.raises(kind, match=word):
        open_device(SETTINGS)


def test_a_device_that_is_about_to_go_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((errno.EBUSY, errno.EBUSY, errno.EPERM))

    def refuse(**_: object) -> None:
        raise OSError(next(answers), "no")

    monkeypatch.setattr("pytun.TunTapDevice", refuse)
    with pytest.raises(RefusedError):
        open_device(SETTINGS)
    assert list(answers) == []


@pytest.mark.root
@pytest.mark.needs("ip")
def test_what_is_in_use() -> None:
    with alone() as host:
        host.ip("link", "add", "one", "type", "veth", "peer", "two")
        host.ip("address", "add", "192.0.2.7/24", "dev", "one")
        host.ip("address", "add", "2001:db8::7/64", "dev", "one", "nodad")
        host.ip("link", "set", "one", "up")
        host.ip("link", "set", "two", "up")
        host.ip("route", "add", "198.51.100.0/24", "dev", "two", "table", "99")
        host.ip("route", "add", "default", "dev", "two")
        found = host.call(lambda: set(networks_in_use("two")))
    assert {parse(text) for text in ("192.0.2.0/24", "2001:db8::/64", "127.0.0.0/8")} <= found
    assert parse("198.51.100.0/24") not in found
    assert parse("0.0.0.0/0") not in found


@pytest.mark.root
@pytest.mark.needs("ip")
def test_an_ipv6_address_that_is_refused_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told of an address that is not there, and no route leads over it."""
    real = device._address

    def refuse(route: object, index: int, text: str) -> None:
        if ":" in text:
            raise NetlinkError(errno.EACCES)
        real(route, index, text)

    def make() -> bool:
        descriptor = open_device(settings)
        try:
            return configure(settings)
        finally:
            os.close(descriptor)

    monkeypatch.setattr(device, "_address", refuse)
    settings = msgspec.structs.replace(SETTINGS, routes=("2001:db8::9/128",))
    with alone() as host:
        assert host.call(make) is False
