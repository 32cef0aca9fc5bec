"""Pings of one session: is the peer alive, and how long does a round trip take?

Both sides ping. On a server that heals a firewall which lost its connection table: there only the server's own packet
re-creates the entry. Any byte from the peer counts as life, so a slow link full of data is never mistaken for a dead
one.

Source: WIRE section 8.4; DESIGN section 4 (liveness).
"""

from collections import deque

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.frame import MAX_U32, GoAwayCode

#: Seconds between pings: below the 15 s after which common stateful firewalls forget nothing yet, and two make 12 s.
PING_INTERVAL = 6.0
#: Pings in a row without any sign of life that end the session.
MAX_MISSED_PINGS = 2
#: Pings under way at once. A peer that sends data but answers no ping within 48 s is broken.
MAX_OUTSTANDING_PINGS = 8


class KeepAlive:
    """Schedule of pings and the memory of those that are under way. ``now`` is monotonic seconds."""

    __slots__ = ("_next_at", "_next_nonce", "_outstanding", "last_heard", "round_trip")

    def __init__(self) -> None:
        self._outstanding: deque[tuple[int, float]] = deque()
        self._next_nonce = 1  # opaque to the peer, and inside the encryption: a counter is as good as a random number
        self._next_at = 0.0
        #: when something came from the peer
        self.last_heard = 0.0
        #: seconds of the last round trip, None before the first
        self.round_trip: float | None = None

    def next_timeout(self) -> float:
        """When the next ping is due."""
        return self._next_at

    def heard(self, now: float) -> None:
        """Something came from the peer."""
        self.last_heard = now

    def next_ping(self, now: float) -> int | None:
        """The nonce of a ping to send now, None if none is due.

        Raises YamuxError if the peer was silent for too long.
        """
        if now < self._next_at:
            return None
        pings = self._outstanding
        silent = len(pings) >= MAX_MISSED_PINGS and self.last_heard <= pings[-MAX_MISSED_PINGS][1]
        if silent or len(pings) >= MAX_OUTSTANDING_PINGS:
            error = YamuxError("the peer answers no ping", go_away=None)
            error.reason = "keepalive-timeout"
            raise error
        nonce = self._next_nonce
        self._next_nonce = nonce % MAX_U32 + 1
        pings.append((nonce, now))
        self._next_at = now + PING_INTERVAL
        return nonce

    def pong(self, nonce: int, now: float) -> float:
        """An answer: the seconds it took. Raises YamuxError if no such ping is the oldest under way."""
        if not self._outstanding or self._outstanding[0][0] != nonce:
            raise YamuxError("a pong that nobody asked for", go_away=GoAwayCode.PROTOCOL_ERROR)
        self.round_trip = now - self._outstanding.popleft()[1]
        return self.round_trip
