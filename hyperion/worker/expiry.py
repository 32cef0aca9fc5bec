"""The end of an admin's time: sessions that are open at that moment are cut.

Knows moments and timers. Refuses to know how a session is cut, and who comes in (``arrival``). Source: security notes,
B69.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from hyperion.proto.admins import AdminRule

#: Seconds after which the clock is looked at again, however far the next end: timers do not notice when it is set.
CLOCK_INTERVAL = 5.0


class Timed(Protocol):
    """A session, as far as it matters here."""

    rule: AdminRule | None

    def end(self, reason: str) -> None:
        """Cut it."""


class ExpiryWatch:
    """Looks after the sessions that ``sessions`` gives each time it is called."""

    def __init__(self, sessions: Callable[[], Iterable[Timed]], clock: Callable[[], float] = time.time) -> None:
        """``clock``: Unix seconds."""
        self._sessions = sessions
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Cuts who is out of time, and sees to it that this is done again when it matters. Call it when a session
        came, or a rule changed."""
        self.close()
        now = self._clock()
        coming: list[float] = []
        for session in list(self._sessions()):
            rule = session.rule
            if rule is None or rule.expires is None:
                continue
            if rule.expired(now):
                session.rule = None  # nothing more is allowed while the connection closes
                session.end("expired")
            else:
                coming.append(rule.expires - now)
        if coming:
            delay = min(min(coming), CLOCK_INTERVAL)
            self._timer = asyncio.get_running_loop().call_later(delay, self.look)

    def close(self) -> None:
        """No look is planned any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
