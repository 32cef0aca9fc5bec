"""Whether and when a child that ended is started again. Pure: times are arguments, nothing is started here.

Three rules keep a crash from becoming a storm: each failure doubles the wait, a child that lived for a minute starts
afresh, and all children together are restarted a bounded number of times a minute. Two rules end the trying: a child
that says that its configuration cannot work (exit code 78) or that it lacks a right (77), and one that was never ready
in its first tries.

All times are monotonic seconds.
"""

import bisect
import random
from dataclasses import dataclass

from hyperion.backoff import Backoff

#: Seconds before the first restart, and at most. The first is short: most crashes are single ones.
FIRST_WAIT = 0.1
LONGEST_WAIT = 30.0
#: A child that lived so long, seconds, did not die of how it was started.
LONG_LIFE = 60.0
#: Tries before giving up on a child that was never ready. Their waits add up to 1.5 s.
MAX_BOOT_ATTEMPTS = 5
#: Restarts of all children together within ``BUDGET_WINDOW`` seconds; or one for each child, if these are more.
MAX_RESTARTS = 20
BUDGET_WINDOW = 60.0
#: EX_CONFIG of sysexits.h: trying again cannot help.
EXIT_CONFIG = 78
#: EX_NOPERM of sysexits.h: a right is missing, and nobody will get more of them.
EXIT_REFUSED = 77

_HOPELESS = {EXIT_CONFIG: "its configuration cannot work", EXIT_REFUSED: "it lacks a right"}


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again at this time."""

    at: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again; ``reason`` is for people."""

    reason: str


class RestartBudget:
    """Spreads the restarts of all children, so that no window of a minute sees more than ``limit`` of them."""

    def __init__(self, limit: int = MAX_RESTARTS) -> None:
        self.limit = limit
        self._times: list[float] = []

    def reserve(self, wanted: float, now: float) -> float:
        """The earliest time from ``wanted`` on that the budget allows; it is taken."""
        self._times = [time for time in self._times if time > now - BUDGET_WINDOW]
        at = wanted
        if len([time for time in self._times if time > wanted - BUDGET_WINDOW]) >= self.limit:
            at = max(wanted, self._times[-self.limit] + BUDGET_WINDOW)
        bisect.insort(self._times, at)
        return at


class RestartPolicy:
    """Judges the ends of one child's lives. ``longest_wait``: seconds before the restart of one that was ready;
    ``long_life``: seconds after which a life counts as one that went well. ``patient``: one that was never ready is
    tried again, too, for as long as it takes."""

    def __init__(
        self,
        budget: RestartBudget,
        longest_wait: float = LONGEST_WAIT,
        long_life: float = LONG_LIFE,
        *,
        patient: bool = False,
    ) -> None:
        self._patient = patient
        self._budget = budget
        self._longest_wait = longest_wait
        self._long_life = long_life
        self._ready = False
        self._backoff = Backoff(start=FIRST_WAIT, cap=LONGEST_WAIT, jitter="none")
        self._started_at = 0.0
        self._failures = 0
        self._ever_ready = False
        self.restarts = 0

    def started(self, now: float) -> None:
        """A life begins."""
        self._started_at = now
        self._ready = False

    def ready(self) -> None:
        """It serves."""
        self._ready = self._ever_ready = True

    def ended(self, exit_code: int | None, now: float) -> Restart | GiveUp:
        """The verdict on a life that nobody ordered to end. ``exit_code``: ``None`` unknown, negative a signal."""
        if exit_code in _HOPELESS:
            return GiveUp(_HOPELESS[exit_code])
        if now - self._started_at >= self._long_life:
            self._failures = 0
        self._failures += 1
        if not (self._ever_ready or self._patient) and self._failures >= MAX_BOOT_ATTEMPTS:
            return GiveUp(f"it ended {self._failures} times before it was ready")
        self.restarts += 1
        wait = self._backoff.delay(self._failures - 1, _NO_CHANCE)
        if self._ready:
            wait = min(wait, self._longest_wait)
        return Restart(self._budget.reserve(now + wait, now))


#: Without jitter the source of chance is never asked.
_NO_CHANCE = random.Random(0)  # noqa: S311
