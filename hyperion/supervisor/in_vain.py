"""Who knocks again and again, is let in, and never comes: something that is not ours keeps him out.

It may be another table of this host's firewall, a firewall before the host, or a way on which knock and connection do
not have the same address. None of them can be seen from here; that nobody comes can. Knows times and addresses, and
refuses to know what is done about it (``gate``). ``now`` is seconds by any clock.
"""

from dataclasses import dataclass

#: Knocks without a session that are no bad luck any more, and the seconds between the first and the last of them: a
#: client that is kept out knocks oftener.
MIN_KNOCKS = 4
MIN_SECONDS = 10.0
#: Seconds after which one who knocks no more is forgotten.
FORGET_SECONDS = 600.0
#: Sources that are kept in mind: as many as are let in at once (``knockd.admission.MAX_SOURCES``).
MAX_SOURCES = 4_096


@dataclass(slots=True)
class _Tries:
    first: float
    last: float
    count: int = 1

    @property
    def are_in_vain(self) -> bool:
        return self.count >= MIN_KNOCKS and self.last - self.first >= MIN_SECONDS


class InVain:
    """Addresses are texts, always written in the same way."""

    def __init__(self) -> None:
        self._tries: dict[str, _Tries] = {}

    def knocked(self, source: str, now: float) -> bool:
        """Somebody was let in. True once, when it is clear that he does not come."""
        self._forget(now)
        tries = self._tries.pop(source, None)
        if tries is None:
            if len(self._tries) < MAX_SOURCES:
                self._tries[source] = _Tries(now, now)
            return False
        known = tries.are_in_vain
        tries.last, tries.count = now, tries.count + 1
        self._tries[source] = tries
        return tries.are_in_vain and not known

    def came(self, source: str) -> None:
        """He has proven himself."""
        self._tries.pop(source, None)

    def count(self, now: float) -> int:
        """How many there are now."""
        self._forget(now)
        return sum(tries.are_in_vain for tries in self._tries.values())

    def _forget(self, now: float) -> None:
        # The one that knocked last is the last one, so whoever is to be forgotten stands in front.
        while self._tries and now - (oldest := next(iter(self._tries.items())))[1].last >= FORGET_SECONDS:
            del self._tries[oldest[0]]
