"""The shortcut in a real kernel: it does what ``reflect`` does, with just the packets that it may, or nothing.

The device is here, and nobody turns packets round at its other end: what the shortcut leaves alone can be read there.
"""

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperion.tund import shortcut as shortcut_module
from hyperion.tund.answer import ACK, SYN, VNET_BYTES
from hyperion.tund.device import attach, configure, open_device
from hyperion.tund.mapping import Target
from hyperion.tund.reflect import MAX_FRAME_BYTES, Reflector
from hyperion.tund.shortcut import Shortcut
from tests.helpers.ebpf import needs_ebpf
from tests.helpers.netns import Host, alone, inside
from tests.helpers.tun_frames import read, tcp
from tests.helpers.tund_process import DEVICE, OWN, OWN6, SERVERS, SERVERS6, SETTINGS, TundProcess, connect, serving

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), needs_ebpf]

# linux/if_packet.h, linux/if_ether.h
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
MIB = 1 << 20

PORT, LISTENER = 443, 40_443


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


class Rig(NamedTuple):
    """``device``: its other end, where tund would be. ``out`` sends to it as the kernel does; ``back`` hears what it
    brings in."""

    device: int
    out: socket.socket
    back: socket.socket

    def send(self, frame: bytes) -> tuple[str, bytes]:
        """Which way it went, and what it was then."""
        kind = ETH_P_IPV6 if frame[VNET_BYTES] >> 4 == 6 else ETH_P_IP
        self.out.sendto(frame, (DEVICE, kind))
        waiting = select.poll()
        for descriptor in (self.device, self.back.fileno()):
            waiting.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in waiting.poll(5_000)]
        assert len(ready) == 1, "lost, or doubled"
        if ready == [self.device]:
            return "out", os.read(self.device, MAX_FRAME_BYTES)
        return "back", self.back.recv(MAX_FRAME_BYTES)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with alone() as host, inside(host):
        # Nobody answers what comes in.
        host.run("nft", "add table inet t; add chain inet t mute { type filter hook input priority 0; policy drop; }")
        device = open_device(SETTINGS)
        configure(SETTINGS)
        table, program = shortcut_module.make(packed(OWN), packed(OWN6))
        attach(DEVICE, program)
        target = web1()
        Shortcut(table).set([packed(SERVERS["web1"]), packed(SERVERS6["web1"])], target)
        out, back = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2))
        out.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        back.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        back.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        back.bind((DEVICE, ETH_P_ALL))
        with out, back:
            quiet(device, back)
            yield Rig(device, out, back)
        for descriptor in (device, table, program):
            os.close(descriptor)


def quiet(device: int, back: socket.socket) -> None:
    """The kernel says a few things about a new device that are not the test's."""
    waiting = select.poll()
    for descriptor in (device, back.fileno()):
        waiting.register(descriptor, select.POLLIN)
    while ready := waiting.poll(300):
        for descriptor, _ in ready:
            os.read(descriptor, MAX_FRAME_BYTES)


def web1() -> Target:
    target = Target("web1", up=True)
    target.set_listeners([(PORT, LISTENER)], closed=True)
    return target


def expected(frame: bytes) -> tuple[str, bytes]:
    """What the reflector makes of it, if it is a segment of a connection that stands; else it goes its way."""
    target = web1()
    servers = {packed(each["web1"]): target for each in (SERVERS, SERVERS6)}
    reflector = Reflector(packed(OWN), packed(OWN6), servers)
    turned = bytearray(frame)
    size = reflector.reflect(turned, len(turned))
    flags_at = VNET_BYTES + (40 if frame[VNET_BYTES] >> 4 == 6 else 20) + 13
    if size and reflector.counts["reflected"] and frame[flags_at] & (SYN | ACK) != SYN:
        return "back", bytes(turned)
    return "out", frame


PAIRS = ((packed(OWN), packed(SERVERS["web1"])), (packed(OWN6), packed(SERVERS6["web1"])))


@pytest.mark.parametrize("pair", PAIRS, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("partial", [False, True], ids=["summed", "open"])
@pytest.mark.parametrize(
    ("ports", "flags", "way"),
    [
        ((51_000, PORT), ACK, "back"),
        ((LISTENER, 51_000), ACK, "back"),
        ((LISTENER, 51_000), SYN | ACK, "back"),
        ((LISTENER, PORT), ACK, "back"),
        ((51_000, PORT), 4, "back"),
        ((51_000, PORT), SYN, "out"),
        ((LISTENER, 51_000), SYN, "out"),
        ((51_000, 22), ACK, "out"),
        ((51_000, LISTENER), ACK, "out"),
        ((PORT, 51_000), ACK, "out"),
    ],
)
def test_which_way(
    rig: Rig, pair: tuple[bytes, bytes], partial: bool, ports: tuple[int, int], flags: int, way: str
) -> None:
    frame = bytes(tcp(*pair, *ports, flags=flags, data=b"hello", partial=partial))
    assert expected(frame)[0] == way
    went, seen = rig.send(frame)
    assert went == way
    assert seen[VNET_BYTES:] == expected(frame)[1][VNET_BYTES:]
    assert read(seen).right


@pytest.mark.parametrize("pair", PAIRS, ids=["IPv4", "IPv6"])
def test_a_segment_that_is_to_be_cut_up_keeps_its_orders(rig: Rig, pair: tuple[bytes, bytes]) -> None:
    whole = tcp(*pair, 51_000, PORT, flags=ACK, data=bytes(range(250)) * 200, partial=True, gso=len(pair[0]) // 4)
    header = VNET_BYTES + (40 if len(pair[0]) == 16 else 20) + 20
    frame = bytes(whole[:2]) + (header - VNET_BYTES).to_bytes(2, "little") + (1_400).to_bytes(2, "little")
    frame += bytes(whole[6:])
    way, seen = rig.send(frame)
    assert way == "back"
    assert seen[VNET_BYTES:] == expected(frame)[1][VNET_BYTES:]
    assert seen[1:2] + seen[4:10] == frame[1:2] + frame[4:10]  # kind, size of a segment, where the sum goes


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Right ones, and ones with a few wrong bytes in their headers, or of another length."""
    own, server = draw(st.sampled_from(PAIRS))
    ports = draw(st.sampled_from([(51_000, PORT), (LISTENER, 51_000), (51_000, 22), (LISTENER, PORT)]))
    flags = draw(st.sampled_from([ACK, SYN, SYN | ACK, 4, 17, 24, 0]))
    frame = bytearray(tcp(own, server, *ports, flags=flags, data=draw(st.binary(max_size=40))))
    for place, value in draw(
        st.dictionaries(st.integers(VNET_BYTES, VNET_BYTES + 60), st.integers(0, 255), max_size=2)
    ).items():
        if place < len(frame):
            frame[place] = value
    match draw(st.integers(0, 5)):
        case 0:
            frame += draw(st.binary(min_size=1, max_size=30))
        case 1:
            del frame[draw(st.integers(VNET_BYTES + 20, len(frame))) :]
        case _:
            pass
    return bytes(frame)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames())
def test_it_does_what_the_reflector_does_or_nothing(rig: Rig, frame: bytes) -> None:
    way, seen = rig.send(frame)
    assert (way, seen[VNET_BYTES:]) == (expected(frame)[0], expected(frame)[1][VNET_BYTES:])


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


def transfer(host: Host, listener: socket.socket, address: str) -> None:
    """8 MiB there and back, whole."""
    data = os.urandom(8 * MIB)

    def answer() -> None:
        sock, _ = listener.accept()
        with sock:
            got = bytearray()
            while len(got) < len(data) and (part := sock.recv(MIB)):
                got += part
            sock.sendall(got)

    thread = threading.Thread(target=answer)
    thread.start()
    with connect(host, address, PORT) as sock:
        sock.sendall(data)
        got = bytearray()
        while len(got) < len(data) and (part := sock.recv(MIB)):
            got += part
    thread.join()
    assert bytes(got) == data


@pytest.mark.parametrize(("own", "servers"), [(OWN, SERVERS), (OWN6, SERVERS6)], ids=["IPv4", "IPv6"])
def test_of_a_transfer_tund_sees_the_beginning_only(host: Host, own: str, servers: dict[str, str]) -> None:
    with TundProcess(host) as tund, serving(host, tund, PORT, own) as listener:
        transfer(host, listener, servers["web1"])
        assert tund.counts(lambda counts: counts["reflected"])["reflected"] == 1


def test_without_offload_there_is_none(host: Host) -> None:
    plain = msgspec.structs.replace(SETTINGS, offload=False)
    with TundProcess(host, plain) as tund, serving(host, tund, PORT) as listener:
        transfer(host, listener, SERVERS["web1"])
        assert tund.counts(lambda counts: counts["reflected"])["reflected"] > 100


@pytest.mark.needs("tc")
def test_somebody_takes_it_away(host: Host) -> None:
    """The connections that stand and new ones take the long way."""
    with TundProcess(host) as tund, serving(host, tund, PORT) as listener:
        with connect(host, SERVERS["web1"], PORT) as standing:
            served, _ = listener.accept()
            host.run("tc", "qdisc", "delete", "dev", DEVICE, "clsact")
            standing.sendall(b"hello")
            with served:
                assert served.recv(5) == b"hello"
            assert standing.recv(1) == b""
        transfer(host, listener, SERVERS["web1"])


@pytest.mark.needs("setpriv")
def test_without_the_right_all_takes_the_long_way(host: Host) -> None:
    with TundProcess(host, without_bpf=True) as tund, serving(host, tund, PORT) as listener:
        transfer(host, listener, SERVERS["web1"])
        assert tund.counts(lambda counts: counts["reflected"])["reflected"] > 100
