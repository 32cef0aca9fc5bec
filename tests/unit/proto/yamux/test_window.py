"""``proto.yamux.window``: credit is granted by the quarter, grows with the round trip, and comes from one budget."""

import pytest

from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES
from hyperion.proto.yamux.window import (
    CONNECTION_BUDGET_BYTES,
    MAX_STREAM_WINDOW_BYTES,
    ReceiveWindow,
    WindowBudget,
)

QUARTER = INITIAL_WINDOW_BYTES // 4


def arrive(window: ReceiveWindow, size: int) -> None:
    """What the session does when a body comes."""
    assert size <= window.available
    window.available -= size
    window.buffered += size


def cycle(window: ReceiveWindow, now: float, round_trip: float | None) -> int:
    """The whole window arrives and is consumed; the credit for it."""
    size = window.available
    arrive(window, size)
    return window.consumed(size, now, round_trip)


def test_budget() -> None:
    budget = WindowBudget(100)
    assert [budget.take(60), budget.take(60), budget.take(60)] == [60, 40, 0]
    budget.give_back(100)
    assert budget.left == 100


def test_what_is_left_behind_counts_and_stops_all_growth() -> None:
    budget = WindowBudget(100)
    budget.hold(150)
    assert budget.left == -50
    assert budget.take(10) == 0
    budget.give_back(150)
    assert budget.left == 100


def test_credit_by_the_quarter() -> None:
    window = ReceiveWindow(WindowBudget())
    arrive(window, QUARTER)
    assert window.consumed(QUARTER - 1, 1.0, None) == 0
    assert window.consumed(1, 1.0, None) == QUARTER
    assert window.available == INITIAL_WINDOW_BYTES
    assert window.buffered == 0


def test_no_credit_for_what_nobody_consumed() -> None:
    window = ReceiveWindow(WindowBudget())
    arrive(window, INITIAL_WINDOW_BYTES)
    assert window.consumed(QUARTER, 1.0, None) == QUARTER
    assert (window.available, window.buffered) == (QUARTER, 3 * QUARTER)


@pytest.mark.parametrize(
    ("round_trip", "second_at", "grown"),
    [(None, 1.0, False), (0.1, 1.05, True), (0.1, 1.1, False), (0.1, 2.0, False), (0.0, 1.0, False)],
)
def test_growth(round_trip: float | None, second_at: float, grown: bool) -> None:
    budget = WindowBudget()
    window = ReceiveWindow(budget)
    assert cycle(window, 1.0, round_trip) == INITIAL_WINDOW_BYTES  # there was no grant before the first
    expected = INITIAL_WINDOW_BYTES * (2 if grown else 1)
    assert cycle(window, second_at, round_trip) == expected
    assert window.maximum == window.available == expected
    assert budget.left == CONNECTION_BUDGET_BYTES - (expected - INITIAL_WINDOW_BYTES)


def test_growth_ends_at_the_largest_window() -> None:
    budget = WindowBudget()
    window = ReceiveWindow(budget)
    for _ in range(20):
        cycle(window, 1.0, 1.0)
    assert window.maximum == window.available == MAX_STREAM_WINDOW_BYTES
    window.close()
    assert budget.left == CONNECTION_BUDGET_BYTES


def test_growth_ends_with_the_budget() -> None:
    budget = WindowBudget(INITIAL_WINDOW_BYTES + 1_000)
    windows = [ReceiveWindow(budget) for _ in range(3)]
    for _ in range(5):
        for window in windows:
            cycle(window, 1.0, 1.0)
    assert [window.maximum - INITIAL_WINDOW_BYTES for window in windows] == [INITIAL_WINDOW_BYTES, 1_000, 0]
    assert budget.left == 0
    for window in windows:
        window.close()
    assert budget.left == INITIAL_WINDOW_BYTES + 1_000


def test_a_largest_window_below_the_initial_one_changes_nothing() -> None:
    budget = WindowBudget(0)
    window = ReceiveWindow(budget, max_window=1_000)
    for _ in range(3):
        assert cycle(window, 1.0, 1.0) == INITIAL_WINDOW_BYTES
    assert budget.left == 0


def test_close_twice() -> None:
    budget = WindowBudget()
    window = ReceiveWindow(budget)
    cycle(window, 1.0, 1.0)
    cycle(window, 1.0, 1.0)
    window.close()
    window.close()
    assert budget.left == CONNECTION_BUDGET_BYTES
