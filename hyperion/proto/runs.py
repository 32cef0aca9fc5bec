"""A set of whole numbers that is mostly runs of neighbours: kept as first and last of each run.

Exact as long as there are few runs; then the lowest ones become one, with all that lies between them. So the set only
ever says too often that a number is in it, never too seldom.

Refuses to know what the numbers mean.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

#: Runs kept apart, 16 bytes each in a file. Seconds with a knock, one a minute: three days.
MAX_RUNS = 4_096


class Runs:
    """Empty at first. ``add`` takes what is in it already, too."""

    def __init__(self, runs: Iterable[tuple[int, int]] = (), *, max_runs: int = MAX_RUNS) -> None:
        self._max_runs = max_runs
        # Sorted, disjoint, not even touching: run i is _first[i] to _last[i], both included.
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in runs:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._first, self._last, strict=True)

    def __contains__(self, number: int) -> bool:
        return self.end_of(number) is not None

    def end_of(self, number: int) -> int | None:
        """The last number of the run that ``number`` is in, ``None``: it is in none."""
        index = bisect_right(self._first, number) - 1
        return self._last[index] if index >= 0 and number <= self._last[index] else None

    def add(self, first: int, last: int) -> None:
        """All from ``first`` to ``last``, both included."""
        # The runs from start to end overlap it or touch it: they become one with it.
        end = bisect_right(self._first, last + 1)
        start = end
        while start > 0 and self._last[start - 1] >= first - 1:
            start -= 1
        if start < end:
            first, last = min(first, self._first[start]), max(last, self._last[end - 1])
        self._first[start:end] = [first]
        self._last[start:end] = [last]
        if len(self._first) > self._max_runs:
            del self._first[1], self._last[0]
