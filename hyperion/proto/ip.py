"""Reads one UDP datagram out of a raw IP packet that anybody may have sent; and the checksum of all IP protocols.

Knows IPv4 and IPv6 headers and the checksums. Refuses to know: interfaces, sockets, what the payload means. A packet
that is not exactly right is ``None``, never an exception.

Strict on purpose. Every fragment is refused, also the first: a knock fits into any packet, and what is put together
later was not seen here. IPv6 extension headers are refused: no honest client sends them, and parsers differ about them.
The UDP length must fill the IP packet, so that one datagram has one spelling; what Ethernet padded behind it is cut
off. Sources that can be no TCP peer are refused.

Sources: RFC 791, 768, 8200 (a UDP checksum of zero is legal in IPv4 only), 1071 (the checksum).
"""

import struct
from typing import NamedTuple

UDP_PROTOCOL = 17
UDP_HEADER_BYTES = 8
IPV4_MIN_HEADER_BYTES = 20
IPV4_MAX_HEADER_BYTES = 60
IPV6_HEADER_BYTES = 40
#: More fragments follow, or this is not the first: the two parts of the field that must be zero in a whole packet.
IPV4_FRAGMENT_BITS = 0x3FFF

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_UDP = struct.Struct(">HHHH")
_PSEUDO_TAIL = struct.Struct(">HH")
#: First byte of an IPv4 address from which on there are only multicast, reserved and broadcast addresses.
_IPV4_FIRST_MULTICAST = 224
_IPV6_MULTICAST = 0xFF
_IPV6_UNSPECIFIED = bytes(16)
_IPV6_MAPPED = bytes(10) + b"\xff\xff"


class UdpDatagram(NamedTuple):
    """What a packet carried. ``source`` is packed, 4 or 16 bytes, as ``inet_ntop`` takes it."""

    source: bytes
    source_port: int
    destination_port: int
    payload: bytes


def parse_udp(packet: bytes, *, verify_checksum: bool = True) -> UdpDatagram | None:
    """The datagram in ``packet``, which starts at its IP header and may be padded; ``None`` if anything is wrong.

    ``verify_checksum=False`` is for packets whose UDP checksum the sender's kernel left to hardware that was never
    passed (loopback, veth, virtual machines): its field then holds only a part of the sum. The IPv4 header's own
    checksum is always complete and always verified.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _parse_ipv4(packet, verify_checksum)
    if version == 6:
        return _parse_ipv6(packet, verify_checksum)
    return None


def _parse_ipv4(packet: bytes, verify_checksum: bool) -> UdpDatagram | None:
    if len(packet) < IPV4_MIN_HEADER_BYTES:
        return None
    first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header = 4 * (first & 0x0F)
    if protocol != UDP_PROTOCOL or fragment & IPV4_FRAGMENT_BITS:
        return None
    if header < IPV4_MIN_HEADER_BYTES or not header <= total <= len(packet) or not _sums_up(packet[:header]):
        return None
    if not 0 < source[0] < _IPV4_FIRST_MULTICAST:
        return None
    return _parse_datagram(packet[header:total], source, destination, verify_checksum, may_be_zero=True)


def _parse_ipv6(packet: bytes, verify_checksum: bool) -> UdpDatagram | None:
    if len(packet) < IPV6_HEADER_BYTES:
        return None
    _, length, next_header, _, source, destination = _IPV6.unpack_from(packet)
    end = IPV6_HEADER_BYTES + length
    if next_header != UDP_PROTOCOL or end > len(packet):
        return None
    if source[0] == _IPV6_MULTICAST or source == _IPV6_UNSPECIFIED or source.startswith(_IPV6_MAPPED):
        return None
    return _parse_datagram(packet[IPV6_HEADER_BYTES:end], source, destination, verify_checksum, may_be_zero=False)


def _parse_datagram(
    datagram: bytes, source: bytes, destination: bytes, verify_checksum: bool, *, may_be_zero: bool
) -> UdpDatagram | None:
    if len(datagram) < UDP_HEADER_BYTES:
        return None
    source_port, destination_port, length, checksum = _UDP.unpack_from(datagram)
    if length != len(datagram):
        return None
    if verify_checksum and not (checksum == 0 and may_be_zero):
        pseudo = pseudo_header(source, destination, UDP_PROTOCOL, length)
        if checksum == 0 or not _sums_up(pseudo + datagram):
            return None
    return UdpDatagram(source, source_port, destination_port, datagram[UDP_HEADER_BYTES:])


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """What TCP, UDP and ICMPv6 sum up in front of their ``length`` bytes; for IPv6 in other places, with the same sum.

    Both addresses packed, 4 or 16 bytes; ``length`` up to 65,535.
    """
    return source + destination + _PSEUDO_TAIL.pack(protocol, length)


def internet_checksum(data: bytes) -> int:
    """What belongs into the checksum field of ``data``, in which that field is zero now. RFC 1071."""
    return -_number(data) % 0xFFFF


def _sums_up(data: bytes) -> bool:
    """Whether the ones' complement sum of all 16-bit words is -0, as it is where a right checksum is among them."""
    return _number(data) % 0xFFFF == 0


def _number(data: bytes) -> int:
    """``data`` as one number, filled up to whole words.

    2**16 is 1 modulo 2**16 - 1, so the remainder of the whole number is the sum with all carries: one step in C.
    """
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) % 2 else number
