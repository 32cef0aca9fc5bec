"""Makes IP packets by hand, right ones and wrong ones, and runs classic BPF on them as the kernel would."""

import socket
import struct

from hyperion.knockd import bpf
from hyperion.socket_filter import RETURN, Program


def checksum(data: bytes) -> int:
    """RFC 1071, written out: an independent check of ours."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(
    payload: bytes,
    source: bytes,
    destination: bytes,
    *,
    port: int = 8443,
    source_port: int = 40_000,
    length: int | None = None,
    sum_: int | None = None,
) -> bytes:
    """A UDP datagram. ``source`` and ``destination`` are packed addresses, for its checksum."""
    size = 8 + len(payload) if length is None else length
    blank = struct.pack(">HHHH", source_port, port, size, 0) + payload
    right = checksum(source + destination + struct.pack(">HH", 17, size) + blank) or 0xFFFF
    return blank[:6] + struct.pack(">H", right if sum_ is None else sum_) + blank[8:]


def ipv4(
    body: bytes,
    source: bytes,
    destination: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    protocol: int = 17,
    total: int | None = None,
    version_and_length: int | None = None,
    sum_: int | None = None,
) -> bytes:
    """An IPv4 packet. ``options`` must be a multiple of four bytes long."""
    first = 0x45 + len(options) // 4 if version_and_length is None else version_and_length
    size = 20 + len(options) + len(body) if total is None else total
    head = struct.pack(">BBHHHBBH4s4s", first, 0, size, 7, fragment, 64, protocol, 0, source, destination) + options
    return head[:10] + struct.pack(">H", checksum(head) if sum_ is None else sum_) + head[12:] + body


def ipv6(
    body: bytes, source: bytes, destination: bytes, *, next_header: int = 17, length: int | None = None, first: int = 6
) -> bytes:
    """An IPv6 packet. Extension headers go in front of ``body``, with ``next_header`` naming the first."""
    size = len(body) if length is None else length
    return struct.pack(">IHBB16s16s", first << 28, size, next_header, 64, source, destination) + body


def whole_ipv4(payload: bytes, source: str = "192.0.2.1", destination: str = "192.0.2.2", port: int = 8443) -> bytes:
    """A packet without a fault."""
    ends = socket.inet_aton(source), socket.inet_aton(destination)
    return ipv4(udp(payload, *ends, port=port), *ends)


def whole_ipv6(
    payload: bytes, source: str = "2001:db8::1", destination: str = "2001:db8::2", port: int = 8443
) -> bytes:
    """A packet without a fault."""
    ends = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, destination)
    return ipv6(udp(payload, *ends, port=port), *ends)


def run_filter(program: Program, packet: bytes, packet_type: int = 0) -> int:
    """Bytes of ``packet`` that the kernel keeps; reading beyond the end refuses, as there."""
    accumulator = index = position = 0
    while True:
        code, if_true, if_false, k = program[position]
        position += 1
        try:
            if code == bpf.LOAD_WORD:
                assert k == bpf.PACKET_TYPE_OFFSET
                accumulator = packet_type
            elif code == bpf.LOAD_BYTE:
                accumulator = packet[k]
            elif code in (bpf.LOAD_HALF, bpf.LOAD_HALF_INDEXED):
                (accumulator,) = struct.unpack_from(">H", packet, k + (index if code == bpf.LOAD_HALF_INDEXED else 0))
            elif code == bpf.LOAD_HEADER_LENGTH:
                index = 4 * (packet[k] & 0x0F)
            elif code == bpf.AND:
                accumulator &= k
            elif code == bpf.SUBTRACT_X:
                accumulator = (accumulator - index) & 0xFFFF_FFFF
            elif code == bpf.JUMP_IF_EQUAL:
                position += if_true if accumulator == k else if_false
            elif code == bpf.JUMP_IF_ANY_BIT:
                position += if_true if accumulator & k else if_false
            else:
                assert code == RETURN
                return k
        except (IndexError, struct.error):
            return 0
