"""What is told to the map, and when; with the map of the kernel replaced by a dictionary."""

import errno
import socket
import tracemalloc

import pytest

from hyperion.tund import bpf
from hyperion.tund.mapping import Target
from hyperion.tund.shortcut import Shortcut
from hyperion.tund.shortcut_program import FROM_IPV4, FROM_IPV6, KEY, TO_IPV4, TO_IPV6

TABLE = 7
WEB4, WEB6, DB4 = socket.inet_aton("10.99.0.10"), bytes(15) + b"\x10", socket.inet_aton("10.99.0.11")


class Kernel:
    """A map with room for ``room`` entries, and a note of each change."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.changes: list[str] = []
        self.room = 100
        self.refuses = False

    def put(self, table: int, key: bytes, value: bytes) -> None:
        self._check(table)
        if len(self.entries) >= self.room:
            raise OSError(errno.E2BIG, "full")
        self.changes.append("put")
        self.entries[key] = value

    def remove(self, table: int, key: bytes) -> bool:
        self._check(table)
        self.changes.append("remove")
        return self.entries.pop(key, None) is not None

    def _check(self, table: int) -> None:
        assert table == TABLE
        if self.refuses:
            raise PermissionError(errno.EPERM, "no right")

    def read(self) -> dict[tuple[bytes, int, int], int]:
        return {
            (address, int.from_bytes(port, "big"), kind): int.from_bytes(value, "big")
            for key, value in self.entries.items()
            for address, port, kind in [KEY.unpack(key)]
        }


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(bpf, "put", made.put)
    monkeypatch.setattr(bpf, "remove", made.remove)
    return made


def target(*pairs: tuple[int, int], name: str = "web1") -> Target:
    made = Target(name, up=True)
    made.set_listeners(pairs, closed=True)
    return made


def test_both_directions_of_both_versions(kernel: Kernel) -> None:
    made = Shortcut(TABLE)
    assert made.works
    made.set([WEB4, WEB6], target((22, 40_022)))
    assert kernel.read() == {
        (bytes(12) + WEB4, 22, TO_IPV4): 40_022,
        (bytes(12) + WEB4, 40_022, FROM_IPV4): 22,
        (WEB6, 22, TO_IPV6): 40_022,
        (WEB6, 40_022, FROM_IPV6): 22,
    }


def test_only_what_changed_is_told(kernel: Kernel) -> None:
    made = Shortcut(TABLE)
    made.set([WEB4], target((22, 40_022), (80, 40_080)))
    kernel.changes.clear()
    made.set([WEB4], target((22, 40_022), (80, 40_080)))
    assert kernel.changes == []
    made.set([WEB4], target((22, 40_022), (80, 50_080)))
    assert kernel.changes == ["remove", "remove", "put", "put"]
    assert sorted(kernel.read().values()) == [22, 80, 40_022, 50_080]


def test_servers_do_not_disturb_each_other(kernel: Kernel) -> None:
    made = Shortcut(TABLE)
    made.set([WEB4], target((22, 40_022)))
    made.set([DB4], target((22, 40_122), name="db1"))
    made.forget("web1")
    assert set(kernel.read()) == {(bytes(12) + DB4, 22, TO_IPV4), (bytes(12) + DB4, 40_122, FROM_IPV4)}
    made.forget("nobody")
    made.set([], target((22, 40_122), name="db1"))
    assert kernel.entries == {}


def test_servers_that_swap_their_addresses(kernel: Kernel) -> None:
    """As when a reload brings one at the top of the file, and all others move on by one."""
    made = Shortcut(TABLE)
    web, db = target((22, 40_022)), target((22, 40_122), (5432, 40_123), name="db1")
    made.set([WEB4], web)
    made.set([DB4], db)
    made.set([DB4], web)
    assert set(kernel.read()) == {(bytes(12) + DB4, 22, TO_IPV4), (bytes(12) + DB4, 40_022, FROM_IPV4)}
    made.set([WEB4], db)
    assert kernel.read() == {
        (bytes(12) + DB4, 22, TO_IPV4): 40_022,
        (bytes(12) + DB4, 40_022, FROM_IPV4): 22,
        (bytes(12) + WEB4, 22, TO_IPV4): 40_122,
        (bytes(12) + WEB4, 40_122, FROM_IPV4): 22,
        (bytes(12) + WEB4, 5432, TO_IPV4): 40_123,
        (bytes(12) + WEB4, 40_123, FROM_IPV4): 5432,
    }


def test_what_is_remembered_is_small(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """tund is to stay below 15 MB, also with forty servers of 256 ports: 40,960 entries."""
    monkeypatch.setattr(bpf, "put", lambda *_: None)
    servers = [target(*((port, 20_000 + port) for port in range(256)), name=f"web{number}") for number in range(40)]
    made = Shortcut(TABLE)
    tracemalloc.start()
    try:
        for number, server in enumerate(servers):
            made.set([bytes((10, 99, 0, number)), bytes(15) + bytes([number])], server)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_a_kernel_that_takes_no_changes_any_more(kernel: Kernel) -> None:
    """What it has is wrong: it must not be kept in silence."""
    made = Shortcut(TABLE)
    made.set([WEB4], target((22, 40_022)))
    kernel.refuses = True
    with pytest.raises(PermissionError):
        made.set([WEB4], target((22, 40_023)))
    with pytest.raises(PermissionError):
        made.forget("web1")


def test_what_finds_no_room_is_tried_again(kernel: Kernel) -> None:
    made = Shortcut(TABLE)
    kernel.room = 1
    made.set([WEB4], target((22, 40_022)))
    assert len(kernel.entries) == 1
    kernel.room = 2
    made.set([WEB4], target((22, 40_022)))
    assert len(kernel.entries) == 2


def test_a_kernel_that_takes_no_changes_from_us(kernel: Kernel) -> None:
    kernel.refuses = True
    made = Shortcut(TABLE)
    assert not made.works
    made.set([WEB4], target((22, 40_022)))
    made.forget("web1")


def test_none_at_all(kernel: Kernel) -> None:
    made = Shortcut(None)
    assert not made.works
    made.set([WEB4], target((22, 40_022)))
    made.forget("web1")
    assert kernel.changes == []
