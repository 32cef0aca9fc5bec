"""Frames made by scapy, which shares no line with our own parser, through the real capture of a real knockd.

Each frame carries a genuine, fresh knock from a source of its own, so who was admitted tells which frames were taken.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, IPOption_RR, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import GRE, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Packet, Padding, Raw

from hyperion.proto.control_knockd import Admitted, GateState
from tests.helpers.knockd_process import PORT, KnockdProcess, elements, knock, load_table, send
from tests.helpers.netns import Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]

#: A frame, or several that belong together, for a source and a target.
Make = Callable[[str, str], Packet | list[Packet]]


def datagram(**fields: Any) -> Packet:
    """UDP with a knock in it."""
    return UDP(sport=40_000, dport=PORT, **fields) / Raw(knock())


def over4(**fields: Any) -> Make:
    return lambda source, target: IP(src=source, dst=target, **fields) / datagram()


def over6(*extensions: Packet) -> Make:
    def make(source: str, target: str) -> Packet:
        packet = IPv6(src=source, dst=target)
        for extension in extensions:
            packet = packet / extension.copy()
        return packet / datagram()

    return make


def tagged(*tags: Packet) -> Make:
    def make(source: str, target: str) -> Packet:
        frame = tags[0].copy()
        for tag in tags[1:]:
            frame = frame / tag.copy()
        return frame / IP(src=source, dst=target) / datagram()

    return make


def inside(outer: Callable[[str, str], Packet]) -> Make:
    """A genuine knock packet as the payload of another."""
    return lambda source, target: outer(source, target) / (IP(src=source, dst=target) / datagram())


def fragments(packet: Packet) -> list[Packet]:
    """24 bytes each."""
    made: list[Packet] = fragment(packet, fragsize=24)  # type: ignore[no-untyped-call]
    return made


RIGHT4: dict[str, Make] = {
    "plain": over4(),
    "dont fragment": over4(flags="DF"),
    "TTL 1": over4(ttl=1),
    "NOP options": over4(options=[IPOption_NOP()] * 4),
    "router alert": over4(options=[IPOption_Router_Alert()]),
    "record route, 40 bytes of options": over4(options=[IPOption_RR(routers=["0.0.0.0"] * 9), IPOption_NOP()]),
    "no UDP checksum": lambda source, target: IP(src=source, dst=target) / datagram(chksum=0),
    "padded to 60 bytes": lambda source, target: over4()(source, target) / Padding(bytes(6)),
    "padded to the MTU": lambda source, target: over4()(source, target) / Padding(b"\xff" * 1_400),
    "priority tag": tagged(Dot1Q(vlan=0, prio=7)),
}
RIGHT6: dict[str, Make] = {
    "plain": over6(),
    "traffic class and flow": lambda source, target: IPv6(src=source, dst=target, tc=3, fl=77) / datagram(),
    "padded": lambda source, target: over6()(source, target) / Padding(bytes(40)),
}
WRONG4: dict[str, Make] = {
    "VLAN": tagged(Dot1Q(vlan=5)),
    "VLAN in VLAN": tagged(Dot1AD(vlan=5), Dot1Q(vlan=6)),
    "VLAN in a priority tag": tagged(Dot1Q(vlan=0), Dot1Q(vlan=6)),
    "fragments": lambda source, target: fragments(IP(src=source, dst=target, id=9) / datagram()),
    "a first fragment that is whole": over4(flags="MF"),
    "a later fragment that is whole": over4(frag=3),
    "IP checksum": over4(chksum=1),
    "UDP checksum": lambda source, target: IP(src=source, dst=target) / datagram(chksum=1),
    "IP length short": over4(len=71),
    "IP length long": over4(len=73),
    "UDP length short": lambda source, target: IP(src=source, dst=target) / datagram(len=51),
    "UDP length long": lambda source, target: IP(src=source, dst=target) / datagram(len=53),
    "header length": over4(ihl=4),
    "version": over4(version=6),
    "UDP-Lite": over4(proto=136),
    "TCP": lambda source, target: IP(src=source, dst=target) / TCP(dport=PORT) / Raw(knock()),
    "in an ICMP error": inside(lambda source, target: IP(src=source, dst=target) / ICMP(type=3, code=3)),
    "in IPIP": inside(lambda source, target: IP(src=source, dst=target)),
    "in GRE": inside(lambda source, target: IP(src=source, dst=target) / GRE()),
    "in PPPoE": tagged(PPPoE(sessionid=1), PPP()),
    "in LLC and SNAP": tagged(LLC(), SNAP()),
    "another port": lambda source, target: IP(src=source, dst=target) / UDP(dport=PORT + 1) / Raw(knock()),
    "43 bytes": lambda source, target: IP(src=source, dst=target) / UDP(dport=PORT) / Raw(knock()[:-1]),
    "45 bytes": lambda source, target: IP(src=source, dst=target) / UDP(dport=PORT) / Raw(knock() + b"x"),
}
WRONG6: dict[str, Make] = {
    "hop by hop": over6(IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])),
    "destination options": over6(IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])),
    "routing header": over6(IPv6ExtHdrRouting()),
    "fragment header": over6(IPv6ExtHdrFragment(id=7)),
    "two headers": over6(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()),
    "UDP checksum": lambda source, target: IPv6(src=source, dst=target) / datagram(chksum=1),
    "no UDP checksum": lambda source, target: IPv6(src=source, dst=target) / datagram(chksum=0),
    "length short": lambda source, target: IPv6(src=source, dst=target, plen=51) / datagram(),
    "length long": lambda source, target: IPv6(src=source, dst=target, plen=53) / datagram(),
    "version": lambda source, target: IPv6(src=source, dst=target, version=4) / datagram(),
}


@pytest.fixture
def network(network: Topology) -> Iterator[Topology]:
    """With the gate's table on the server."""
    load_table(network.server)
    yield network
    network.server.run("nft", "flush", "ruleset")


def test_only_whole_and_right_frames_open(network: Topology, tmp_path: Path) -> None:
    wire = network.router.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("to-server", 0))
    with network.server.socket(socket.AF_PACKET, socket.SOCK_RAW) as other:
        other.bind(("eth0", 0))
        macs = {"src": mac(wire), "dst": mac(other)}
    expected, names = set(), {}
    with wire, KnockdProcess(network.server, tmp_path) as knockd:
        knockd.expect(GateState, lambda state: state.ok)
        for version, makes, right in ((4, RIGHT4, True), (6, RIGHT6, True), (4, WRONG4, False), (6, WRONG6, False)):
            for number, (name, make) in enumerate(makes.items(), 1):
                # a network of its own for each kind, below the cap for one network
                source = f"198.51.{right:d}.{number}" if version == 4 else f"2001:db8:{right:d}::{number:x}"
                names[source] = f"IPv{version}, {name}"
                made = make(source, network.server.ipv4 if version == 4 else network.server.ipv6)
                for packet in made if isinstance(made, list) else [made]:
                    wire.send(bytes(framed(packet, macs)))
                if right:
                    expected.add(source)
        # frames keep their order: when this one is admitted, all before it have been judged
        send(network.admin, network.server.ipv6, knock())
        send(network.admin, network.server.ipv4, knock())
        knockd.expect(Admitted, lambda admitted: admitted.source == network.admin.ipv4)
        found = elements(network.server).keys() - {network.admin.ipv4, network.admin.ipv6}
    assert {names[source] for source in expected - found} == set(), "right, and not taken"
    assert {names.get(source, source) for source in found - expected} == set(), "wrong, and taken"
    print(f"{len(expected)} right frames of {len(names)} taken, no other")


def framed(packet: Packet, macs: dict[str, Any]) -> Packet:
    """With a link header in front, of the kind that the packet needs."""
    return (Dot3(**macs) if isinstance(packet, LLC) else Ether(**macs)) / packet


def mac(sock: socket.socket) -> str:
    raw: bytes = sock.getsockname()[4]
    return raw.hex(":")
