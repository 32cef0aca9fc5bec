"""Ends connections that ran over a device that is gone: no packet will ever tell their applications.

A tund that was killed takes its device with it, in the middle of transfers. An application that sends is told soon, as
soon as its packets come to the next device; one that only waits for bytes would wait for ever. All that these
connections have left is the device's own address at their near end, so that is how they are found.

Knows the kernel's list of sockets (netlink, sock_diag) and its request to break one. That needs CAP_NET_ADMIN, and a
kernel with CONFIG_INET_DIAG_DESTROY; without it, nothing happens.

Source: linux/inet_diag.h, linux/sock_diag.h, linux/netlink.h.
"""

import socket
import struct
from collections.abc import Iterable, Iterator

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x01, 0x300

#: States of TCP in which somebody may still wait, as bits: established, SYN-SENT, both FIN-WAITs, CLOSE-WAIT, LAST-ACK,
#: CLOSING. No listeners, and nothing that is over.
STATES = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11

#: Seconds that the kernel may take for its list.
PATIENCE_SECONDS = 2.0
READ_BYTES = 256 * 1024

# nlmsghdr: length, type, flags, sequence, port.
_HEAD = struct.Struct("=IHHII")
# inet_diag_req_v2 without its last part: family, protocol, extensions, states.
_REQUEST = struct.Struct("=BBBxI")
#: ``inet_diag_sockid``: ports, addresses, interface, cookie. 4 bytes into ``inet_diag_msg``.
_SOCKET_BYTES = 48
_SOCKET_AT = _HEAD.size + 4
#: Within it: the near address.
_SOURCE_AT = 4
_MIN_MESSAGE_BYTES = _SOCKET_AT + _SOCKET_BYTES


def break_connections(addresses: Iterable[str]) -> int:
    """Breaks this machine's TCP connections from any of ``addresses``; how many it was asked to break.

    Their owners are told ECONNABORTED. Never raises: what cannot be broken is left.
    """
    found = 0
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
                sock.settimeout(PATIENCE_SECONDS)
                for identity in list(_connections(sock, family, socket.inet_pton(family, address))):
                    found += 1
                    sock.send(_message(SOCK_DESTROY, NLM_F_REQUEST, family, identity))
        except OSError:  # a kernel that lists or breaks none
            continue
    return found


def _connections(sock: socket.socket, family: int, source: bytes) -> Iterator[bytes]:
    """The identities of those that come from ``source``. Raises ``OSError``."""
    sock.send(_message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, bytes(_SOCKET_BYTES)))
    while True:
        data = sock.recv(READ_BYTES)
        at = 0
        while len(data) - at >= _HEAD.size:
            length, kind, _, _, _ = _HEAD.unpack_from(data, at)
            if kind in {NLMSG_DONE, NLMSG_ERROR} or length < _HEAD.size:
                return
            identity = data[at + _SOCKET_AT : at + _MIN_MESSAGE_BYTES]
            if identity[_SOURCE_AT : _SOURCE_AT + len(source)] == source:
                yield identity
            at += (length + 3) & ~3


def _message(kind: int, flags: int, family: int, identity: bytes) -> bytes:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, STATES) + identity
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body
