"""Who is admitted, and until when, before the firewall is asked. Pure: time is an argument (monotonic seconds).

Knows the bounds. Refuses to know what a knock is and how the firewall is told; the caller takes back (``forget``) what
the firewall would not do. When it is full, nobody new gets in, and whoever is in can stay in.
"""

import enum
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping

from hyperion.flood import source_group

#: Sources admitted at once. A key holder can forge any number of them; 4,096 is beyond any honest fleet of admins.
MAX_SOURCES = 4_096
#: Of those, from one network (IPv4 /24, IPv6 /64): an office behind one NAT is one source, so this is 64 offices.
MAX_SOURCES_PER_GROUP = 64
#: A grant is renewed at most so often, seconds: what it loses is as short, and a flood of authentic knocks costs the
#: firewall one call a second for each source.
RENEW_SECONDS = 1.0


class Decision(enum.Enum):
    """What to do about an authentic knock. The values are stable words for logs (``event.reason``)."""

    ADMIT = "admit"
    RENEW = "renew"
    #: The grant is so young that renewing it would change nothing.
    FRESH = "fresh"
    FULL = "full"
    GROUP_FULL = "group-full"

    @property
    def asks_firewall(self) -> bool:
        """Whether the firewall is to be told."""
        return self in (Decision.ADMIT, Decision.RENEW)


class Admission:
    """Grants of ``ttl`` seconds. ``one_shot``: a grant may be used up at any time, so every knock renews it."""

    def __init__(
        self,
        ttl: float,
        *,
        one_shot: bool = False,
        max_sources: int = MAX_SOURCES,
        max_per_group: int = MAX_SOURCES_PER_GROUP,
    ) -> None:
        self._ttl = ttl
        # With a short life a second is much: half of it is left at least.
        self._renew_seconds = 0.0 if one_shot else min(RENEW_SECONDS, ttl / 2)
        self._max_sources = max_sources
        self._max_per_group = max_per_group
        # All grants live equally long, so the order of their beginnings is the order of their ends.
        self._until: OrderedDict[str, float] = OrderedDict()
        self._per_group: Counter[bytes] = Counter()
        self._doubted_at = -math.inf

    def __len__(self) -> int:
        return len(self._until)

    @property
    def ttl(self) -> float:
        """Life of a grant, seconds."""
        return self._ttl

    def decide(self, source: str, now: float) -> Decision:
        """Judge an authentic knock of ``source`` (always in the same spelling) and count it as admitted, if it is."""
        self.expired(now)
        until = self._until.get(source)
        if until is not None:
            began = until - self._ttl
            if began > self._doubted_at and now < began + self._renew_seconds:
                return Decision.FRESH
            self._set(source, now + self._ttl)
            return Decision.RENEW
        if len(self._until) >= self._max_sources:
            return Decision.FULL
        if self._per_group[source_group(source)] >= self._max_per_group:
            return Decision.GROUP_FULL
        self._set(source, now + self._ttl)
        return Decision.ADMIT

    def doubt(self, now: float) -> None:
        """Somebody may have changed the firewall: no grant given until now is too young to be renewed."""
        self._doubted_at = now

    def until(self, source: str, now: float) -> float | None:
        """When the grant of ``source`` ends, ``None`` without one."""
        self.expired(now)
        return self._until.get(source)

    def forget(self, source: str) -> None:
        """Its grant is revoked, or the firewall would not give it."""
        if self._until.pop(source, None) is not None:
            self._leave_group(source)

    def expired(self, now: float) -> list[str]:
        """Forget, and tell, whose grant has ended since the last call of any method."""
        ended = []
        while self._until and next(iter(self._until.values())) <= now:
            source, _ = self._until.popitem(last=False)
            self._leave_group(source)
            ended.append(source)
        return ended

    def next_timeout(self) -> float | None:
        """When the next grant ends, ``None`` without any."""
        return next(iter(self._until.values()), None)

    def load(self, grants: Mapping[str, float], now: float) -> None:
        """Take over what lives in the firewall already (source -> seconds left). All of it, whatever the bounds: they
        hold for later knocks. A rest longer than our own ``ttl`` is counted as ``ttl``."""
        for source, left in sorted(grants.items(), key=lambda grant: grant[1]):
            self._set(source, now + min(left, self._ttl))

    def _set(self, source: str, until: float) -> None:
        if source not in self._until:
            self._per_group[source_group(source)] += 1
        self._until[source] = until
        self._until.move_to_end(source)

    def _leave_group(self, source: str) -> None:
        group = source_group(source)
        self._per_group[group] -= 1
        if not self._per_group[group]:
            del self._per_group[group]
