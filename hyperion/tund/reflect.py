"""Turns packets round, so that the kernel's own TCP serves connections to addresses that do not exist.

An application sends ``device:s -> V:p``; it goes back as ``V:s -> device:L``, where the worker of server V listens on
port L for its port p. What that answers, ``device:L -> V:s``, goes back as ``V:p -> device:s``. Both addresses swap and
one port changes; the sum over both addresses stays, so only the changed port touches a checksum, and none where the
kernel left the sum to be finished later (CHECKSUM_PARTIAL: the field holds the addresses' part only).

Pure: bytes in, bytes out. Knows IPv4, IPv6, TCP and what the device puts in front of a packet. Refuses to know:
sockets, time, who asked. Anything may be in a packet: what is not exactly right is dropped and counted, never an
exception.

What cannot be reflected gets an answer, so that no application hangs: a reset for a port that is not allowed, "host
unreachable" for a server that is down, "port unreachable" for UDP, an echo reply for a server that is up.

Strict on purpose: fragments, IPv4 options and IPv6 extension headers are dropped. Our kernel is the only sender, and it
sends none over a device whose packets go no further.

Sources: DESIGN section 6; RFC 791, 8200, 9293, 1624; the kernel's linux/virtio_net.h.
"""

import struct
from collections import Counter
from collections.abc import Mapping

from hyperion.tund.answer import (
    ACK,
    HOST_UNREACHABLE,
    ICMP,
    ICMPV6,
    IPV4_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    PORT_UNREACHABLE,
    SYN,
    TCP,
    TCP_HEADER_BYTES,
    VNET_BYTES,
    echo_reply,
    reset,
    unreachable,
)
from hyperion.tund.mapping import Target

UDP = 17
#: Longest frame: the largest IP packet and its virtio header.
MAX_FRAME_BYTES = VNET_BYTES + IPV6_HEADER_BYTES + 65_535

#: First SYNs that may wait for a worker to open a listener; each waits for a second at most. A port scan of an old
#: server gets resets beyond it.
MAX_HELD = 64
#: A SYN with all options that fit has 120 bytes; what claims to be a longer one carries data and may come again.
MAX_HELD_BYTES = 256

#: SYNs that are remembered, to know one that is sent again and again: nobody answered it, though there is a listener,
#: so this machine's own firewall may be in between. Of more within two seconds some are forgotten; one that is noticed
#: is enough.
MAX_OPENINGS = 256
#: The second of a kind is no sign: where this process stood still for a second, it was sent again all the same.
UNANSWERED_AT = 3

#: What is counted. Nothing else ever is, so the counters take the same room for ever.
COUNTED = (
    *("reflected", "reset", "unreachable", "udp-refused", "echoed", "held", "unanswered"),
    *("malformed", "fragment", "options", "foreign-source", "unknown-address", "unsupported"),
)

#: Answers of ``reflect`` that are no length.
DROPPED = 0

_NEEDS_CHECKSUM = 1
_TCP_CHECKSUM_AT = 16
_ECHO_REQUEST, _ECHO_REQUEST_6 = 8, 128

# What decides, from the first byte of the IP packet on: version and length, total length, fragment bits, protocol,
# addresses, ports. The same for IPv6 without fragments.
_IPV4 = struct.Struct(">BxH2xHxB2x4s4sHH")
_IPV4_TURNED = struct.Struct(">4s4sHH")
_IPV6 = struct.Struct(">B3xHBx16s16sHH")
_IPV6_TURNED = struct.Struct(">16s16sHH")
#: Where the packet's own header ends.
_IPV4_START = VNET_BYTES + IPV4_HEADER_BYTES
_IPV6_START = VNET_BYTES + IPV6_HEADER_BYTES
#: csum_start and csum_offset, in the machine's byte order, of a TCP checksum that is left open.
_OPEN_IPV4 = struct.pack("=HH", IPV4_HEADER_BYTES, _TCP_CHECKSUM_AT)
_OPEN_IPV6 = struct.pack("=HH", IPV6_HEADER_BYTES, _TCP_CHECKSUM_AT)

#: Shortest IP packet that ``_IPV4`` and ``_IPV6`` can read.
_MIN_IPV4 = VNET_BYTES + _IPV4.size
_MIN_IPV6 = VNET_BYTES + _IPV6.size

#: More fragments follow, or this is not the first.
_FRAGMENT_BITS = 0x3FFF


class Reflector:
    """``ipv4`` and ``ipv6``: the device's own addresses, packed; ``None`` if it has none of that kind.

    ``targets`` by packed address. ``wanted`` collects what a worker should open: (name of a server, remote port).
    """

    def __init__(self, ipv4: bytes | None, ipv6: bytes | None, targets: Mapping[bytes, Target]) -> None:
        self.targets = targets
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.wanted: list[tuple[str, int]] = []
        self._ipv4 = ipv4
        self._ipv6 = ipv6
        self._held: dict[tuple[str, int], bytes] = {}
        self._openings: dict[tuple[bytes, bytes], int] = {}

    def reflect(self, frame: bytearray, size: int) -> int:
        """Turns the ``size`` bytes in ``frame`` round, in place; how many bytes to write back, or ``DROPPED``.

        One function for what happens to nearly every packet: a short connection is ten of them, and each call costs.
        """
        version = frame[VNET_BYTES] >> 4 if size > VNET_BYTES else 0
        if version == 4 and size >= _MIN_IPV4:
            first, total, fragment, protocol, source, destination, from_port, to_port = _IPV4.unpack_from(frame, 10)
            if first != 0x45:
                return self._drop("options" if first > 0x45 else "malformed")
            if fragment & _FRAGMENT_BITS:
                return self._drop("fragment")
            whole, own, start = total == size - VNET_BYTES, self._ipv4, _IPV4_START
        elif version == 6 and size >= _MIN_IPV6:
            _, length, protocol, source, destination, from_port, to_port = _IPV6.unpack_from(frame, 10)
            whole, own, start = length == size - _IPV6_START, self._ipv6, _IPV6_START
        else:
            return self._drop("malformed")
        if not whole:
            return self._drop("malformed")
        target = self.targets.get(destination)
        if target is None or source != own or protocol != TCP:
            return self._answer(frame, size, source == own, target, protocol, start)
        if size < start + TCP_HEADER_BYTES:
            return self._drop("malformed")
        opening = frame[start + 13] & (SYN | ACK) == SYN
        # A source port that is a listener's can only be its worker's answer: the kernel gives no bound port to others.
        # Unless it opens a connection: that is somebody who has a dead worker's port now.
        changed = None if opening else target.remote_ports.get(from_port)
        if changed is not None:
            before, from_port = from_port, changed
        else:
            changed = target.listeners.get(to_port)
            if changed is None or (not target.up and opening):
                return self._refuse_tcp(frame, size, target, to_port, start)
            if opening:
                self._note_opening(destination, bytes(frame[start : start + 8]))
            before, to_port = to_port, changed
        if not frame[0] & _NEEDS_CHECKSUM:
            _adjust(frame, start + _TCP_CHECKSUM_AT, before, changed)
        elif frame[6:10] != (_OPEN_IPV4 if version == 4 else _OPEN_IPV6):
            return self._drop("malformed")
        if version == 4:
            _IPV4_TURNED.pack_into(frame, 22, destination, source, from_port, to_port)
        else:
            _IPV6_TURNED.pack_into(frame, 18, destination, source, from_port, to_port)
        self.counts["reflected"] += 1
        return size

    def release(self, name: str) -> list[bytes]:
        """The SYNs that waited for a listener of ``name``: hand each to ``reflect`` again."""
        return [self._held.pop(key) for key in list(self._held) if key[0] == name]

    def refuse(self, name: str, port: int) -> bytes | None:
        """The reset for a SYN that waited in vain for this; ``None`` if none waits."""
        held = self._held.pop((name, port), None)
        if held is None:
            return None
        frame = bytearray(held)
        self.counts["reset"] += 1
        return bytes(frame[: reset(frame, len(frame))])

    # --- TCP

    def _refuse_tcp(self, frame: bytearray, size: int, target: Target, port: int, start: int) -> int:
        """A segment that leads nowhere: why, and what its sender is told."""
        offset = 4 * (frame[start + 12] >> 4)
        if not TCP_HEADER_BYTES <= offset <= size - start:
            return self._drop("malformed")
        if frame[0] & _NEEDS_CHECKSUM and bytes(frame[6:10]) not in {_OPEN_IPV4, _OPEN_IPV6}:
            return self._drop("malformed")
        opening = frame[start + 13] & (SYN | ACK) == SYN
        if opening and not target.up:
            self.counts["unreachable"] += 1
            return unreachable(frame, size, HOST_UNREACHABLE)
        key = (target.name, port)
        room = key in self._held or len(self._held) < MAX_HELD
        if opening and not target.closed and room and size <= MAX_HELD_BYTES:
            return self._hold(key, bytes(frame[:size]))
        self.counts["reset"] += 1
        return reset(frame, size)

    def _note_opening(self, destination: bytes, ports_and_sequence: bytes) -> None:
        """The same SYN for the third time counts as unanswered, and each further one."""
        opening = destination, ports_and_sequence
        seen = self._openings[opening] = self._openings.get(opening, 0) + 1
        if seen >= UNANSWERED_AT:
            self.counts["unanswered"] += 1
        if len(self._openings) > MAX_OPENINGS:
            del self._openings[next(iter(self._openings))]

    def _hold(self, key: tuple[str, int], frame: bytes) -> int:
        self.counts["held"] += 1
        if key not in self._held:
            self.wanted.append(key)
            self._held[key] = frame  # a second one with the same aim is dropped: its sender repeats it in a second
        return DROPPED

    # --- the rest

    def _answer(self, frame: bytearray, size: int, own: bool, target: Target | None, protocol: int, start: int) -> int:
        """What is no segment between the device and a server."""
        if not own:  # another address of this machine, or a machine that uses us as its router: not for them
            self.counts["foreign-source"] += 1
            told = target is not None and protocol == TCP and size >= start + TCP_HEADER_BYTES
            return reset(frame, size) if told else DROPPED
        # What may be answered at all: no echo is an error, and neither is a whole TCP or UDP header.
        if size < start + 8:
            return self._drop("malformed")
        if protocol == (ICMPV6 if start == _IPV6_START else ICMP):
            request = _ECHO_REQUEST_6 if protocol == ICMPV6 else _ECHO_REQUEST
            if frame[start] != request or frame[start + 1] != 0:
                return self._drop("unsupported")
            if target is not None and target.up:
                self.counts["echoed"] += 1
                return echo_reply(frame, size)
        elif protocol not in {TCP, UDP}:
            return self._drop("unsupported")
        if target is not None and protocol == UDP:
            self.counts["udp-refused"] += 1
            return unreachable(frame, size, PORT_UNREACHABLE)
        if _to_many(frame):
            return self._drop("unknown-address")
        self.counts["unreachable"] += 1
        return unreachable(frame, size, HOST_UNREACHABLE)

    def _drop(self, reason: str) -> int:
        self.counts[reason] += 1
        return DROPPED


def _adjust(frame: bytearray, at: int, old: int, new: int) -> None:
    """The checksum at ``at`` after a word of what it covers changed from ``old`` to ``new`` (RFC 1624, equation 3)."""
    total = ((frame[at] << 8 | frame[at + 1]) ^ 0xFFFF) + (old ^ 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
    frame[at] = total >> 8
    frame[at + 1] = total & 0xFF


def _to_many(frame: bytearray) -> bool:
    """Multicast or broadcast: nobody answers those with an error (RFC 1122 section 3.2.2)."""
    return frame[26] >= 224 if frame[VNET_BYTES] >> 4 == 4 else frame[34] == 0xFF
