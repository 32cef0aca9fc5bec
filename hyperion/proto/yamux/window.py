"""Flow control of one direction of one stream: credit, and when to grant more.

The receiver's rules:

1. What arrives uses up credit at once; a byte beyond it is a violation.
2. Once a quarter of the window was consumed by the application, credit up to the whole window is granted in one update.
3. If that quarter went by within one round trip, the window is what limits the stream: it doubles first, as long as the
   connection's budget lasts.

Source: WIRE section 8.3; rust-yamux describes the idea of tuning by round trips.
"""

from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES

#: What all streams of a connection may have beyond their initial windows, bytes. With 512 streams of 256 KiB that is
#: 192 MiB of credit: what a peer may send that nobody has taken. Who takes it may count bytes as taken a little earlier
#: than the kernel does; the worker does so with 64 KiB a stream. What a stream leaves behind that ended before its
#: bytes were taken counts here, too (``hold``): else a peer could fill one stream after the other, and end it.
CONNECTION_BUDGET_BYTES = 64 * 1024 * 1024

#: Largest window of one stream, bytes: 1 Gbit/s at 130 ms of round trip.
MAX_STREAM_WINDOW_BYTES = 16 * 1024 * 1024


class WindowBudget:
    """Bytes that the streams of one connection may add to their windows. Given back when a stream ends.

    ``left`` is below 0 when streams that ended hold more: then no new one may be taken on.
    """

    __slots__ = ("left",)

    def __init__(self, total: int = CONNECTION_BUDGET_BYTES) -> None:
        self.left = total

    def take(self, size: int) -> int:
        """Take up to ``size`` bytes; return how many there were."""
        taken = max(0, min(size, self.left))
        self.left -= taken
        return taken

    def hold(self, size: int) -> None:
        """A stream ended, and ``size`` of its bytes still lie in the driver's memory: until they are given back."""
        self.left -= size

    def give_back(self, size: int) -> None:
        """Return what a stream had taken or held."""
        self.left += size


class ReceiveWindow:
    """What the peer may still send on one stream, and what it sent that nobody has consumed yet."""

    __slots__ = ("_budget", "_granted_at", "_max_window", "available", "buffered", "maximum")

    def __init__(self, budget: WindowBudget, max_window: int = MAX_STREAM_WINDOW_BYTES) -> None:
        self._budget = budget
        self._max_window = max_window
        self._granted_at: float | None = None
        self.maximum = INITIAL_WINDOW_BYTES
        self.available = INITIAL_WINDOW_BYTES
        self.buffered = 0

    def consumed(self, size: int, now: float, round_trip: float | None) -> int:
        """The application took ``size`` bytes. Return the credit to grant now, 0 for none yet."""
        self.buffered -= size
        if (self.maximum - self.available - self.buffered) * 4 < self.maximum:
            return 0
        if round_trip is not None and self._granted_at is not None and now - self._granted_at < round_trip:
            room = max(0, self._max_window - self.maximum)
            self.maximum += self._budget.take(min(self.maximum, room))
        self._granted_at = now
        credit = self.maximum - self.available - self.buffered
        self.available += credit
        return credit

    def close(self) -> None:
        """The stream is gone: what it had beyond the initial window goes back to the budget."""
        self._budget.give_back(self.maximum - INITIAL_WINDOW_BYTES)
        self.maximum = INITIAL_WINDOW_BYTES
