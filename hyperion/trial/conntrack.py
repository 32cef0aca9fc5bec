"""Tells conntrack of connections that are older than itself, so that a stateful firewall does not cut them.

A host that never had a rule about connection states tracks none. From the moment the gate's table is loaded the kernel
does, and what it has not seen begin is "new" to it: a packet of an old connection is dropped, again and again, until
this host itself sends something on it. For a login at which nobody types that is never. So each connection that is open
is entered by hand, as ``conntrack -I`` does it.

Knows the kernel's messages (linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h): just enough for that. Needs
CAP_NET_ADMIN. An entry that exists already is left as it is.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterable

from hyperion.trial.connections import Address, Connection

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER = 12
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLA_F_NESTED = 0x8000
_IPCTNL_MSG_CT_NEW = 1 << 8

# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _TIMEOUT = 1, 2, 3, 4, 7
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE = {4: 1, 6: 3}
_PROTO_NUM, _PROTO_SOURCE_PORT, _PROTO_TARGET_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE, _TCP_FLAGS_ORIG, _TCP_FLAGS_REPLY = 1, 1, 4, 5
#: Seen in both directions, not to be thrown out early, in the table (linux/netfilter/nf_conntrack_common.h).
_ESTABLISHED_STATUS = 1 << 1 | 1 << 2 | 1 << 3
_STATE_ESTABLISHED = 3
#: Sequence numbers are not known, so they are not judged.
_BE_LIBERAL = 0x08

#: The kernel's own default for an established connection, seconds: five days, anew with each packet.
ESTABLISHED_SECONDS = 432_000
#: More connections than this are not entered: at 20 us each they would take seconds in which the rules are half done.
MAX_CONNECTIONS = 65_536
#: Seconds that the kernel may take for one answer.
ANSWER_TIMEOUT = 1.0

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


def take_over(connections: Iterable[Connection], listening: Collection[int]) -> int:
    """Enters each of them; how many could not be. ``listening``: ports of this host on which others begin connections.

    Connections that never leave the host are left out: nothing is dropped there. Raises nothing.
    """
    wanted = [one for one in connections if not one.stays_inside]
    entered = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(ANSWER_TIMEOUT)
            netlink.bind((0, 0))
            for one in wanted[:MAX_CONNECTIONS]:
                netlink.send(entry(one, incoming=one.local_port in listening))
                entered += _answer(netlink.recv(65_536)) in (0, errno.EEXIST)
    except OSError:
        # No conntrack over netlink in this kernel, or no right to it.
        pass
    return len(wanted) - entered


def entry(connection: Connection, *, incoming: bool) -> bytes:
    """The message that enters one connection, which the other end began (``incoming``) or this host."""
    theirs, ours = (connection.remote, connection.remote_port), (connection.local, connection.local_port)
    first, second = (theirs, ours) if incoming else (ours, theirs)
    tcp = b"".join(
        (
            _attribute(_TCP_STATE, bytes((_STATE_ESTABLISHED,))),
            # Which flags, and which of them are meant.
            _attribute(_TCP_FLAGS_ORIG, bytes((_BE_LIBERAL, _BE_LIBERAL))),
            _attribute(_TCP_FLAGS_REPLY, bytes((_BE_LIBERAL, _BE_LIBERAL))),
        )
    )
    family = socket.AF_INET if connection.remote.version == 4 else socket.AF_INET6
    body = b"".join(
        (
            bytes((family, 0, 0, 0)),  # struct nfgenmsg
            _tuple(_TUPLE_ORIG, first, second),
            _tuple(_TUPLE_REPLY, second, first),
            _attribute(_STATUS, struct.pack("!I", _ESTABLISHED_STATUS)),
            _attribute(_TIMEOUT, struct.pack("!I", ESTABLISHED_SECONDS)),
            _nested(_PROTOINFO, _nested(_PROTOINFO_TCP, tcp)),
        )
    )
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    return _HEADER.pack(_HEADER.size + len(body), _IPCTNL_MSG_CT_NEW, flags, 1, 0) + body


def _tuple(kind: int, source: tuple[Address, int], target: tuple[Address, int]) -> bytes:
    number = _IP_SOURCE[source[0].version]
    addresses = _attribute(number, source[0].packed) + _attribute(number + 1, target[0].packed)
    ports = b"".join(
        (
            _attribute(_PROTO_NUM, bytes((socket.IPPROTO_TCP,))),
            _attribute(_PROTO_SOURCE_PORT, struct.pack("!H", source[1])),
            _attribute(_PROTO_TARGET_PORT, struct.pack("!H", target[1])),
        )
    )
    return _nested(kind, _nested(_TUPLE_IP, addresses) + _nested(_TUPLE_PROTO, ports))


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | NLA_F_NESTED, value)


def _answer(datagram: bytes) -> int:
    """The error number of the kernel's answer, 0: done."""
    _, kind, *_ = _HEADER.unpack_from(datagram)
    if kind != NLMSG_ERROR:
        return errno.EBADMSG
    return -int(_ERROR.unpack_from(datagram, _HEADER.size)[0])
