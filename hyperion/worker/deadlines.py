"""Deadlines that are all equally far away: a queue and one timer instead of a timer for each.

Source of the idea: connection tables of kernels; ten thousand streams a second must not mean ten thousand timers a
second.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Deadlines(Generic[Item]):
    """Calls ``expired(item)`` for each item that was not removed within ``seconds`` of being added."""

    def __init__(self, seconds: float, expired: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._expired = expired
        self._due: OrderedDict[Item, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping = False

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: Item) -> None:
        """The clock runs for ``item``."""
        self._due[item] = monotonic() + self._seconds
        if self._timer is None and not self._sweeping:
            self._arm()

    def remove(self, item: Item) -> None:
        """In time, or gone; unknown items are fine."""
        self._due.pop(item, None)

    def first(self) -> Item | None:
        """The item that waits longest, None if there is none."""
        return next(iter(self._due), None)

    def take_all(self) -> list[Item]:
        """Everything that waits; nothing waits any more."""
        items = list(self._due)
        self.close()
        return items

    def close(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        first = next(iter(self._due.values()))
        self._timer = asyncio.get_running_loop().call_later(max(0.0, first - monotonic()), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._sweeping = True  # ``expired`` may add: the sweep sets the one timer when it is through
        try:
            now = monotonic()
            while self._due:
                item, at = next(iter(self._due.items()))
                if at > now:
                    break
                del self._due[item]
                self._expired(item)
        finally:
            self._sweeping = False
            if self._due:
                self._arm()
