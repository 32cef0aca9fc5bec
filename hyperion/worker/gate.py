"""Caps on connections that have proven nothing yet.

Pure: counts only. Source: DESIGN section 8; security notes B33.
"""

from collections import Counter

#: Connections of a worker that may be in their handshake at once. Each costs one file descriptor and about 10 KB for 3
#: s.
MAX_UNPROVEN = 64
#: ... of one source address: a NAT full of admins fits, one host cannot take all.
MAX_UNPROVEN_PER_SOURCE = 8


class Gate:
    """Who may begin a handshake."""

    def __init__(self, limit: int = MAX_UNPROVEN, per_source: int = MAX_UNPROVEN_PER_SOURCE) -> None:
        self._limit = limit
        self._per_source = per_source
        self._sources: Counter[str] = Counter()
        self._total = 0

    @property
    def unproven(self) -> int:
        """Handshakes under way."""
        return self._total

    def enter(self, source: str) -> bool:
        """A connection came: True if it may stay. Then ``leave`` must be called once, when it is proven or gone."""
        if self._total >= self._limit or self._sources[source] >= self._per_source:
            return False
        self._total += 1
        self._sources[source] += 1
        return True

    def leave(self, source: str) -> None:
        """It is proven or gone."""
        self._total -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
