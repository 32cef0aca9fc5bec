"""Classic BPF: the kernel throws away what cannot be a knock before it costs us anything.

Knows the instructions and the programs for one port; how one is hung on a socket is in ``hyperion.socket_filter``. The
filter is a sieve and no judge: whatever it lets through is looked at again in ``proto.ip``, as if there were no filter.

Offsets count from the IP header, where an AF_PACKET socket of type SOCK_DGRAM starts on every kind of link. Sources:
linux/filter.h, McCanne and Jacobson, "The BSD Packet Filter" (1993).
"""

from hyperion.proto.ip import (
    IPV4_FRAGMENT_BITS,
    IPV4_MAX_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    UDP_HEADER_BYTES,
    UDP_PROTOCOL,
)
from hyperion.socket_filter import DROP_ALL, RETURN, Instruction, Program

# Instructions, from linux/bpf_common.h: class, size, mode or operation.
LOAD_BYTE = 0x30
LOAD_HALF = 0x28
LOAD_WORD = 0x20
LOAD_HALF_INDEXED = 0x48
#: X = 4 * (low half of the byte at k): the length of an IPv4 header in one instruction.
LOAD_HEADER_LENGTH = 0xB1
AND = 0x54
SUBTRACT_X = 0x1C
JUMP_IF_EQUAL = 0x15
JUMP_IF_ANY_BIT = 0x45

#: Pseudo offset of the packet type: SKF_AD_OFF + SKF_AD_PKTTYPE.
PACKET_TYPE_OFFSET = (-0x1000 + 4) & 0xFFFF_FFFF
#: Addressed to this host: not outgoing, not for others seen in passing, not broadcast.
PACKET_HOST = 0


def ipv4_program(port: int, payload_bytes: int) -> Program:
    """Whole IPv4 packets for this host that hold one UDP datagram to ``port`` with exactly so much payload."""
    datagram = UDP_HEADER_BYTES + payload_bytes
    checks = [
        *_equal(LOAD_WORD, PACKET_TYPE_OFFSET, PACKET_HOST),
        *_equal(LOAD_BYTE, 9, UDP_PROTOCOL),
        Instruction(LOAD_BYTE, 0, 0, 0),
        Instruction(AND, 0, 0, 0xF0),
        Instruction(JUMP_IF_EQUAL, 0, 0, 0x40),
        Instruction(LOAD_HALF, 0, 0, 6),
        Instruction(JUMP_IF_ANY_BIT, 0, 0, IPV4_FRAGMENT_BITS),
        Instruction(LOAD_HEADER_LENGTH, 0, 0, 0),
        Instruction(LOAD_HALF, 0, 0, 2),
        Instruction(SUBTRACT_X, 0, 0, 0),
        Instruction(JUMP_IF_EQUAL, 0, 0, datagram),
        *_equal(LOAD_HALF_INDEXED, 2, port),
        *_equal(LOAD_HALF_INDEXED, 4, datagram),
    ]
    return _link(checks, keep=IPV4_MAX_HEADER_BYTES + datagram)


def ipv6_program(port: int, payload_bytes: int) -> Program:
    """The same for IPv6, without extension headers."""
    datagram = UDP_HEADER_BYTES + payload_bytes
    checks = [
        *_equal(LOAD_WORD, PACKET_TYPE_OFFSET, PACKET_HOST),
        *_equal(LOAD_BYTE, 6, UDP_PROTOCOL),
        Instruction(LOAD_BYTE, 0, 0, 0),
        Instruction(AND, 0, 0, 0xF0),
        Instruction(JUMP_IF_EQUAL, 0, 0, 0x60),
        *_equal(LOAD_HALF, 4, datagram),
        *_equal(LOAD_HALF, IPV6_HEADER_BYTES + 2, port),
        *_equal(LOAD_HALF, IPV6_HEADER_BYTES + 4, datagram),
    ]
    return _link(checks, keep=IPV6_HEADER_BYTES + datagram)


def _equal(load: int, offset: int, value: int) -> tuple[Instruction, Instruction]:
    return Instruction(load, 0, 0, offset), Instruction(JUMP_IF_EQUAL, 0, 0, value)


def _link(checks: list[Instruction], keep: int) -> Program:
    """Every check that fails jumps behind the end, where the packet is refused; else ``keep`` bytes of it are kept."""
    linked = []
    for index, instruction in enumerate(checks):
        to_refusal = len(checks) - index
        if instruction.code == JUMP_IF_EQUAL:
            instruction = instruction._replace(if_false=to_refusal)
        elif instruction.code == JUMP_IF_ANY_BIT:
            instruction = instruction._replace(if_true=to_refusal)
        linked.append(instruction)
    return (*linked, Instruction(RETURN, 0, 0, keep), *DROP_ALL)
