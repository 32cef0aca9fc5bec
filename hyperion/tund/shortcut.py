"""What the shortcut in the kernel knows: which port takes the place of which.

Knows the map that ``shortcut_program`` looks into, and keeps it equal to the targets of ``mapping``. Refuses to know
packets. What is not in the map takes the long way, so nothing here is ever an error: a map that is full, or a kernel
that takes no changes from a process without rights, costs speed.
"""

from collections.abc import Iterable
from contextlib import suppress

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
#: kernel takes some 100 bytes for each that there is.
MAX_ENTRIES = 65_536

#: What tools such as ``bpftool`` show.
PROGRAM_NAME = "hyperion"


def make(ipv4: bytes | None, ipv6: bytes | None) -> tuple[int, int]:
    """A map and a program that looks into it, for a device with these addresses: their descriptors.

    Raises ``OSError``: no right (CAP_BPF), or no eBPF.
    """
    table = bpf.create_map(KEY.size, VALUE_BYTES, MAX_ENTRIES)
    return table, bpf.load_program(shortcut_program(table, ipv4, ipv6), PROGRAM_NAME)


class Shortcut:
    """The map of descriptor ``table``; ``None``: there is no shortcut, and nothing is done."""

    def __init__(self, table: int | None) -> None:
        self._table = table if table is not None and takes_changes(table) else None
        self._entries: dict[str, dict[bytes, bytes]] = {}

    @property
    def works(self) -> bool:
        """There is one, and it hears what we say."""
        return self._table is not None

    def set(self, addresses: Iterable[bytes], target: Target) -> None:
        """``target`` is at these addresses, packed; replaces what was known of it."""
        if self._table is None:
            return
        before = self._entries.get(target.name, {})
        after = dict(_entries(addresses, target))
        # First what is no longer so: a packet between the two takes the long way.
        self._forget(key for key in before if before[key] != after.get(key))
        entered = {key: value for key, value in after.items() if before.get(key) == value}
        for key in after.keys() - entered.keys():
            with suppress(OSError):
                bpf.put(self._table, key, after[key])
                entered[key] = after[key]
        self._entries[target.name] = entered

    def forget(self, name: str) -> None:
        """There is no such server any more."""
        self._forget(self._entries.pop(name, {}))

    def _forget(self, keys: Iterable[bytes]) -> None:
        if self._table is not None:
            for key in keys:
                bpf.remove(self._table, key)


def takes_changes(table: int) -> bool:
    """Whether the kernel lets us change it, without any right."""
    try:
        bpf.remove(table, bytes(KEY.size))
    except OSError:
        return False
    return True


def _entries(addresses: Iterable[bytes], target: Target) -> Iterable[tuple[bytes, bytes]]:
    for address in addresses:
        to, back = (TO_IPV4, FROM_IPV4) if len(address) == 4 else (TO_IPV6, FROM_IPV6)
        for remote, listener in target.listeners.items():
            yield KEY.pack(address.rjust(16, b"\0"), _port(remote), to), _port(listener)
        for listener, remote in target.remote_ports.items():
            yield KEY.pack(address.rjust(16, b"\0"), _port(listener), back), _port(remote)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")
