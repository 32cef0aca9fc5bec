"""The mirror, packet by packet. ``read`` sums every checksum up again, by other code."""

import ipaddress
import struct

import pytest

from hyperion.tund.mapping import Target
from hyperion.tund.reflect import COUNTED, DROPPED, MAX_HELD, MAX_OPENINGS, Reflector
from tests.helpers.packets import ipv4, ipv6, udp
from tests.helpers.tun_frames import Seen, frame, read, tcp, tcp_segment

SYN, RST, ACK, PUSH, FIN = 2, 4, 16, 8, 1
#: Of each version: the device's own address, a server's, one of nobody.
ADDRESSES = {
    version: tuple(ipaddress.ip_address(text).packed for text in texts)
    for version, texts in {
        4: ("10.99.0.1", "10.99.0.10", "10.99.0.77"),
        6: ("fd68:7970::1", "fd68:7970::10", "fd68:7970::77"),
    }.items()
}
both = pytest.mark.parametrize("version", [4, 6])


def make(*, up: bool = True, closed: bool = True) -> tuple[Reflector, Target]:
    target = Target("web1", up=up)
    target.set_listeners([(22, 40_022), (80, 40_080)], closed=closed)
    own4, server4, _ = ADDRESSES[4]
    own6, server6, _ = ADDRESSES[6]
    return Reflector(own4, own6, {server4: target, server6: target}), target


def turned(reflector: Reflector, given: bytearray) -> Seen:
    size = reflector.reflect(given, len(given))
    assert size, reflector.counts
    return read(bytes(given[:size]))


def moved(reflector: Reflector) -> dict[str, int]:
    return {name: count for name, count in reflector.counts.items() if count}


@both
@pytest.mark.parametrize("partial", [False, True])
def test_there_and_back(version: int, partial: bool) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    there = turned(reflector, tcp(own, server, 51_000, 22, data=b"hello", flags=ACK | PUSH, partial=partial))
    assert (there.source, there.destination, there.ports) == (server, own, (51_000, 40_022))
    assert there.right
    assert there.body[20:] == b"hello"
    back = turned(reflector, tcp(own, server, 40_022, 51_000, data=b"world!", flags=ACK | PUSH, partial=partial))
    assert (back.source, back.destination, back.ports) == (server, own, (22, 51_000))
    assert back.right
    assert moved(reflector) == {"reflected": 2}


@both
def test_a_segment_that_is_to_be_cut_up_keeps_its_orders(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    given = tcp(own, server, 51_000, 80, data=bytes(60_000), flags=ACK, partial=True, gso=1 if version == 4 else 4)
    before = bytes(given[:10])
    assert turned(reflector, given).right
    assert given[:10] == before


@both
@pytest.mark.parametrize("port", range(0, 65_536, 4_369))
def test_the_checksum_of_every_port(version: int, port: int) -> None:
    own, server, _ = ADDRESSES[version]
    target = Target("web1", up=True)
    target.set_listeners([(port, 65_535 - port)], closed=True)
    reflector = Reflector(own if version == 4 else None, own if version == 6 else None, {server: target})
    for data in (b"", b"x", b"\xff\xff" * 9):
        assert turned(reflector, tcp(own, server, 51_000, port, data=data, flags=ACK)).right


@both
def test_a_port_that_is_not_allowed_is_reset_at_once(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    answer = turned(reflector, tcp(own, server, 51_000, 23, sequence=0xFFFF_FFFF))
    assert (answer.source, answer.destination, answer.ports) == (server, own, (23, 51_000))
    assert (answer.flags, answer.sequence, answer.acknowledged, answer.right) == (RST | ACK, 0, 0, True)
    assert moved(reflector) == {"reset": 1}


@both
def test_a_lost_segment_is_reset_where_it_stands(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    answer = turned(reflector, tcp(own, server, 51_000, 23, flags=ACK, acknowledged=77, partial=True))
    assert (answer.flags, answer.sequence, answer.right) == (RST, 77, True)
    finish = turned(reflector, tcp(own, server, 51_000, 23, flags=FIN, sequence=10, data=b"abc"))
    assert (finish.flags, finish.acknowledged, finish.right) == (RST | ACK, 14, True)


@both
def test_a_reset_is_never_answered(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    given = tcp(own, server, 51_000, 23, flags=RST)
    assert reflector.reflect(given, len(given)) == DROPPED


@both
@pytest.mark.parametrize("port", [22, 23])
def test_a_server_that_is_down_is_unreachable(version: int, port: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make(up=False)
    given = tcp(own, server, 51_000, port, partial=True)
    quoted = bytes(given[10:])
    given += bytes(100)  # the pump's frame has room
    size = reflector.reflect(given, len(quoted) + 10)
    answer = read(bytes(given[:size]))
    assert (answer.source, answer.destination, answer.right) == (server, own, True)
    assert (answer.protocol, answer.body[:2]) == ((1, b"\x03\x01") if version == 4 else (58, b"\x01\x03"))
    assert answer.body[8:] == quoted


@both
def test_a_server_that_is_down_may_end_what_runs(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make(up=False)
    assert turned(reflector, tcp(own, server, 40_022, 51_000, flags=RST)).ports == (22, 51_000)
    assert turned(reflector, tcp(own, server, 51_000, 22, flags=ACK | FIN)).ports == (51_000, 40_022)


@both
def test_udp_is_refused_in_words(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    datagram = udp(b"x" * 3000, own, server)
    packet = ipv4(datagram, own, server) if version == 4 else ipv6(datagram, own, server)
    answer = turned(reflector, frame(packet))
    assert (answer.protocol, answer.body[:2]) == ((1, b"\x03\x03") if version == 4 else (58, b"\x01\x04"))
    quoted = answer.body[8:]
    assert quoted == packet[: len(quoted)]
    assert len(quoted) == (548 if version == 4 else 1232)
    assert answer.right


@both
def test_ping(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, target = make()
    answer = turned(reflector, ping(own, server))
    assert (answer.source, answer.destination, answer.right) == (server, own, True)
    assert (answer.body[0], answer.body[4:]) == (0 if version == 4 else 129, b"\x12\x34\x00\x01payload")
    target.up = False
    assert turned(reflector, ping(own, server) + bytes(0)).body[:2] == (b"\x03\x01" if version == 4 else b"\x01\x03")
    assert moved(reflector) == {"echoed": 1, "unreachable": 1}


def ping(own: bytes, server: bytes) -> bytearray:
    body = struct.pack(">BBHHH", 8 if len(own) == 4 else 128, 0, 0, 0x1234, 1) + b"payload"
    if len(own) == 4:
        return frame(ipv4(body, own, server, protocol=1))
    return frame(ipv6(body, own, server, next_header=58))


@both
def test_an_address_of_nobody(version: int) -> None:
    own, _, nobody = ADDRESSES[version]
    reflector, _ = make()
    assert turned(reflector, tcp(own, nobody, 51_000, 22)).body[:2] == (b"\x03\x01" if version == 4 else b"\x01\x03")


@both
def test_others_than_this_machine_are_refused(version: int) -> None:
    _, server, other = ADDRESSES[version]
    reflector, _ = make()
    answer = turned(reflector, tcp(other, server, 51_000, 22))
    assert (answer.destination, answer.flags) == (other, RST | ACK)
    given = tcp(other, other, 51_000, 22)
    assert reflector.reflect(given, len(given)) == DROPPED
    assert moved(reflector) == {"foreign-source": 2}


@both
def test_an_unknown_port_of_an_old_server_waits_for_the_worker(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, target = make(closed=False)
    given = tcp(own, server, 51_000, 5432)
    as_sent = bytes(given)
    assert reflector.reflect(given, len(given)) == DROPPED
    again = bytearray(as_sent)
    assert reflector.reflect(again, len(again)) == DROPPED
    assert reflector.wanted == [("web1", 5432)]
    assert moved(reflector) == {"held": 2}
    target.set_listeners([(5432, 40_003)], closed=False)
    [held] = reflector.release("web1")
    assert held == as_sent
    assert turned(reflector, bytearray(held)).ports == (51_000, 40_003)
    assert reflector.release("web1") == []


def test_who_waits_in_vain_is_reset() -> None:
    own, server, _ = ADDRESSES[4]
    reflector, _ = make(closed=False)
    given = tcp(own, server, 51_000, 5432)
    reflector.reflect(given, len(given))
    answer = reflector.refuse("web1", 5432)
    assert answer is not None
    assert read(answer).flags == RST | ACK
    assert reflector.refuse("web1", 5432) is None


def test_a_scan_of_an_old_server_holds_no_more_than_a_few() -> None:
    own, server, _ = ADDRESSES[4]
    reflector, _ = make(closed=False)
    for port in range(1000, 1000 + MAX_HELD):
        given = tcp(own, server, 51_000, port)
        assert reflector.reflect(given, len(given)) == DROPPED
    assert turned(reflector, tcp(own, server, 51_000, 999)).flags == RST | ACK


OWN, SERVER, _NOBODY = ADDRESSES[4]
OWN6, SERVER6, _NOBODY6 = ADDRESSES[6]
SEGMENT = tcp_segment(OWN, SERVER, 51_000, 22)
LONG_HEADER = tcp_segment(OWN, SERVER, 51_000, 23)[:12] + b"\xf0" + SEGMENT[13:]
SEGMENT6 = tcp_segment(OWN6, SERVER6, 51_000, 22)
ODD = {
    "nothing": (bytearray(), "malformed"),
    "a virtio header only": (bytearray(10), "malformed"),
    "version 5": (frame(b"\x50" + bytes(60)), "malformed"),
    "cut in the header": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6)[:23]), "malformed"),
    "cut in the IPv6 header": (frame(ipv6(SEGMENT6, OWN6, SERVER6, next_header=6)[:43]), "malformed"),
    "cut in the segment": (frame(ipv4(SEGMENT[:16], OWN, SERVER, protocol=6)), "malformed"),
    "cut in the IPv6 segment": (frame(ipv6(SEGMENT6[:19], OWN6, SERVER6, next_header=6)), "malformed"),
    "a length that lies": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6, total=39)), "malformed"),
    "an IPv6 length that lies": (frame(ipv6(SEGMENT6, OWN6, SERVER6, next_header=6, length=60)), "malformed"),
    "a header that is too short": (
        frame(ipv4(SEGMENT, OWN, SERVER, protocol=6, version_and_length=0x44)),
        "malformed",
    ),
    "options": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6, options=bytes(4))), "options"),
    "a first fragment": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6, fragment=0x2000)), "fragment"),
    "a later fragment": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6, fragment=185)), "fragment"),
    "an extension header": (frame(ipv6(b"\x06" + bytes(7) + SEGMENT6, OWN6, SERVER6, next_header=0)), "unsupported"),
    "an IPv6 fragment": (frame(ipv6(b"\x06" + bytes(7) + SEGMENT6, OWN6, SERVER6, next_header=44)), "unsupported"),
    "GRE": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=47)), "unsupported"),
    "an ICMP error": (frame(ipv4(b"\x03\x01" + bytes(26), OWN, SERVER, protocol=1)), "unsupported"),
    "a checksum to be put elsewhere": (frame(ipv4(SEGMENT, OWN, SERVER, protocol=6), start=24), "malformed"),
    "a TCP header that is too long": (frame(ipv4(LONG_HEADER, OWN, SERVER, protocol=6)), "malformed"),
    "multicast": (frame(ipv4(udp(b"", OWN, b"\xe0\0\0\xfb"), OWN, b"\xe0\0\0\xfb")), "unknown-address"),
    "IPv6 multicast": (
        frame(ipv6(udp(b"", OWN6, b"\xff\x02" + bytes(14)), OWN6, b"\xff\x02" + bytes(14))),
        "unknown-address",
    ),
}


@pytest.mark.parametrize(("given", "reason"), ODD.values(), ids=ODD.keys())
def test_what_is_not_exactly_right_is_dropped_and_counted(given: bytearray, reason: str) -> None:
    reflector, _ = make()
    assert reflector.reflect(given, len(given)) == DROPPED
    assert moved(reflector) == {reason: 1}


def test_only_known_words_are_counted() -> None:
    assert set(make()[0].counts) == set(COUNTED)


@both
def test_who_has_a_dead_workers_port_now_does_not_speak_for_it(version: int) -> None:
    """Else it could connect to any port of this machine as if it were the server."""
    own, server, _ = ADDRESSES[version]
    reflector, target = make()
    opening = tcp(own, server, 40_022, 22, flags=SYN)
    assert turned(reflector, bytearray(opening)).ports == (40_022, 40_022)
    target.up = False
    assert turned(reflector, bytearray(opening)).protocol != 6
    assert turned(reflector, tcp(own, server, 40_022, 51_000, flags=SYN | ACK)).ports == (22, 51_000)


@both
def test_a_syn_that_comes_a_third_time_was_not_answered(version: int) -> None:
    """The second may have waited beside the first, for a tund or a worker that stood still for a second."""
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    for sequence, unanswered in ((1_000, 0), (2_000, 0), (1_000, 0), (1_000, 1), (2_000, 1), (1_000, 2)):
        assert turned(reflector, tcp(own, server, 51_000, 22, flags=SYN, sequence=sequence)).right
        assert reflector.counts["unanswered"] == unanswered
    for _ in range(3):  # neither opens anything
        turned(reflector, tcp(own, server, 51_000, 22, flags=ACK, sequence=1_000))
        turned(reflector, tcp(own, server, 40_022, 51_000, flags=SYN | ACK, sequence=1_000))
    assert reflector.counts["unanswered"] == 2


@both
def test_only_so_many_syns_are_remembered(version: int) -> None:
    own, server, _ = ADDRESSES[version]
    reflector, _ = make()
    for port in range(50_000, 50_000 + 2 * MAX_OPENINGS):
        turned(reflector, tcp(own, server, port, 22, flags=SYN))
    for _ in range(2):
        turned(reflector, tcp(own, server, 50_000, 22, flags=SYN))
    assert reflector.counts["unanswered"] == 0
    assert len(reflector._openings) == MAX_OPENINGS
