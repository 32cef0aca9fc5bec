"""Connections without a device, in a namespace whose loopback plays the device."""

import socket
import time

import pytest

from hyperion import sock_diag
from hyperion.tund.orphans import break_connections
from tests.helpers.netns import Host, alone

NEAR, FAR = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2")


def connection(host: Host, near: str, listener: socket.socket) -> socket.socket:
    sock = host.socket(listener.family, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.bind((near, 0))
    sock.connect(listener.getsockname())
    return sock


def listen(host: Host, address: str) -> socket.socket:
    sock = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((address, 0))
    sock.listen()
    return sock


@pytest.mark.root
@pytest.mark.needs("ip")
@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_only_what_comes_from_the_addresses_is_broken(version: int) -> None:
    near, far = NEAR[version], FAR[version]
    with alone() as host:
        for address in (near, far):
            host.ip("address", "add", address, "dev", "lo")
        with (
            listen(host, far) as listener,
            listen(host, near) as spared,
            connection(host, near, listener) as orphan,
            connection(host, far, listener) as other,
        ):
            assert host.call(lambda: break_connections(NEAR)) == 1
            began = time.monotonic()
            with pytest.raises(ConnectionAbortedError):
                orphan.recv(1)
            assert time.monotonic() - began < 1
            accepted = [listener.accept() for _ in range(2)]
            for sock, address in accepted:
                if address == other.getsockname():
                    sock.sendall(b"x")
            assert other.recv(1) == b"x"
            for sock, _ in accepted:
                sock.close()
            connection(host, far, spared).close()  # a listener is no connection


@pytest.mark.root
@pytest.mark.needs("ip")
def test_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's list comes in several parts."""
    monkeypatch.setattr(sock_diag, "READ_BYTES", 4096)
    with alone() as host:
        for address in (NEAR[0], FAR[0]):
            host.ip("address", "add", address, "dev", "lo")
        with listen(host, FAR[0]) as far:
            made = [connection(host, NEAR[0], far) for _ in range(100)]
            assert host.call(lambda: break_connections(NEAR[:1])) == 100
            for sock in made:
                with pytest.raises(ConnectionAbortedError):
                    sock.recv(1)
                sock.close()


def test_a_kernel_without_a_list_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "NETLINK_SOCK_DIAG", 31)
    assert break_connections(("192.0.2.1",)) == 0
