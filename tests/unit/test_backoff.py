import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.backoff import Backoff


def test_without_jitter_each_attempt_doubles_up_to_the_cap() -> None:
    backoff = Backoff(start=0.25, cap=15.0, jitter="none")
    waits = [backoff.delay(attempt, random.Random(1)) for attempt in range(9)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


@given(attempt=st.integers(0, 10**9), seed=st.integers())
def test_jitter_stays_in_its_bounds(attempt: int, seed: int) -> None:
    ceiling = Backoff().ceiling(attempt)
    assert 0 < ceiling <= 15.0
    assert 0 <= Backoff(jitter="full").delay(attempt, random.Random(seed)) <= ceiling
    assert ceiling / 2 <= Backoff(jitter="equal").delay(attempt, random.Random(seed)) <= ceiling


def test_jitter_spreads_a_fleet() -> None:
    rng = random.Random(4)
    waits = sorted(Backoff(jitter="full").delay(6, rng) for _ in range(1000))
    assert waits[100] < 3.0
    assert waits[900] > 12.0


@pytest.mark.parametrize(("start", "cap"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_senseless_bounds_are_refused(start: float, cap: float) -> None:
    with pytest.raises(ValueError, match="start"):
        Backoff(start=start, cap=cap)


def test_attempts_count_from_zero() -> None:
    with pytest.raises(ValueError, match="attempt"):
        Backoff().ceiling(-1)
