"""What the shortcut in the kernel knows: which port takes the place of which.

Knows the map that ``shortcut_program`` looks into, and keeps it equal to the targets of ``mapping``. Refuses to know
packets. What is not in the map takes the long way, so a map that is full, or a kernel that takes no changes from a
process without rights, costs speed and is no error.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from hyperion.tund import bpf
from hyperion.tund.mapping import Target
from hyperion.tund.shortcut_program import (
    FROM_IPV4,
    FROM_IPV6,
    KEY,
    TO_IPV4,
    TO_IPV6,
    VALUE_BYTES,
    shortcut_program,
)

#: Entries: two for each address and port of a server. 16,384 ports of servers with an address of either kind; the
#: kernel takes 1 MiB for the empty table, and some 100 bytes for each entry.
MAX_ENTRIES = 65_536

#: What tools such as ``bpftool`` show.
PROGRAM_NAME = "hyperion"


def make(ipv4: bytes | None, ipv6: bytes | None) -> tuple[int, int]:
    """A map and a program that looks into it, for a device with these addresses: their descriptors.

    Raises ``OSError``: no right (CAP_BPF), or no eBPF.
    """
    table = bpf.create_map(KEY.size, VALUE_BYTES, MAX_ENTRIES)
    return table, bpf.load_program(shortcut_program(table, ipv4, ipv6), PROGRAM_NAME)


class _Known(NamedTuple):
    """What the map was told of one server."""

    addresses: frozenset[bytes] = frozenset()
    #: Remote port -> listener's port, as in ``Target``, which replaces it and never changes it.
    listeners: Mapping[int, int] = {}
    #: All of it found room.
    is_whole: bool = True


class Shortcut:
    """The map of descriptor ``table``; ``None``: there is no shortcut, and nothing is done.

    ``set`` and ``forget`` raise ``OSError`` where the kernel took changes before and takes none any more: what it has
    is wrong then, and only goes with the device.
    """

    def __init__(self, table: int | None) -> None:
        self._table = table if table is not None and takes_changes(table) else None
        self._known: dict[str, _Known] = {}

    @property
    def works(self) -> bool:
        """There is one, and it hears what we say."""
        return self._table is not None

    def set(self, addresses: Iterable[bytes], target: Target) -> None:
        """``target`` is at these addresses, packed, and nobody else is; replaces what was known of it."""
        if self._table is None:
            return
        own = frozenset(addresses)
        # A reload may give one server the address of another: that one leaves before this one comes.
        for name, other in self._known.items():
            if name != target.name and other.addresses & own:
                self._known[name] = self._change(other, other.addresses - own, other.listeners)
        before = self._known.get(target.name, _Known())
        self._known[target.name] = self._change(before, own, target.listeners)

    def forget(self, name: str) -> None:
        """There is no such server any more."""
        self._change(self._known.pop(name, _Known()), frozenset(), {})

    def _change(self, known: _Known, addresses: frozenset[bytes], listeners: Mapping[int, int]) -> _Known:
        if self._table is None or known == (addresses, listeners, True):
            return known
        before, after = dict(_entries(known.addresses, known.listeners)), dict(_entries(addresses, listeners))
        # First what is no longer so: a packet between the two takes the long way.
        for key, value in before.items():
            if after.get(key) != value:
                bpf.remove(self._table, key)
        is_whole = True
        for key, value in after.items():
            if not known.is_whole or before.get(key) != value:
                is_whole = self._put(key, value) and is_whole
        return _Known(addresses, listeners, is_whole)

    def _put(self, key: bytes, value: bytes) -> bool:
        """Whether there was room."""
        assert self._table is not None
        try:
            bpf.put(self._table, key, value)
        except OSError:
            return False
        return True


def takes_changes(table: int) -> bool:
    """Whether the kernel lets us change it, without any right."""
    try:
        bpf.remove(table, bytes(KEY.size))
    except OSError:
        return False
    return True


def _entries(addresses: Iterable[bytes], listeners: Mapping[int, int]) -> Iterator[tuple[bytes, bytes]]:
    for address in addresses:
        to, back = (TO_IPV4, FROM_IPV4) if len(address) == 4 else (TO_IPV6, FROM_IPV6)
        padded = address.rjust(16, b"\0")
        for remote, listener in listeners.items():
            yield KEY.pack(padded, _port(remote), to), _port(listener)
            yield KEY.pack(padded, _port(listener), back), _port(remote)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")
