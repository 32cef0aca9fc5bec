"""Hears the knocks: two packet sockets, one for IPv4 and one for IPv6, that are never bound and never answer.

Knows AF_PACKET. Does not know what a knock is: every packet that passed is handed on as it came.

* SOCK_DGRAM: packets start at the IP header, whatever the link (Ethernet, PPP, TUN, loopback).
* One EtherType each, not "all": those sockets see no outgoing packets, and one that came in over a bridge once.
* Not bound to an interface: interfaces may go, come and be renamed without anybody noticing here.
* Plain receiving: no ring, no fanout, no time stamps. Those had the kernel bugs that turned CAP_NET_RAW into root
  (CVE-2016-8655, CVE-2017-7308, CVE-2020-14386).

Needs CAP_NET_RAW to open and nothing afterwards. Sources: packet(7), linux/if_packet.h.
"""

import errno
import socket
import struct
from collections.abc import Callable
from typing import Self

from hyperion.knockd import bpf
from hyperion.proto.knock import KNOCK_BYTES
from hyperion.socket_filter import DROP_ALL, Program, attach, lock

# From linux/if_ether.h, linux/socket.h and linux/if_packet.h; the socket module does not know all of them.
ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
SO_RCVBUFFORCE = 33
#: The sender's kernel left the checksum to hardware, and the packet never met any.
TP_STATUS_CSUMNOTREADY = 1 << 3

#: Longer than the longest packet a filter keeps (112 bytes), so that one that is cut shows by its length.
BUFFER_BYTES = 256
#: Kernel memory for packets that wait, bytes for each socket (the kernel doubles it). A flood's packet costs it about
#: 800, so 2,600 wait: 50 ms at 50,000 a second, in which we may do something else. A longer queue would lose as many
#: when the flood is more than we can judge, and let the honest knock that found a place wait until its client gave up.
RECEIVE_BUFFER_BYTES = 1024 * 1024

#: What reading may report without the socket being at its end: an interface went away, memory was short.
TRANSIENT = frozenset({errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM, errno.ENETUNREACH, errno.EINTR})

#: ``struct tpacket_auxdata``: status, lengths, offsets, VLAN.
_AUXDATA = struct.Struct("=IIIHHHH")
_STATISTICS = struct.Struct("=II")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_AUXDATA.size)

#: Takes a packet from its IP header on, and whether its UDP checksum is complete.
Handler = Callable[[bytes, bool], None]


class CaptureSocket:
    """One packet socket. Register ``fileno()`` with a loop and call ``read`` when it is readable."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._dropped = 0

    @classmethod
    def open(cls, ether_type: int, program: Program) -> Self:
        """Raises ``OSError`` without CAP_NET_RAW, or where the kernel has no packet sockets."""
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ether_type))
        try:
            # What came between the two calls was not filtered: nothing more may come while it is thrown away.
            attach(sock, DROP_ALL)
            _drain(sock)
            sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            _enlarge(sock)
            attach(sock, program)
            lock(sock)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def fileno(self) -> int:
        """For ``loop.add_reader``; -1 when closed."""
        return self._sock.fileno()

    def read(self, handle: Handler, limit: int) -> int:
        """Hand at most ``limit`` waiting packets to ``handle``; how many there were. Never waits.

        Raises ``OSError`` when the socket says something else than "nothing more": see ``TRANSIENT``.
        """
        for count in range(limit):
            try:
                packet, ancillary, flags, address = self._sock.recvmsg(BUFFER_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return count
            # The filter has looked at the packet type already. Never trust the filter.
            if address[2] == socket.PACKET_HOST and not flags & socket.MSG_TRUNC:
                handle(packet, _checksum_is_complete(ancillary))
        return limit

    def dropped(self) -> int:
        """Packets since the start that passed the filter and found the queue full."""
        # Asking resets the kernel's counters.
        self._dropped += _STATISTICS.unpack(self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size))[1]
        return self._dropped

    def close(self) -> None:
        """Idempotent."""
        self._sock.close()


def open_capture(port: int) -> tuple[CaptureSocket, CaptureSocket]:
    """Sockets for knocks to UDP ``port`` over IPv4 and over IPv6. Raises ``OSError``."""
    ipv4 = CaptureSocket.open(ETH_P_IP, bpf.ipv4_program(port, KNOCK_BYTES))
    try:
        return ipv4, CaptureSocket.open(ETH_P_IPV6, bpf.ipv6_program(port, KNOCK_BYTES))
    except BaseException:
        ipv4.close()
        raise


def _enlarge(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:  # without CAP_NET_ADMIN: as much as the system allows everybody
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def _drain(sock: socket.socket) -> None:
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return


def _checksum_is_complete(ancillary: list[tuple[int, int, bytes]]) -> bool:
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(data) >= _AUXDATA.size:
            return not _AUXDATA.unpack_from(data)[0] & TP_STATUS_CSUMNOTREADY
    return True
