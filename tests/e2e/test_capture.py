"""The packet sockets in a real kernel: frames made by hand go over a wire, and only whole, right ones are heard."""

import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hyperion.knockd.capture import CaptureSocket, open_capture
from hyperion.proto.ip import UdpDatagram, parse_udp
from hyperion.socket_filter import DROP_ALL, attach, detach
from tests.helpers.netns import Topology
from tests.helpers.packets import ipv4, ipv6, udp, whole_ipv4, whole_ipv6

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

PORT = 8443
PAYLOAD = b"HVPK" + bytes(range(40))
MARK = b"mark" + bytes(40)
IPV4, IPV6, VLAN, QINQ, ARP = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x0806
PROMPT_SECONDS = 2.0


class Ear:
    """Both packet sockets of a server, and what they heard."""

    def __init__(self, network: Topology) -> None:
        self.server = network.server
        self.sockets: tuple[CaptureSocket, CaptureSocket] = network.server.call(lambda: open_capture(PORT))
        self.heard: list[UdpDatagram] = []

    def _hear(self, packet: bytes, complete: bool) -> None:
        datagram = parse_udp(packet, verify_checksum=complete)
        if datagram is not None and datagram.destination_port == PORT:
            self.heard.append(datagram)

    def payloads(self) -> list[bytes]:
        """All that waits now."""
        self.heard.clear()
        for sock in self.sockets:
            while sock.read(self._hear, 1_000):
                pass
        return [datagram.payload for datagram in self.heard]

    def wait(self, payload: bytes, seconds: float = PROMPT_SECONDS) -> list[bytes]:
        """All that was heard until ``payload``, which is left out."""
        deadline, before = time.monotonic() + seconds, list[bytes]()
        while payload not in (new := self.payloads()):
            before += new
            assert time.monotonic() < deadline, f"not heard in {seconds} s"
            time.sleep(0.001)
        return before + [item for item in new if item != payload]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


class Wire:
    """The router's end of the server's wire: what is written here is a frame for the server, whatever it is."""

    def __init__(self, network: Topology) -> None:
        self._socket = network.router.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind(("to-server", 0))
        own = self._socket.getsockname()[4]
        with network.server.socket(socket.AF_PACKET, socket.SOCK_RAW) as other:
            other.bind(("eth0", 0))
            self.mac: bytes = other.getsockname()[4]
        self._from = own

    def frame(self, ether_type: int, packet: bytes, mac: bytes | None = None) -> None:
        self._socket.send((mac or self.mac) + self._from + struct.pack(">H", ether_type) + packet)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(network: Topology) -> Iterator[Ear]:
    made = Ear(network)
    yield made
    made.close()


@pytest.fixture
def wire(network: Topology) -> Iterator[Wire]:
    made = Wire(network)
    yield made
    made.close()


S4, D4 = socket.inet_aton("10.77.1.2"), socket.inet_aton("10.77.2.2")
S6, D6 = socket.inet_pton(socket.AF_INET6, "fd77:1::2"), socket.inet_pton(socket.AF_INET6, "fd77:2::2")
U4, U6 = udp(PAYLOAD, S4, D4), udp(PAYLOAD, S6, D6)
RIGHT4, RIGHT6 = ipv4(U4, S4, D4), ipv6(U6, S6, D6)
#: A header of one block of eight bytes that leads to UDP.
EXTENSION = struct.pack(">BB6x", 17, 0)

RIGHT = {
    "IPv4": (IPV4, RIGHT4),
    "IPv6": (IPV6, RIGHT6),
    "IPv4, one option": (IPV4, ipv4(U4, S4, D4, options=b"\x01" * 4)),
    "IPv4, all options that fit": (IPV4, ipv4(U4, S4, D4, options=b"\x01" * 40)),
    "IPv4, no checksum": (IPV4, ipv4(udp(PAYLOAD, S4, D4, sum_=0), S4, D4)),
    "IPv4, Ethernet padding": (IPV4, RIGHT4 + bytes(46)),
    "IPv4, padding up to the MTU": (IPV4, RIGHT4 + bytes(1_400)),
    "IPv6, Ethernet padding": (IPV6, RIGHT6 + b"\xff" * 20),
    "IPv4, source multicast port 0": (IPV4, ipv4(udp(PAYLOAD, S4, D4, source_port=0), S4, D4)),
    # number 0 means: no VLAN, only a priority; the kernel's own stack takes it, too
    "IPv4, priority tag": (VLAN, struct.pack(">HH", 0xE000, IPV4) + RIGHT4),
}
WRONG = {
    "VLAN 5": (VLAN, struct.pack(">HH", 5, IPV4) + RIGHT4),
    "VLAN 5, IPv6": (VLAN, struct.pack(">HH", 5, IPV6) + RIGHT6),
    "VLAN in VLAN": (QINQ, struct.pack(">HHHH", 5, VLAN, 6, IPV4) + RIGHT4),
    "IPv4 called IPv6": (IPV6, RIGHT4),
    "IPv6 called IPv4": (IPV4, RIGHT6),
    "ARP": (ARP, RIGHT4),
    "first fragment": (IPV4, ipv4(U4, S4, D4, fragment=0x2000)),
    "last fragment": (IPV4, ipv4(U4, S4, D4, fragment=0x0005)),
    "header checksum": (IPV4, ipv4(U4, S4, D4, sum_=1)),
    "UDP checksum": (IPV4, ipv4(udp(PAYLOAD, S4, D4, sum_=1), S4, D4)),
    "UDP checksum, IPv6": (IPV6, ipv6(udp(PAYLOAD, S6, D6, sum_=1), S6, D6)),
    "no UDP checksum, IPv6": (IPV6, ipv6(udp(PAYLOAD, S6, D6, sum_=0), S6, D6)),
    "total length short": (IPV4, ipv4(U4, S4, D4, total=71)),
    "total length long": (IPV4, ipv4(U4, S4, D4, total=80)),
    "UDP length long": (IPV4, ipv4(udp(PAYLOAD, S4, D4, length=53), S4, D4)),
    "UDP length short": (IPV4, ipv4(udp(PAYLOAD, S4, D4, length=51), S4, D4)),
    "trailing byte": (IPV4, ipv4(U4 + b"x", S4, D4)),
    "header length 4": (IPV4, ipv4(U4, S4, D4, version_and_length=0x44)),
    "version 5": (IPV4, ipv4(U4, S4, D4, version_and_length=0x55)),
    "TCP": (IPV4, ipv4(U4, S4, D4, protocol=6)),
    "other port": (IPV4, ipv4(udp(PAYLOAD, S4, D4, port=8444), S4, D4)),
    "source port only": (IPV4, ipv4(udp(PAYLOAD, S4, D4, port=1, source_port=PORT), S4, D4)),
    "43 bytes": (IPV4, whole_ipv4(PAYLOAD[1:], "10.77.1.2", "10.77.2.2")),
    "45 bytes": (IPV4, whole_ipv4(PAYLOAD + b"x", "10.77.1.2", "10.77.2.2")),
    "cut": (IPV4, RIGHT4[:-1]),
    "cut, IPv6": (IPV6, RIGHT6[:-1]),
    "hop-by-hop": (IPV6, ipv6(EXTENSION + U6, S6, D6, next_header=0)),
    "routing header": (IPV6, ipv6(EXTENSION + U6, S6, D6, next_header=43)),
    "fragment header": (IPV6, ipv6(struct.pack(">BBHI", 17, 0, 0, 9) + U6, S6, D6, next_header=44)),
    "destination options": (IPV6, ipv6(EXTENSION + U6, S6, D6, next_header=60)),
    "source multicast": (IPV4, whole_ipv4(PAYLOAD, "224.0.0.9", "10.77.2.2")),
    "source mapped": (IPV6, whole_ipv6(PAYLOAD, "::ffff:10.77.1.2", "fd77:2::2")),
}


@pytest.mark.parametrize(("ether_type", "packet"), RIGHT.values(), ids=RIGHT.keys())
def test_right_frames_are_heard(ear: Ear, wire: Wire, ether_type: int, packet: bytes) -> None:
    wire.frame(ether_type, packet)
    ear.wait(PAYLOAD)
    assert ear.heard[0].source in (S4, S6)


def test_wrong_frames_are_not(ear: Ear, wire: Wire) -> None:
    for name, (ether_type, packet) in WRONG.items():
        wire.frame(ether_type, packet)
        # frames keep their order: when the mark is heard, what was sent before it has been refused
        wire.frame(IPV4, whole_ipv4(MARK, "10.77.1.2", "10.77.2.2"))
        wire.frame(IPV6, whole_ipv6(MARK, "fd77:1::2", "fd77:2::2"))
        assert ear.wait(MARK) == [], name
        ear.payloads()


@pytest.mark.parametrize("mac", [b"\x02\0\0\0\0\x09", b"\xff" * 6, b"\x01\0\x5e\0\0\x01"], ids=["other", "all", "many"])
def test_frames_for_others_are_not(ear: Ear, wire: Wire, mac: bytes) -> None:
    wire.frame(IPV4, RIGHT4, mac)
    wire.frame(IPV4, whole_ipv4(MARK, "10.77.1.2", "10.77.2.2"))
    assert ear.wait(MARK) == []


def test_from_another_host_over_both_families(ear: Ear, network: Topology) -> None:
    """Over veth the checksum was never completed: the kernel says so, and that is taken into account."""
    for family, target, source in (
        (socket.AF_INET, network.server.ipv4, network.admin.ipv4),
        (socket.AF_INET6, network.server.ipv6, network.admin.ipv6),
    ):
        with network.admin.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(PAYLOAD, (target, PORT))
        ear.wait(PAYLOAD)
        assert ear.heard[0].source == socket.inet_pton(family, source)


def test_what_we_send_ourselves_is_not_heard(ear: Ear, network: Topology) -> None:
    with network.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(PAYLOAD, (network.admin.ipv4, PORT))
    with network.admin.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(MARK, (network.server.ipv4, PORT))
    assert ear.wait(MARK) == []


def test_over_loopback(ear: Ear, network: Topology) -> None:
    with network.server.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(PAYLOAD, ("::1", PORT))
    ear.wait(PAYLOAD)


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun")
def test_over_a_link_without_ethernet(ear: Ear, network: Topology) -> None:
    def open_tun() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        return fd

    fd = network.server.call(open_tun)
    try:
        network.server.ip("link", "set", "tun0", "up")
        for packet in (RIGHT4, RIGHT6):
            os.write(fd, packet)
            ear.wait(PAYLOAD)
    finally:
        os.close(fd)


def test_nothing_unfiltered_is_heard_while_opening(network: Topology) -> None:
    stop = threading.Event()

    def flood() -> None:
        with network.admin.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stop.is_set():
                for port in (53, PORT):
                    sock.sendto(b"junk of another length", (network.server.ipv4, port))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(30):
            sockets = network.server.call(lambda: open_capture(PORT))
            raw: list[bytes] = []
            for sock in sockets:
                sock.read(lambda packet, _: raw.append(packet), 100_000)  # noqa: B023 - called at once
                sock.close()
            assert raw == []
    finally:
        stop.set()
        thread.join()


def test_the_filter_is_there_to_stay(ear: Ear) -> None:
    """Also for whoever takes over knockd, which keeps the right to change filters."""
    for sock in ear.sockets:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            for change in (detach, lambda same: attach(same, DROP_ALL)):
                with pytest.raises(PermissionError):
                    change(same)


def test_a_full_queue_is_told_and_hearing_goes_on(ear: Ear, network: Topology) -> None:
    assert sum(sock.dropped() for sock in ear.sockets) == 0
    with network.attacker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(40_000):
            sock.sendto(PAYLOAD, (network.server.ipv4, PORT))
        heard = len(ear.payloads())
        dropped = sum(capture.dropped() for capture in ear.sockets)
        assert heard + dropped == 40_000
        assert dropped > 0
        sock.sendto(MARK, (network.server.ipv4, PORT))
        ear.wait(MARK)


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_interfaces_come_and_go(ear: Ear, network: Topology, rounds: int) -> None:
    """Down and up, and deleted and made again: 100 of 100 within two seconds."""
    for number in range(rounds):
        if number % 2:
            network.server.ip("link", "set", "eth0", "down")
            network.server.ip("link", "set", "eth0", "up")
            _batch_addresses(network)
        else:
            network.cut(network.server)
            assert ear.payloads() == []
            network.wire(network.server)
        payload = b"HVPK" + number.to_bytes(40, "big")
        with ExitStack() as stack:
            sock = stack.enter_context(network.admin.socket(socket.AF_INET, socket.SOCK_DGRAM))
            deadline = time.monotonic() + PROMPT_SECONDS
            while payload not in ear.payloads():
                assert time.monotonic() < deadline, f"round {number}"
                sock.sendto(payload, (network.server.ipv4, PORT))
                time.sleep(0.01)


def _batch_addresses(network: Topology) -> None:
    """Taking an interface down loses its IPv6 address and its routes."""
    network.server.ip("route", "replace", "default", "via", "10.77.2.1")
