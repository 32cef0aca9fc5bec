"""The TCP connections of this host, as the kernel lists them in ``/proc/net/tcp`` and ``tcp6`` (proc_net_tcp.txt).

Knows the format. Does not know whose they are: an inode says that (``login``).
"""

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ESTABLISHED = "01"
_LISTEN = "0A"
_WORD_DIGITS = 8

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Connection:
    """Both ends, seen from here. An IPv4 address is one even where a socket of both families has it."""

    remote: Address
    remote_port: int
    local: Address
    local_port: int

    def __str__(self) -> str:
        return f"{_end(self.remote, self.remote_port)} -> {_end(self.local, self.local_port)}"

    @property
    def stays_inside(self) -> bool:
        """Whether it never came through the network: both ends are this host."""
        return self.remote.is_loopback or self.remote == self.local


def list_connections(proc: Path = Path("/proc/thread-self")) -> dict[Connection, str]:
    """All of the network namespace of ``proc``, also those that are about to be or to end, with their sockets' inodes.

    Inode ``0``: no process has it (yet, or any more).
    """
    return {one: inode for one, state, inode in _lines(proc) if state != _LISTEN}


def established(proc: Path = Path("/proc/thread-self")) -> dict[Connection, str]:
    """Those that carry data."""
    return {one: inode for one, state, inode in _lines(proc) if state == _ESTABLISHED}


def listening_ports(proc: Path = Path("/proc/thread-self")) -> frozenset[int]:
    """Ports on which somebody waits for connections."""
    return frozenset(one.local_port for one, state, _ in _lines(proc) if state == _LISTEN)


def parse_address(text: str) -> Address:
    """An address in text; an IPv4 one also where it is written as IPv6. Raises ``ValueError``."""
    return _plain(ipaddress.ip_address(text.partition("%")[0]))


def _lines(proc: Path) -> Iterator[tuple[Connection, str, str]]:
    for name in ("tcp", "tcp6"):
        try:
            text = (proc / "net" / name).read_text()
        except OSError:  # IPv6 may be switched off
            continue
        for line in text.splitlines()[1:]:
            _, local, remote, state, *rest = line.split()
            yield Connection(*_parse(remote), *_parse(local)), state, rest[5]


def _parse(text: str) -> tuple[Address, int]:
    digits, _, port = text.partition(":")
    # The address lies in memory as on the wire; the kernel prints it as words of this machine.
    words = (digits[at : at + _WORD_DIGITS] for at in range(0, len(digits), _WORD_DIGITS))
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return _plain(ipaddress.ip_address(raw)), int(port, 16)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _end(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
