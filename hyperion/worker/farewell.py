"""A polite end: nothing more is said, and what was said still arrives.

A socket that is closed while its peer sends answers with a reset, which throws away what is still on its way to the
peer: the tail of the last stream, on a slow link. So we say that we go away, and hear the peer out until it hangs up,
which it does at once when it has read that far. No half-close: some middlemen take it for the end of both ways.

Knows: an outlet, patience. Refuses to know: why it ends, and what comes in meanwhile (its connection throws that away).
"""

import asyncio
from typing import Final

from hyperion.worker.outlet import Outlet

#: Seconds without a single byte that the peer takes, after which it is left: some lost packets in a row.
PATIENCE_SECONDS: Final = 5.0
#: Seconds that a polite end may take as a whole, however slow the peer. An order to end cuts it short.
MAX_SECONDS: Final = 30.0


class Farewell:
    """Waits for the end of ``outlet``, on which nothing is written any more. ``hurried``: seconds that ``hurry``
    leaves it."""

    def __init__(self, outlet: Outlet, hurried: float) -> None:
        self._outlet = outlet
        self._hurried = hurried
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + MAX_SECONDS
        self._unsent = outlet.unsent_bytes
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._look)

    def hurry(self) -> None:
        """Now: hang up, and wait only for what is in our own memory."""
        self._timer.cancel()
        self._outlet.close()
        self._timer = self._loop.call_later(self._hurried, self._outlet.abort)

    def over(self) -> None:
        """The connection is gone."""
        self._timer.cancel()
        self._outlet.let_go()

    def _look(self) -> None:
        """Does the peer still take something?"""
        unsent = self._outlet.unsent_bytes
        now = self._loop.time()
        if now >= self._until or (unsent is not None and self._unsent is not None and unsent >= self._unsent):
            self._outlet.abort()
            return
        self._unsent = unsent
        self._timer = self._loop.call_later(min(PATIENCE_SECONDS, self._until - now), self._look)
