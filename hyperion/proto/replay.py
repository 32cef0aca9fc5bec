"""The memory that lets no knock in twice.

A knock is fresh while the clock is at most ``window`` seconds away from its timestamp, both ends included. Its nonce is
remembered as long as it could be fresh: until timestamp + window. (The original counts from the moment it *saw* the
knock, so one stamped into the future is accepted again later: WIRE Q1.)

Time may be set back. A nonce forgotten by then cannot be told from a new one, so the guard keeps the seconds in which
those ended that it forgot, and refuses what would end in one of them: whatever the clock does, no knock that it knew is
taken twice. Of times when nobody remembered (``unknown_until``) all is refused. That may have been counted with a clock
that was ahead, and until it would be true again can be hours: not more is refused than what a right clock can have let
in by now. Memory is bounded; when it is full nobody new gets in.

Refuses to know: the clock (``now`` is whole Unix seconds), files, what a source is. Source: WIRE section 4.5, DESIGN
sections 5 and 8.
"""

import heapq
from collections import Counter

import msgspec

from hyperion.proto.knock import Knock, Verdict
from hyperion.proto.runs import Runs

#: Seconds that a knock's timestamp may be off, either way. Covers a clock without NTP for a while.
DEFAULT_WINDOW = 30
#: Nonces remembered for one group of sources (an IPv4 /24, an IPv6 /64): a holder of a key who floods from one network
#: shuts out that network only. Number of DESIGN section 8.
MAX_NONCES_PER_GROUP = 4_096
#: Nonces remembered in all: a holder of a key can forge sources. About 20 MB.
MAX_NONCES = 65_536


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One knock that was let in, and the last second (Unix) at which it could be fresh."""

    holder: str
    nonce: bytes
    group: str
    fresh_until: int


class ReplayState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has to survive a restart."""

    #: nobody can tell which knocks with a ``fresh_until`` up to this were let in; -1: it is known of all
    unknown_until: int
    remembered: tuple[Remembered, ...]
    #: the window that all of this was counted with
    window: int = DEFAULT_WINDOW
    #: each ``fresh_until`` of a knock that was let in and forgotten, as runs of seconds: first and last
    forgotten: tuple[tuple[int, int], ...] = ()


class ReplayGuard:
    """Judges freshness and remembers. ``window`` in seconds."""

    def __init__(
        self,
        window: int = DEFAULT_WINDOW,
        *,
        max_nonces: int = MAX_NONCES,
        max_per_group: int = MAX_NONCES_PER_GROUP,
    ) -> None:
        self._window = window
        self._max_nonces = max_nonces
        self._max_per_group = max_per_group
        self._unknown_until = -1
        self._forgotten = Runs()
        # A nonce belongs to its holder: nobody can spend the nonce of another by being faster.
        self._known: dict[tuple[str, bytes], Remembered] = {}
        self._by_age: list[tuple[int, str, bytes]] = []
        self._per_group: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def judge(self, knock: Knock, group: str, now: int) -> Verdict:
        """ACCEPTED at most once for each knock, and remembered then; else STALE, REPLAYED or MEMORY_FULL.

        ``group`` is the network the knock came from, in any spelling that is always the same.
        """
        self._forget(now)
        fresh_until = knock.timestamp + self._window
        if abs(now - knock.timestamp) > self._window or self._refused_until(fresh_until) is not None:
            return Verdict.STALE
        if (knock.holder, knock.nonce) in self._known:
            return Verdict.REPLAYED
        if len(self._known) >= self._max_nonces or self._per_group[group] >= self._max_per_group:
            return Verdict.MEMORY_FULL
        self._remember(Remembered(knock.holder, knock.nonce, group, fresh_until))
        return Verdict.ACCEPTED

    def shut_until(self, now: int) -> int | None:
        """The second in which a knock that is sealed then gets in, ``None``: one sealed now does.

        Refused are those that cannot be told from one that was let in before.
        """
        self._forget(now)
        second = now
        while (end := self._refused_until(second + self._window)) is not None:
            second = end + 1 - self._window
        return second if second > now else None

    def dump(self, now: int) -> ReplayState:
        """What a successor must know."""
        self._forget(now)
        return ReplayState(self._unknown_until, tuple(self._known.values()), self._window, tuple(self._forgotten))

    def load(self, state: ReplayState, now: int) -> None:
        """Take over what a predecessor knew. All of it, whatever the bounds: they hold for later knocks.

        If it had another window, the same knocks are fresh for so much longer, or shorter, now.
        """
        longer = self._window - state.window
        if state.unknown_until >= 0:
            self._unknown_until = max(self._unknown_until, state.unknown_until + longer)
        for first, last in state.forgotten:
            self._forgotten.add(first + longer, last + longer)
        for entry in state.remembered:
            if (entry.holder, entry.nonce) not in self._known:
                self._remember(msgspec.structs.replace(entry, fresh_until=entry.fresh_until + longer))
        self._forget(now)

    def _refused_until(self, fresh_until: int) -> int | None:
        """Whether a knock with this end may have been let in and forgotten; if so, the last end of which this holds."""
        if fresh_until <= self._unknown_until:
            return self._unknown_until
        return self._forgotten.end_of(fresh_until)

    def _remember(self, entry: Remembered) -> None:
        self._known[entry.holder, entry.nonce] = entry
        heapq.heappush(self._by_age, (entry.fresh_until, entry.holder, entry.nonce))
        self._per_group[entry.group] += 1

    def _forget(self, now: int) -> None:
        """Drop what can no longer be fresh."""
        # A right clock can have let in up to this. More is left from one that was ahead and was set back since.
        self._unknown_until = min(self._unknown_until, now + 2 * self._window)
        while self._by_age and self._by_age[0][0] < now:
            fresh_until, holder, nonce = heapq.heappop(self._by_age)
            group = self._known.pop((holder, nonce)).group
            self._per_group[group] -= 1
            if not self._per_group[group]:
                del self._per_group[group]
            self._forgotten.add(fresh_until, fresh_until)
