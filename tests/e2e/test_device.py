"""What goes over the device, packet by packet: checksums of everything that comes back, and packets that are wrong."""

import errno
import json
import random
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.netns import Host, alone
from tests.helpers.packets import ipv4, ipv6, udp
from tests.helpers.tun_frames import VNET, read, tcp
from tests.helpers.tund_process import (
    DEVICE,
    OWN,
    OWN6,
    SERVERS,
    SERVERS6,
    TundProcess,
    connect,
    serving,
    target,
    there_and_back,
    with_mtu,
)

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

MIB = 1 << 20
# linux/if_packet.h, linux/if_ether.h
SOL_PACKET, PACKET_VNET_HDR = 263, 15
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


class Tap:
    """All that tund writes into the device, with its virtio header, while the block lasts."""

    def __init__(self, host: Host) -> None:
        self.frames: list[bytes] = []
        self._socket = host.call(self._open)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Tap":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)
        self._over.set()
        self._thread.join()
        self._socket.close()

    @staticmethod
    def _open() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # the device has no header of its own
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * MIB)
        sock.bind((DEVICE, ETH_P_ALL))
        sock.settimeout(0.05)
        return sock

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                data, address = self._socket.recvfrom(70_000)
            except TimeoutError:
                continue
            if address[2] != PACKET_OUTGOING:
                self.frames.append(data)


@pytest.mark.parametrize("mtu", [1_280, 1_500, 65_535])
@pytest.mark.parametrize("offload", [True, False], ids=["TSO", "plain"])
def test_every_checksum_is_right(host: Host, mtu: int, offload: bool) -> None:
    """Summed up by other code, at the device; what TSO leaves open must hold the addresses' part."""
    data = random.Random(mtu).randbytes(MIB)
    with TundProcess(host, with_mtu(mtu, offload=offload)) as tund, Tap(host) as tap:
        for own, servers in ((OWN, SERVERS), (OWN6, SERVERS6)):
            assert there_and_back(host, tund, own, servers["web1"], data) == data
            with pytest.raises(ConnectionRefusedError):
                connect(host, servers["web1"], 22)
    seen = [read(frame) for frame in tap.frames]
    assert sum(len(packet.body) for packet in seen) > 4 * MIB
    assert [packet for packet in seen if not packet.right] == []
    assert max(len(frame) for frame in tap.frames) > (30_000 if offload or mtu > 30_000 else mtu - 100)
    if not offload:
        assert max(len(frame) for frame in tap.frames) <= mtu + VNET


def pack(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def right_packets() -> list[bytes]:
    """Without their virtio header: the kernel makes that."""
    packets = []
    for own, server in ((pack(OWN), pack(SERVERS["web1"])), (pack(OWN6), pack(SERVERS6["web1"]))):
        packets += [bytes(tcp(own, server, 51_000, port, flags=flags)[VNET:]) for port in (22, 23) for flags in (2, 16)]
        packets.append(bytes(tcp(own, server, 40_022, 51_000, flags=18)[VNET:]))
        datagram, echo = udp(b"x" * 40, own, server), struct.pack(">BBHHH", 8 if len(own) == 4 else 128, 0, 0, 1, 1)
        if len(own) == 4:
            packets += [ipv4(datagram, own, server), ipv4(echo, own, server, protocol=1)]
        else:
            packets += [ipv6(datagram, own, server), ipv6(echo, own, server, next_header=58)]
    return packets


def spoil(packet: bytes, chance: random.Random) -> bytes:
    spoilt = bytearray(packet)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(spoilt))
        match chance.randrange(4):
            case 0:
                spoilt[place] ^= 1 << chance.randrange(8)
            case 1:
                spoilt[place] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
            case 2:
                del spoilt[max(1, place) :]
            case _:
                spoilt += chance.randbytes(chance.randrange(1, 40))
    return bytes(spoilt)


#: Wrong packets between two looks at how many came through.
FLOOD_PACKETS = 2_000

#: The share of them that comes to tund, at least; what is right in spite of all takes the shortcut.
both_ways = pytest.mark.parametrize(("offload", "share"), [(True, 0.7), (False, 0.99)], ids=["shortcut", "plain"])


@pytest.mark.alone
@both_ways
def test_wrong_packets(host: Host, offload: bool, share: float) -> None:
    flood(host, 20_000, share, seed=20_000, offload=offload)


@pytest.mark.long
@pytest.mark.timeout(600)
@both_ways
def test_a_million_wrong_packets(host: Host, offload: bool, share: float) -> None:
    flood(host, 1_000_000, share, seed=secrets.randbits(64), offload=offload)


def flood(host: Host, count: int, share: float, *, seed: int, offload: bool) -> None:
    """Into the device, past the kernel's own stack. It drops, without a word, what comes while its queue is full: so
    many more are sent."""
    print(f"flood(host, {count}, {share}, seed={seed}, offload={offload}) repeats it")  # shown if it fails
    chance = random.Random(seed)
    right = right_packets()
    packets = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    settings = with_mtu(65_535, offload=offload)
    with TundProcess(host, settings) as tund, packets as sock, versions(host) as wrong:
        tund.send(target("web1", (22, 40_022), closed=False))
        sent = 0
        while sent < count or arrived(host) < count * share:
            for _ in range(FLOOD_PACKETS):
                send(sock, spoil(chance.choice(right), chance))
            sent += FLOOD_PACKETS
        counts = tund.counts(lambda counts: sum(counts.values()) >= count * share)
        assert tund.child.poll() is None
        assert counts["malformed"] > count // 50
        # It still works, and is at rest.
        with serving(host, tund, 22):
            connect(host, SERVERS["web1"], 22).close()
        assert busy(tund.pid, 1.0) < 0.05
    assert wrong == []


def send(sock: socket.socket, packet: bytes) -> None:
    kind = ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6
    while True:
        try:
            sock.sendto(packet, (DEVICE, kind))
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the queue in front of the device is full
                raise
            time.sleep(0.001)


def arrived(host: Host) -> int:
    """Packets that tund has read."""
    (link,) = json.loads(host.ip("-s", "-j", "link", "show", DEVICE))
    return int(link["stats64"]["tx"]["packets"])


@contextmanager
def versions(host: Host) -> Iterator[list[bytes]]:
    """Frames of tund that are no IPv4 or IPv6 packet to its own machine from a server's address."""
    wrong: list[bytes] = []
    allowed = {pack(address) for address in (*SERVERS.values(), *SERVERS6.values())}
    with Tap(host) as tap:
        yield wrong
    for frame in tap.frames:
        version = frame[VNET] >> 4 if len(frame) > VNET else 0
        source = frame[VNET + 12 : VNET + 16] if version == 4 else frame[VNET + 8 : VNET + 24]
        destination = frame[VNET + 16 : VNET + 20] if version == 4 else frame[VNET + 24 : VNET + 40]
        if version not in {4, 6} or (source not in allowed and destination not in {pack(OWN), pack(OWN6)}):
            wrong.append(frame)


def busy(pid: int, seconds: float) -> float:
    """The share of a processor that a process takes."""

    def ticks() -> int:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / 100 / seconds
