"""Checksums of all that goes over the device, either way, as tcpdump judges them there.

``test_device`` sums them up with code of our own; this is the word of a program that knows nothing of us.

With offload off, the kernel finishes each sum before a packet enters the device, and tund finishes or adjusts each in
what it writes: tcpdump must call every single one correct. With offload on (TUN_F_CSUM, TSO) the kernel leaves the sums
of TCP and UDP to the device, and tund leaves them open, so tcpdump calls them incorrect: what it says is then
compared with what an open sum must hold (``helpers.tcpdump``), and what tund makes itself is always whole. The shortcut
in the kernel is for offload only, and leaves the sums open as well.
"""

import random
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.helpers.netns import Host, alone
from tests.helpers.packets import ipv4, udp
from tests.helpers.tcpdump import Judged, Tcpdump, Verdict
from tests.helpers.tund_process import (
    DEVICE,
    OWN,
    OWN6,
    SERVERS,
    SERVERS6,
    TundProcess,
    connect,
    target,
    there_and_back,
    with_mtu,
)

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "tcpdump", "ping", "setpriv")]

MIB = 1 << 20
#: In the device's network, and no server's.
NOBODY = "10.99.0.200"


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


@pytest.mark.parametrize("mtu", [1_280, 1_500, 9_000, 65_535])
@pytest.mark.parametrize("way", ["shortcut", "TSO", "plain"])
def test_tcpdump_finds_every_checksum_right(host: Host, mtu: int, way: str) -> None:
    """By the shortcut in the kernel, by tund where it has none, and by tund without offload."""
    data = random.Random(mtu).randbytes(MIB)
    offload = way != "plain"
    with (
        TundProcess(host, with_mtu(mtu, offload=offload), without_bpf=way == "TSO") as tund,
        Tcpdump(host, DEVICE, NOBODY) as dump,
    ):
        for own, servers in ((OWN, SERVERS), (OWN6, SERVERS6)):
            assert there_and_back(host, tund, own, servers["web1"], data) == data
            every_answer(host, tund, servers)
    assert [packet.text for packet in dump.packets if packet.verdict is Verdict.WRONG] == []
    for version in (4, 6):
        seen = [packet for packet in dump.packets if packet.version == version]
        # There and back, into the device and out of it. What takes the shortcut is seen once only.
        assert (sum(packet.size for packet in seen) > 4 * MIB) is (way != "shortcut")
        assert sum(packet.size for packet in seen) > 2 * MIB
        assert made_by_tund(seen) == {"echo reply": 1, "port unreachable": 1, "host unreachable": 1, "reset": 1}
        largest = max(packet.size for packet in seen)
        if offload:
            assert largest > 30_000
            assert {packet.verdict for packet in seen if packet.size > mtu} <= {Verdict.OPEN}
        else:
            assert mtu - 100 < largest <= mtu or (mtu > 30_000 and largest > 30_000)
            assert {packet.verdict for packet in seen} == {Verdict.CORRECT}


def every_answer(host: Host, tund: TundProcess, servers: dict[str, str]) -> None:
    """All that tund answers by itself: a reset, an echo, and both kinds of "unreachable"."""
    with pytest.raises(ConnectionRefusedError):
        connect(host, servers["web1"], 22)
    host.run("ping", "-c", "1", "-W", "5", servers["web1"])
    tund.send(target("web2", up=False))
    with pytest.raises(OSError, match="No route to host"):
        connect(host, servers["web2"], 22)
    with host.socket(socket.AF_INET6 if ":" in servers["web1"] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((servers["web1"], 9))
        sock.send(b"discard this")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def made_by_tund(packets: list[Judged]) -> Counter[str]:
    """Its answers among them, by kind. Each is whole, whatever else may be left open."""
    kinds = {
        "echo reply": "echo reply",
        "port unreachable": "udp port 9 unreachable|unreachable port",
        "host unreachable": "ICMP host|unreachable address",
        "reset": "Flags [R.]",
    }
    found: Counter[str] = Counter()
    for packet in packets:
        for kind, words in kinds.items():
            if any(word in packet.text for word in words.split("|")):
                assert packet.verdict is Verdict.CORRECT, packet.text
                found[kind] += 1
    return found


@pytest.mark.parametrize("spoilt", ["header", "datagram"])
def test_tcpdump_would_have_said_so(host: Host, spoilt: str) -> None:
    """Both verdicts above would be worth nothing if a wrong sum went unseen."""
    ends = socket.inet_aton(OWN), socket.inet_aton(SERVERS["web1"])
    if spoilt == "header":
        packet = ipv4(udp(b"abc", *ends), *ends, sum_=0x1234)
    else:
        packet = ipv4(udp(b"abc", *ends, sum_=0x1234), *ends)
    with (
        TundProcess(host),
        Tcpdump(host, DEVICE, NOBODY) as dump,
        host.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock,
    ):
        sock.sendto(packet, (DEVICE, 0x0800))
    assert (dump.packets[0].protocol, dump.packets[0].verdict) == ("UDP", Verdict.WRONG)
