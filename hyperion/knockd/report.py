"""What knockd tells: a log line for each decision that matters, numbers for all of them.

Knows which rejections deserve a line: those with the form of a knock, and not more of them than ``flood`` allows. What
lacks even the form is only counted; the internet is full of it. Does not decide anything.

The id of a knock in the log is a hash of its nonce: the same in the line that accepts it and in all that refuse it
later. It opens nothing.
"""

import hashlib
from collections import Counter

from hyperion import log
from hyperion.events import KNOCK_ACCEPTED, KNOCK_REJECTED, REJECTIONS_SUMMARISED, SNIFFER_DEGRADED
from hyperion.flood import RejectionMeter
from hyperion.proto.control_knockd import KnockCounts
from hyperion.proto.knock import Knock

#: Bytes of the hash that make an id: 64 bits tell all knocks of a server's life apart.
ID_BYTES = 8
#: The kernel dropping packets under a flood is told at most so often, seconds.
DROP_LINE_SECONDS = 60.0


class Report:
    """One per knockd. ``now`` is monotonic seconds, ``wall`` is Unix seconds."""

    def __init__(self, knock_port: int) -> None:
        self._knock_port = knock_port
        self._meter = RejectionMeter()
        self._verdicts: Counter[str] = Counter()
        self._dropped = 0
        self._told = KnockCounts({}, 0)
        self._dropped_told = 0
        self._drop_line_at = 0.0

    def junk(self, reason: str) -> None:
        """Something without the form of a knock."""
        self._verdicts[reason] += 1

    def accepted(self, knock: Knock, source: str, port: int, wall: float) -> None:
        """A knock that opens the gate."""
        self._verdicts["accepted"] += 1
        fields = {"destination.port": self._knock_port, **self._fields(knock.nonce, source, port)}
        log.event(KNOCK_ACCEPTED, fields | {"hyperion.knock.skew_ms": skew_ms(knock, wall)})

    def rejected(self, reason: str, nonce: bytes, source: str, port: int, now: float) -> None:
        """Something with the form of a knock that nobody's key opens."""
        self._verdicts[reason] += 1
        if self._meter.admit(source, reason, now):
            log.event(KNOCK_REJECTED, self._fields(nonce, source, port), reason=reason)

    def refused(self, reason: str, knock: Knock, source: str, port: int, wall: float, now: float) -> None:
        """An authentic knock that opens nothing. Its clock is told: that is what is wrong most often."""
        self._verdicts[reason] += 1
        if self._meter.admit(source, reason, now):
            fields = self._fields(knock.nonce, source, port)
            log.event(KNOCK_REJECTED, fields | {"hyperion.knock.skew_ms": skew_ms(knock, wall)}, reason=reason)

    def dropped(self, total: int, now: float) -> None:
        """How many packets the kernel has dropped since the start."""
        self._dropped = total
        if total > self._dropped_told and now >= self._drop_line_at:
            log.event(SNIFFER_DEGRADED, {"hyperion.sniffer.dropped": total - self._dropped_told}, reason="queue-full")
            self._dropped_told, self._drop_line_at = total, now + DROP_LINE_SECONDS

    def summarise(self, now: float) -> None:
        """A line for each kind of rejection that was only counted, once a minute."""
        for suppressed in self._meter.summary(now):
            log.event(
                REJECTIONS_SUMMARISED,
                {
                    "hyperion.suppressed_count": suppressed.rejections,
                    "hyperion.suppressed_sources": suppressed.sources,
                },
                reason=suppressed.reason,
            )

    def changed_counts(self) -> KnockCounts | None:
        """The numbers for the supervisor; None: as last time."""
        counts = KnockCounts(dict(self._verdicts), self._dropped)
        if counts == self._told:
            return None
        self._told = counts
        return counts

    @staticmethod
    def _fields(nonce: bytes, source: str, port: int) -> dict[str, object]:
        return {"source.ip": source, "source.port": port, "hyperion.knock.id": knock_id(nonce)}


def knock_id(nonce: bytes) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(nonce).hexdigest()[: 2 * ID_BYTES]


def skew_ms(knock: Knock, wall: float) -> int:
    """How far the knock's clock is ahead of ours (behind: negative), ms. It tells whole seconds: up to 1,000 too low.

    Capped to what a log can hold.
    """
    return max(-(2**53), min(2**53, round((knock.timestamp - wall) * 1_000)))
