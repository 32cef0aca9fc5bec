"""Small statistics over a handful of repetitions: median, spread, quantile, slope.

Knows numbers only. The ratio of two peers is the ratio of their medians, taken from one interleaved run: on a shared
machine absolute figures drift by a third within the hour, ratios of neighbours do not.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, the smallest and the largest."""

    median: float
    low: float
    high: float
    count: int

    @property
    def percent(self) -> float:
        """Half the distance from the smallest to the largest, in percent of the median: the ± of a table."""
        return 50 * (self.high - self.low) / self.median if self.median else 0.0


def spread(values: Sequence[float]) -> Spread:
    """Sum up repetitions. Raises ValueError when there are none."""
    if not values:
        raise ValueError("no values")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Ratio of the medians. Raises ValueError if a side is empty or the peer's median is 0."""
    below = spread(theirs).median
    if below == 0:
        raise ValueError("the peer's median is 0")
    return spread(ours).median / below


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest-rank quantile, ``share`` in 0..1: always a value that was really seen. Raises ValueError when empty."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope through (x, y): what one more x costs. Raises ValueError with fewer than two different x."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
