"""IP packets by hand: the right ones are read, everything else is nothing."""

import socket
import struct

import pytest

from hyperion.proto.ip import UdpDatagram, internet_checksum, parse_udp
from tests.helpers.packets import checksum, ipv4, ipv6, udp, whole_ipv4, whole_ipv6

S4, D4 = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
S6, D6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1"), socket.inet_pton(socket.AF_INET6, "2001:db8::2")
PAYLOAD = bytes(range(44))
U4, U6 = udp(PAYLOAD, S4, D4), udp(PAYLOAD, S6, D6)


@pytest.mark.parametrize("payload", [b"", b"x", b"xy", PAYLOAD, bytes(1400)], ids=len)
@pytest.mark.parametrize("padding", [b"", bytes(6), b"\xff" * 31], ids=len)
def test_a_whole_packet(payload: bytes, padding: bytes) -> None:
    assert parse_udp(whole_ipv4(payload) + padding) == UdpDatagram(S4, 40_000, 8443, payload)
    assert parse_udp(whole_ipv6(payload) + padding) == UdpDatagram(S6, 40_000, 8443, payload)


@pytest.mark.parametrize("words", range(1, 11))
def test_ipv4_options_are_skipped(words: int) -> None:
    packet = ipv4(U4, S4, D4, options=b"\x01" * 4 * words)
    assert parse_udp(packet) == UdpDatagram(S4, 40_000, 8443, PAYLOAD)


WRONG = {
    "nothing": b"",
    "version 0": ipv4(U4, S4, D4, version_and_length=0x05),
    "version 5": ipv4(U4, S4, D4, version_and_length=0x55),
    "header length 4": ipv4(U4, S4, D4, version_and_length=0x44),
    "header length 0": ipv4(U4, S4, D4, version_and_length=0x40),
    "header longer than the packet": ipv4(b"", S4, D4, version_and_length=0x4F),
    "total length too long": ipv4(U4, S4, D4, total=73),
    "total length shorter than the header": ipv4(U4, S4, D4, total=19),
    "total length cuts the datagram": ipv4(U4, S4, D4, total=71),
    "total length cuts the UDP header": ipv4(U4, S4, D4, total=27),
    "more fragments": ipv4(U4, S4, D4, fragment=0x2000),
    "last fragment": ipv4(U4, S4, D4, fragment=0x0001),
    "far fragment": ipv4(U4, S4, D4, fragment=0x1FFF),
    "TCP": ipv4(U4, S4, D4, protocol=6),
    "wrong header checksum": ipv4(U4, S4, D4, sum_=0x1234),
    "zero header checksum": ipv4(U4, S4, D4, sum_=0),
    "wrong UDP checksum": ipv4(udp(PAYLOAD, S4, D4, sum_=1), S4, D4),
    "UDP length too long": ipv4(udp(PAYLOAD, S4, D4, length=53), S4, D4),
    "UDP length too short": ipv4(udp(PAYLOAD, S4, D4, length=51), S4, D4),
    "UDP length 0": ipv4(udp(PAYLOAD, S4, D4, length=0), S4, D4),
    "behind the datagram": ipv4(U4 + b"\0", S4, D4),
    "source 0.0.0.0": whole_ipv4(PAYLOAD, "0.0.0.0"),
    "source multicast": whole_ipv4(PAYLOAD, "224.0.0.1"),
    "source broadcast": whole_ipv4(PAYLOAD, "255.255.255.255"),
    "IPv6 short": whole_ipv6(PAYLOAD)[:39],
    "IPv6 cut": whole_ipv6(PAYLOAD)[:-1],
    "IPv6 version 7": ipv6(U6, S6, D6, first=7),
    "IPv6 TCP": ipv6(U6, S6, D6, next_header=6),
    "hop-by-hop options": ipv6(struct.pack(">BB6x", 17, 0) + U6, S6, D6, next_header=0),
    "routing header": ipv6(struct.pack(">BB6x", 17, 0) + U6, S6, D6, next_header=43),
    "fragment header": ipv6(struct.pack(">BBHI", 17, 0, 0, 1) + U6, S6, D6, next_header=44),
    "destination options": ipv6(struct.pack(">BB6x", 17, 0) + U6, S6, D6, next_header=60),
    "IPv6 length 0 (jumbogram)": ipv6(U6, S6, D6, length=0),
    "IPv6 length too long": ipv6(U6, S6, D6, length=53),
    "IPv6 length too short": ipv6(U6, S6, D6, length=51),
    "IPv6 behind the datagram": ipv6(U6 + b"\0", S6, D6),
    "IPv6 without checksum": ipv6(udp(PAYLOAD, S6, D6, sum_=0), S6, D6),
    "IPv6 wrong checksum": ipv6(udp(PAYLOAD, S6, D6, sum_=1), S6, D6),
    "IPv6 source unspecified": whole_ipv6(PAYLOAD, "::"),
    "IPv6 source multicast": whole_ipv6(PAYLOAD, "ff02::1"),
    "IPv6 source mapped": whole_ipv6(PAYLOAD, "::ffff:192.0.2.1"),
}


@pytest.mark.parametrize("packet", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_nothing(packet: bytes) -> None:
    assert parse_udp(packet) is None


@pytest.mark.parametrize("packet", [whole_ipv4(PAYLOAD), whole_ipv6(PAYLOAD)], ids=["IPv4", "IPv6"])
def test_every_cut_is_nothing(packet: bytes) -> None:
    assert [parse_udp(packet[:length]) for length in range(len(packet))] == [None] * len(packet)


def test_ipv4_may_go_without_a_checksum() -> None:
    assert parse_udp(ipv4(udp(PAYLOAD, S4, D4, sum_=0), S4, D4)) is not None


def test_a_checksum_left_to_hardware_is_not_looked_at() -> None:
    for packet in (ipv4(udp(PAYLOAD, S4, D4, sum_=1), S4, D4), ipv6(udp(PAYLOAD, S6, D6, sum_=1), S6, D6)):
        assert parse_udp(packet) is None
        assert parse_udp(packet, verify_checksum=False) is not None
    # the header's own one is
    assert parse_udp(ipv4(U4, S4, D4, sum_=1), verify_checksum=False) is None


def test_a_sum_of_zero_is_sent_as_all_ones() -> None:
    # RFC 768: choose the last word so that the sum comes out as zero.
    for word in range(65_536):
        datagram = udp(struct.pack(">H", word), S4, D4)
        if datagram[6:8] == b"\xff\xff":
            assert parse_udp(ipv4(datagram, S4, D4)) is not None
            return
    pytest.fail("no word found")


def test_a_checksum_of_ours_against_the_one_written_out() -> None:
    for length in range(40):
        for data in (bytes(length), b"\xff" * length, bytes(range(length)), b"\xff\xff" + bytes(length)):
            ours = internet_checksum(data)
            assert ours == checksum(data) or {ours, checksum(data)} == {0, 0xFFFF}
            filled = data + bytes(len(data) % 2) + ours.to_bytes(2, "big")
            assert checksum(filled) in {0, 0xFFFF}
