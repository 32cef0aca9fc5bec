"""First processor of the chain: gives an event its place in time and in order.

Knows the clock. ``event.sequence`` counts the lines of one process from 1, also those dropped later, so a reader sees
gaps.
"""

import itertools
import time
from collections.abc import Callable, MutableMapping
from typing import Any


def iso_time(seconds: float) -> str:
    """Unix seconds as an index takes a date (``2026-01-31T12:00:00.123Z``): a bare number counts as milliseconds
    there."""
    milliseconds = int(seconds * 1000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{text}.{milliseconds % 1000:03d}Z"


class Stamp:
    """Adds ``timestamp`` (UTC, ``2026-01-31T12:00:00.123Z``) and ``sequence`` to the event dictionary."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._cached = (-1, "")
        self._last = (-1, b"")

    def __call__(self, _logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event_dict["timestamp"] = self.now()
        event_dict["sequence"] = self.next_number()
        return event_dict

    def next_number(self) -> int:
        """Of the line that is made now."""
        return next(self._numbers)

    def now_bytes(self) -> bytes:
        """The time, for lines of which many are made in the same millisecond."""
        milliseconds = int(self._clock() * 1000)
        last, text = self._last
        if last != milliseconds:
            text = self._text(milliseconds).encode()
            self._last = (milliseconds, text)
        return text

    def now(self) -> str:
        """The time, to the millisecond."""
        return self._text(int(self._clock() * 1000))

    def _text(self, milliseconds: int) -> str:
        second = milliseconds // 1000
        cached, text = self._cached
        if cached != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._cached = (second, text)  # one assignment: another thread never sees half of it
        return f"{text}.{milliseconds % 1000:03d}Z"
