"""Sets of numbers as runs, against plain sets."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hyperion.proto.runs import MAX_RUNS, Runs

pairs = st.lists(st.tuples(st.integers(-20, 60), st.integers(0, 6)), max_size=40)


@given(pairs)
def test_it_holds_what_was_added_and_nothing_else(added: list[tuple[int, int]]) -> None:
    runs, numbers = Runs(), set[int]()
    for first, more in added:
        runs.add(first, first + more)
        numbers.update(range(first, first + more + 1))
        assert {number for number in range(-30, 80) if number in runs} == numbers


@given(pairs)
def test_runs_are_in_order_and_never_touch(added: list[tuple[int, int]]) -> None:
    kept = list(Runs((first, first + more) for first, more in added))
    assert all(first <= last for first, last in kept)
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(kept))
    assert list(Runs(kept)) == kept


@given(pairs)
def test_when_there_are_too_many_it_only_ever_holds_more(added: list[tuple[int, int]]) -> None:
    few, all_of_them = Runs(max_runs=3), Runs()
    for first, more in added:
        few.add(first, first + more)
        all_of_them.add(first, first + more)
        assert len(list(few)) <= 3
        assert {number for number in range(-30, 80) if number in all_of_them and number not in few} == set()


def test_the_lowest_become_one() -> None:
    runs = Runs(((number * 10, number * 10) for number in range(4)), max_runs=3)
    assert list(runs) == [(0, 10), (20, 20), (30, 30)]


def test_it_is_bounded_as_it_is() -> None:
    runs = Runs((number * 2, number * 2) for number in range(2 * MAX_RUNS))
    assert len(list(runs)) == MAX_RUNS
    assert all(number * 2 in runs for number in range(2 * MAX_RUNS))


def test_the_end_of_a_run() -> None:
    runs = Runs([(5, 9)])
    assert [runs.end_of(number) for number in (4, 5, 9, 10)] == [None, 9, 9, None]
