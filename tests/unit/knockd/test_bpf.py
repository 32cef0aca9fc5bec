"""The filters, run by an interpreter of our own: no kernel, no root."""

import socket
import struct

import pytest

from hyperion.knockd import bpf
from hyperion.socket_filter import DROP_ALL, Instruction, attach, lock
from tests.helpers.packets import ipv4, ipv6, run_filter, udp, whole_ipv4, whole_ipv6

PORT = 8443
PAYLOAD = bytes(44)
IPV4, IPV6 = bpf.ipv4_program(PORT, 44), bpf.ipv6_program(PORT, 44)
S4, D4 = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
S6, D6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1"), socket.inet_pton(socket.AF_INET6, "2001:db8::2")
U4, U6 = udp(PAYLOAD, S4, D4), udp(PAYLOAD, S6, D6)


def test_a_knock_passes_whole() -> None:
    longest = ipv4(U4, S4, D4, options=b"\x01" * 40)
    assert run_filter(IPV4, whole_ipv4(PAYLOAD)) >= 72
    assert run_filter(IPV4, longest) >= len(longest)
    assert run_filter(IPV4, whole_ipv4(PAYLOAD) + bytes(20)) >= 72
    assert run_filter(IPV6, whole_ipv6(PAYLOAD)) >= 92


@pytest.mark.parametrize("packet_type", [1, 2, 3, 4, 5, 6])
def test_only_what_is_addressed_to_us(packet_type: int) -> None:
    assert run_filter(IPV4, whole_ipv4(PAYLOAD), packet_type) == 0
    assert run_filter(IPV6, whole_ipv6(PAYLOAD), packet_type) == 0


@pytest.mark.parametrize(
    "packet",
    [
        whole_ipv4(PAYLOAD, port=PORT + 1),
        whole_ipv4(PAYLOAD + b"x"),
        whole_ipv4(PAYLOAD[1:]),
        ipv4(U4, S4, D4, fragment=0x2000),
        ipv4(U4, S4, D4, fragment=1),
        ipv4(U4, S4, D4, protocol=6),
        ipv4(U4 + b"x", S4, D4),
        ipv4(udp(PAYLOAD, S4, D4, length=51), S4, D4),
        ipv4(U4, S4, D4, version_and_length=0x55),
        whole_ipv6(PAYLOAD),
        b"",
    ],
)
def test_ipv4_refusals(packet: bytes) -> None:
    assert run_filter(IPV4, packet) == 0


@pytest.mark.parametrize(
    "packet",
    [
        whole_ipv6(PAYLOAD, port=PORT + 1),
        whole_ipv6(PAYLOAD + b"x"),
        whole_ipv6(PAYLOAD[1:]),
        ipv6(struct.pack(">BB6x", 17, 0) + U6, S6, D6, next_header=0),
        ipv6(U6, S6, D6, next_header=6),
        ipv6(U6, S6, D6, first=4),
        whole_ipv4(PAYLOAD),
        b"",
    ],
)
def test_ipv6_refusals(packet: bytes) -> None:
    assert run_filter(IPV6, packet) == 0


@pytest.mark.parametrize("packet", [whole_ipv4(PAYLOAD), whole_ipv6(PAYLOAD)])
def test_nothing_passes_the_closed_filter(packet: bytes) -> None:
    assert run_filter(DROP_ALL, packet) == 0


@pytest.mark.parametrize("port", [1, 53, 65_535])
def test_the_port_is_the_one_given(port: int) -> None:
    for other in (1, 53, 8443, 65_535):
        assert bool(run_filter(bpf.ipv4_program(port, 44), whole_ipv4(PAYLOAD, port=other))) == (port == other)
        assert bool(run_filter(bpf.ipv6_program(port, 44), whole_ipv6(PAYLOAD, port=other))) == (port == other)


def test_the_kernel_takes_them_and_a_locked_one_stays() -> None:
    # Any socket may have a filter; the offsets mean something on packet sockets only.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for program in (DROP_ALL, IPV4, IPV6):
            attach(sock, program)
        lock(sock)
        with pytest.raises(PermissionError):
            attach(sock, DROP_ALL)


def test_the_kernel_refuses_nonsense() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="Invalid argument"):
        attach(sock, (Instruction(bpf.JUMP_IF_EQUAL, 9, 9, 0),))
