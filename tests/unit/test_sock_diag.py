"""The kernel's list of connections, in namespaces; that one can be broken, ``tund/test_orphans.py`` shows."""

import os
import socket

import pytest

from hyperion import sock_diag
from hyperion.sock_diag import SockDiag
from tests.helpers.netns import alone

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_both_ends_the_socket_and_its_mark(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        alone() as host,
        host.socket(family, socket.SOCK_STREAM) as listener,
        host.socket(family, socket.SOCK_STREAM) as marked,
        host.socket(family, socket.SOCK_STREAM) as plain,
    ):
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        marked.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x6879)
        for sock in (marked, plain):
            sock.connect((address, port))
        packed = socket.inet_pton(family, address)

        def listed() -> list[sock_diag.Connection]:
            with SockDiag() as kernel:
                return kernel.connections(family)

        ours = {each.inode: each for each in host.call(listed) if each.far == (packed, port)}
        assert {inode: each.near for inode, each in ours.items()} == {
            os.fstat(sock.fileno()).st_ino: (packed, sock.getsockname()[1]) for sock in (marked, plain)
        }
        assert sorted(each.mark for each in ours.values()) == [0, 0x6879]
        assert ours[os.fstat(marked.fileno()).st_ino].mark == 0x6879


def test_a_kernel_without_a_list_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "NETLINK_SOCK_DIAG", 31)
    with pytest.raises(OSError, match="not supported"), SockDiag() as kernel:
        kernel.connections(socket.AF_INET)
