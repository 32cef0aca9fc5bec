"""Streams that the peer opens and resets before it has an answer: how many it may, in how short a time.

A stream that was reset no longer counts against the limit of open streams, but its opening had a price. So a peer that
opens and resets without pause is no more bounded by that limit (CVE-2023-44487 is the same in HTTP/2).

Knows: a count that time wears off. Refuses to know streams.
"""

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.frame import GoAwayCode

#: Within one second, and in each second after that. An application that changes its mind waits for its answer first,
#: nearly always; a thousand that do not, on one connection in one second, are none.
MAX_HASTY_RESETS = 1000


class HastyResets:
    """Counts them: ``limit`` at once, and as many again in each second. ``now`` is monotonic seconds."""

    __slots__ = ("_count", "_counted_at", "_limit")

    def __init__(self, limit: int = MAX_HASTY_RESETS) -> None:
        self._limit = limit
        self._count = 0.0
        self._counted_at = 0.0

    def add(self, now: float) -> None:
        """One more. Raises YamuxError if that is too many."""
        worn_off = (now - self._counted_at) * self._limit
        self._count = max(self._count - worn_off, 0.0) + 1
        self._counted_at = now
        if self._count > self._limit:
            error = YamuxError("streams are reset before they are answered", go_away=GoAwayCode.PROTOCOL_ERROR)
            error.reason = "hasty-resets"
            raise error
