"""Hears that somebody changed a table of nftables, the moment the kernel does it.

Knows the kernel's multicast messages (linux/netlink.h, linux/netfilter/nfnetlink.h, nf_tables.h): just enough to tell
whether rules of one table were touched. Refuses to know what the change was: whoever hears of it looks for himself.

Joining needs CAP_NET_ADMIN; reading does not.
"""

import socket
import struct
from collections.abc import Iterator

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10

# linux/netfilter/nf_tables.h: what comes and goes with the grants, and the mark that ends each transaction
NFT_MSG_NEWSETELEM = 12
NFT_MSG_DELSETELEM = 14
NFT_MSG_NEWGEN = 15
_NOT_RULES = frozenset({NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN})
#: The number of the attribute with the table's name: the same in every message about tables, chains, rules and sets.
_TABLE_ATTRIBUTE = 1
_TYPE_MASK = 0x3FFF  # without the flags "nested" and "network byte order"

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, sender
_FAMILY_BYTES = 4  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type

#: The kernel packs the messages of one transaction into datagrams of at most a page or so.
_DATAGRAM_BYTES = 65_536
#: Datagrams read in one go: the flood of somebody loading 100,000 elements must not hold up everything else.
MAX_DATAGRAMS = 64


class TableWatch:
    """Messages about the table ``table``, whatever its family. Raises ``OSError`` where joining is not allowed."""

    def __init__(self, table: str) -> None:
        self._table = table.encode()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """To wait for."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Read what is there, never wait: whether it may have touched the table's rules."""
        changed = False
        for _ in range(MAX_DATAGRAMS):
            try:
                datagram = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: there were more than the buffer holds, and any may have been lost
                changed = True
                continue
            changed = changed or touches_rules(datagram, self._table)
        return changed

    def close(self) -> None:
        """Twice does no harm."""
        self._socket.close()


def touches_rules(datagram: bytes, table: bytes) -> bool:
    """Whether one of these messages is about ``table`` and not just about elements of its sets.

    A message that does not look as expected counts: to look once too often is cheap.
    """
    try:
        return any(_concerns(kind, attributes, table) for kind, attributes in _messages(datagram))
    except struct.error:
        return True


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(datagram):
        length, kind, *_ = _MESSAGE.unpack_from(datagram, position)
        if length < _MESSAGE.size:
            raise struct.error("a message shorter than its header")
        yield kind, datagram[position + _MESSAGE.size + _FAMILY_BYTES : position + length]
        position += _aligned(length)


def _concerns(kind: int, attributes: bytes, table: bytes) -> bool:
    subsystem, message = kind >> 8, kind & 0xFF
    if subsystem != NFNL_SUBSYS_NFTABLES or message in _NOT_RULES:
        return False
    position = 0
    while position < len(attributes):
        length, number = _ATTRIBUTE.unpack_from(attributes, position)
        if length < _ATTRIBUTE.size:
            raise struct.error("an attribute shorter than its header")
        if number & _TYPE_MASK == _TABLE_ATTRIBUTE:
            return attributes[position + _ATTRIBUTE.size : position + length].rstrip(b"\0") == table
        position += _aligned(length)
    return False


def _aligned(length: int) -> int:
    return (length + 3) & ~3
