"""Decides which rejections are worth a line and counts the rest, so that a flood fills no disk and hides no attacker.

Pure: time is an argument (monotonic seconds). Knows groups of sources (IPv4 /24, IPv6 /64), because one attacker owns
as many addresses as that; knows nothing of logs. A group may have one line a second, all groups together 50: what a
spoofed flood from everywhere would make of the first rule alone is a full disk.
"""

import socket
from collections import Counter, OrderedDict
from typing import Final, NamedTuple

#: A group of sources may have one line in this time, seconds: enough to see that it goes on.
LINE_SECONDS: Final = 1.0
#: Lines in that time from all groups together: at 700 bytes a line 35 KB/s, 3 GB a day at the very worst. Bounds the
#: memory of groups as well, because only a group that had a line is remembered.
MAX_LINES: Final = 50
#: A summary of what was only counted comes this often, seconds.
SUMMARY_SECONDS: Final = 60.0
#: Different reasons counted: four times our own words for a rejection; further ones count as ``other``.
MAX_REASONS: Final = 64
#: Different (reason, group) pairs remembered for a summary: 0.5 MB. Above it the number of sources is a lower bound.
MAX_COUNTED_SOURCES: Final = 4_096

_MAPPED: Final = bytes(10) + b"\xff\xff"
_IPV4_GROUP_BYTES: Final = 3
_IPV6_GROUP_BYTES: Final = 8


class Suppressed(NamedTuple):
    """Rejections that had no line of their own: how many, from how many groups of sources."""

    reason: str
    rejections: int
    sources: int


class RejectionMeter:
    """One per process and kind of rejection."""

    def __init__(self) -> None:
        self._recent: OrderedDict[bytes, float] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._sources: set[tuple[str, bytes]] = set()
        self._summary_at: float | None = None

    def admit(self, source_ip: str, reason: str, now: float) -> bool:
        """Whether this rejection gets a line. If not, it is counted for the next summary."""
        self._forget_before(now - LINE_SECONDS)
        group = source_group(source_ip)
        if group not in self._recent and len(self._recent) < MAX_LINES:
            self._recent[group] = now
            return True
        self._count(reason, group, now)
        return False

    def summary(self, now: float) -> list[Suppressed]:
        """What was only counted, most first; empty until a minute after the first of it. Then counting starts anew."""
        if self._summary_at is None or now < self._summary_at:
            return []
        sources = Counter(reason for reason, _ in self._sources)
        result = [Suppressed(reason, count, sources[reason]) for reason, count in self._counts.most_common()]
        self._counts.clear()
        self._sources.clear()
        self._summary_at = None
        return result

    def next_timeout(self) -> float | None:
        """When ``summary`` will have something to say (same clock as ``now``); ``None``: nothing was suppressed."""
        return self._summary_at

    def _forget_before(self, then: float) -> None:
        # Insertion order is time order, so the oldest stands first.
        while self._recent and next(iter(self._recent.values())) <= then:
            self._recent.popitem(last=False)

    def _count(self, reason: str, group: bytes, now: float) -> None:
        if reason not in self._counts and len(self._counts) >= MAX_REASONS:
            reason = "other"
        self._counts[reason] += 1
        if len(self._sources) < MAX_COUNTED_SOURCES:
            self._sources.add((reason, group))
        if self._summary_at is None:
            self._summary_at = now + SUMMARY_SECONDS


def source_group(source_ip: str) -> bytes:
    """The network one attacker may own: /24 of IPv4 (mapped too), /64 of IPv6. All that is no address is one group."""
    address = source_ip.partition("%")[0]
    packed = _pack(socket.AF_INET, address) or _pack(socket.AF_INET6, address)
    if len(packed) == len(_MAPPED) + 4:
        if not packed.startswith(_MAPPED):
            return packed[:_IPV6_GROUP_BYTES]
        packed = packed[len(_MAPPED) :]
    return packed[:_IPV4_GROUP_BYTES]


def _pack(family: socket.AddressFamily, address: str) -> bytes:
    try:
        return socket.inet_pton(family, address)
    except (OSError, ValueError):  # ValueError: NUL or a surrogate inside
        return b""
