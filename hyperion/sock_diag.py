"""The kernel's list of this network namespace's TCP connections (netlink, sock_diag), and its request to break one.

Knows the messages. Refuses to know whose connections these are and why somebody asks. Linux.

Source: linux/inet_diag.h, linux/sock_diag.h, linux/netlink.h.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x01, 0x300
#: Of a listed connection: its mark, told to who has CAP_NET_ADMIN.
INET_DIAG_MARK = 15

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
# inet_diag_msg: 4 bytes; ``inet_diag_sockid``: ports, addresses, interface, cookie (48); expires, queues, uid, inode.
_MESSAGE = struct.Struct("=4x48s16xI")
# Within the identity, in network order: both ports, both addresses.
_ENDS = struct.Struct(">HH16s16s")
_ATTRIBUTE = struct.Struct("=HH")
_MARK = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Connection:
    """Both ends, addresses packed. ``inode``: of its socket, 0 if no process has it. ``mark``: 0 if it has none, or we
    lack CAP_NET_ADMIN to be told."""

    family: int
    near: tuple[bytes, int]
    far: tuple[bytes, int]
    inode: int
    mark: int
    identity: bytes


class SockDiag:
    """A question or an order at a time. Use it in a ``with`` block. All raise ``OSError``, as where a kernel has no
    such list."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._sock.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> "SockDiag":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def connections(self, family: int) -> list[Connection]:
        """Those of sockets of this family."""
        self._sock.send(_message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, bytes(48)))
        return list(self._answers(family))

    def destroy(self, connection: Connection) -> None:
        """Its owner is told ECONNABORTED. Needs CAP_NET_ADMIN, and a kernel with CONFIG_INET_DIAG_DESTROY; without
        them, nothing happens."""
        self._sock.send(_message(SOCK_DESTROY, NLM_F_REQUEST, connection.family, connection.identity))

    def _answers(self, family: int) -> Iterator[Connection]:
        while True:
            data = self._sock.recv(READ_BYTES)
            at = 0
            while len(data) - at >= _HEAD.size:
                length, kind, _, _, _ = _HEAD.unpack_from(data, at)
                if kind in {NLMSG_DONE, NLMSG_ERROR} or length < _HEAD.size + _MESSAGE.size:
                    return
                yield _parse(family, data[at + _HEAD.size : at + length])
                at += _aligned(length)


def _parse(family: int, body: bytes) -> Connection:
    identity, inode = _MESSAGE.unpack_from(body)
    near_port, far_port, near, far = _ENDS.unpack_from(identity)
    size = 4 if family == socket.AF_INET else 16
    return Connection(
        family, (near[:size], near_port), (far[:size], far_port), inode, _mark(body[_MESSAGE.size :]), identity
    )


def _mark(attributes: bytes) -> int:
    at = 0
    while len(attributes) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == INET_DIAG_MARK and length == _ATTRIBUTE.size + _MARK.size:
            return int(_MARK.unpack_from(attributes, at + _ATTRIBUTE.size)[0])
        at += max(_aligned(length), _ATTRIBUTE.size)
    return 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _message(kind: int, flags: int, family: int, identity: bytes) -> bytes:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, STATES) + identity
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body
