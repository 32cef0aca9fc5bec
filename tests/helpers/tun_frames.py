"""Frames as the TUN device hands them over, and what the answers to them say; every checksum is summed up here."""

import struct
from dataclasses import dataclass

from tests.helpers.packets import checksum, ipv4, ipv6

VNET = 10
NEEDS_CHECKSUM = 1


def tcp_segment(
    source: bytes,
    destination: bytes,
    source_port: int,
    port: int,
    *,
    flags: int = 0x02,
    sequence: int = 1000,
    acknowledged: int = 0,
    data: bytes = b"",
    partial: bool = False,
) -> bytes:
    """With its whole checksum; ``partial``: with the part over the addresses only, as before hardware adds the rest."""
    blank = struct.pack(">HHIIBBHHH", source_port, port, sequence, acknowledged, 0x50, flags, 64_000, 0, 0) + data
    pseudo = source + destination + struct.pack(">HH", 6, len(blank))
    total = checksum(pseudo) ^ 0xFFFF if partial else checksum(pseudo + blank)
    return blank[:16] + total.to_bytes(2, "big") + blank[18:]


def frame(packet: bytes, *, start: int | None = None, gso: int = 0, segment: int = 0) -> bytearray:
    """``packet`` with its virtio header in front; ``start``: where a checksum that is left open begins."""
    flags = 0 if start is None else NEEDS_CHECKSUM
    return bytearray(struct.pack("=BBHHHH", flags, gso, 0, segment, start or 0, 0 if start is None else 16) + packet)


def tcp(
    source: bytes,
    destination: bytes,
    source_port: int,
    port: int,
    *,
    partial: bool = False,
    gso: int = 0,
    **fields: object,
) -> bytearray:
    """A whole frame with a TCP segment; the addresses choose the version."""
    segment = tcp_segment(source, destination, source_port, port, partial=partial, **fields)  # type: ignore[arg-type]
    if len(source) == 4:
        return frame(ipv4(segment, source, destination, protocol=6), start=20 if partial else None, gso=gso)
    return frame(ipv6(segment, source, destination, next_header=6), start=40 if partial else None, gso=gso)


@dataclass(frozen=True)
class Seen:
    """A packet as its receiver reads it. ``right``: all checksums are."""

    source: bytes
    destination: bytes
    protocol: int
    body: bytes
    right: bool

    @property
    def ports(self) -> tuple[int, int]:
        return struct.unpack_from(">HH", self.body)

    @property
    def flags(self) -> int:
        return self.body[13]

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.body[4:8], "big")

    @property
    def acknowledged(self) -> int:
        return int.from_bytes(self.body[8:12], "big")


def read(raw: bytes) -> Seen:
    """What ``raw``, a frame, carries."""
    vnet, packet = raw[:VNET], raw[VNET:]
    if packet[0] >> 4 == 4:
        source, destination, protocol, body = packet[12:16], packet[16:20], packet[9], packet[20:]
        whole = int.from_bytes(packet[2:4], "big") == len(packet) and checksum(packet[:20]) == 0
    else:
        source, destination, protocol, body = packet[8:24], packet[24:40], packet[6], packet[40:]
        whole = int.from_bytes(packet[4:6], "big") == len(body)
    pseudo = source + destination + struct.pack(">HH", protocol, len(body)) if protocol != 1 else b""
    if vnet[0] & NEEDS_CHECKSUM:
        start, offset = struct.unpack_from("=HH", vnet, 6)
        field = int.from_bytes(packet[start + offset : start + offset + 2], "big")
        right = field == checksum(pseudo) ^ 0xFFFF
    else:
        right = checksum(pseudo + body) == 0
    return Seen(bytes(source), bytes(destination), protocol, bytes(body), whole and right)
