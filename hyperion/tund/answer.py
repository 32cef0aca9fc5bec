"""Packets that we make ourselves, in answer to one that cannot be reflected: reset, unreachable, echo reply.

Pure. A frame is what the device gives and takes: a virtio header, then an IP packet. Each function builds its answer
over the frame it was handed and returns the new length, or 0 where the protocols forbid an answer.

Sources: RFC 9293 section 3.10.7.1 (reset), RFC 792 and 1122 section 3.2.2 (ICMP), RFC 4443 (ICMPv6).
"""

import struct

from hyperion.proto.ip import internet_checksum, pseudo_header

#: ``struct virtio_net_hdr``, version 0: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
VNET_BYTES = 10
NO_VNET = bytes(VNET_BYTES)

TCP, ICMP, ICMPV6 = 6, 1, 58
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
TCP_HEADER_BYTES = 20
IPV4_HEADER_BYTES = 20
IPV6_HEADER_BYTES = 40

#: Bytes of the refused packet that an ICMP error quotes: with its own headers it stays within what every host takes
#: whole, 576 bytes in IPv4 and 1,280 in IPv6.
MAX_QUOTED_IPV4 = 548
MAX_QUOTED_IPV6 = 1232

TTL = 64

#: ICMP type and code, ICMPv6 type and code.
HOST_UNREACHABLE = ((3, 1), (1, 3))
PORT_UNREACHABLE = ((3, 3), (1, 4))

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_TCP = struct.Struct(">HHIIBBHHH")
_ICMP = struct.Struct(">BBHI")


def reset(frame: bytearray, size: int) -> int:
    """A TCP reset for the segment in ``frame``, a TCP packet without options in its IP header; 0 for a reset."""
    version6 = frame[VNET_BYTES] >> 4 == 6
    start = VNET_BYTES + (IPV6_HEADER_BYTES if version6 else IPV4_HEADER_BYTES)
    source_port, port, sequence, acknowledged, offset, flags, _, _, _ = _TCP.unpack_from(frame, start)
    if flags & RST:
        return 0
    if flags & ACK:
        fields = (acknowledged, 0, 0x50, RST)
    else:
        length = size - start - 4 * (offset >> 4) + bool(flags & SYN) + bool(flags & FIN)
        fields = (0, (sequence + length) & 0xFFFFFFFF, 0x50, RST | ACK)
    return _send(frame, TCP, _TCP.pack(port, source_port, *fields, 0, 0, 0), 16)


def unreachable(frame: bytearray, size: int, kind: tuple[tuple[int, int], tuple[int, int]]) -> int:
    """An ICMP error of ``kind`` that quotes the packet in ``frame``."""
    if frame[VNET_BYTES] >> 4 == 6:
        (type_, code), protocol, most = kind[1], ICMPV6, MAX_QUOTED_IPV6
    else:
        (type_, code), protocol, most = kind[0], ICMP, MAX_QUOTED_IPV4
    quoted = bytes(frame[VNET_BYTES : min(size, VNET_BYTES + most)])
    return _send(frame, protocol, _ICMP.pack(type_, code, 0, 0) + quoted, 2)


def echo_reply(frame: bytearray, size: int) -> int:
    """The reply to the echo request in ``frame``."""
    version6 = frame[VNET_BYTES] >> 4 == 6
    start = VNET_BYTES + (IPV6_HEADER_BYTES if version6 else IPV4_HEADER_BYTES)
    type_, protocol = (129, ICMPV6) if version6 else (0, ICMP)
    return _send(frame, protocol, bytes((type_, 0, 0, 0)) + bytes(frame[start + 4 : size]), 2)


def _send(frame: bytearray, protocol: int, body: bytes, checksum_at: int) -> int:
    """``body`` back to where the packet in ``frame`` came from, over it; ``body`` has a zero at ``checksum_at``."""
    if frame[VNET_BYTES] >> 4 == 6:
        source, destination = bytes(frame[34:50]), bytes(frame[18:34])
        head = _IPV6.pack(6 << 28, len(body), protocol, TTL, source, destination)
    else:
        source, destination = bytes(frame[26:30]), bytes(frame[22:26])
        blank = _IPV4.pack(0x45, 0, IPV4_HEADER_BYTES + len(body), 0, 0, TTL, protocol, 0, source, destination)
        head = blank[:10] + internet_checksum(blank).to_bytes(2, "big") + blank[12:]
    pseudo = b"" if protocol == ICMP else pseudo_header(source, destination, protocol, len(body))
    checksum = internet_checksum(pseudo + body).to_bytes(2, "big")
    size = VNET_BYTES + len(head) + len(body)
    frame[:size] = NO_VNET + head + body[:checksum_at] + checksum + body[checksum_at + 2 :]
    return size
