"""What waits for the end of a turn."""

import asyncio

import pytest

from hyperion.worker import turn

pytestmark = pytest.mark.both_loops


async def test_without_anybody_serving_it_is_the_loop_s_next_iteration() -> None:
    called: list[int] = []
    turn.at_end(lambda: called.append(1))
    assert called == []
    await asyncio.sleep(0)
    assert called == [1]


async def test_behind_all_that_is_served() -> None:
    called: list[int] = []
    assert turn.begin()
    assert not turn.begin()  # served from within: the outer one ends
    turn.at_end(lambda: called.append(1))
    turn.at_end(lambda: called.append(2))
    assert called == []
    turn.end()
    assert called == [1, 2]
    turn.end()
    assert called == [1, 2]


async def test_one_socket_is_alone() -> None:
    assert not turn.alone
    for sockets in (1, 2):
        turn.begin(sockets)
        assert turn.alone == (sockets == 1)
        assert not turn.begin(1)
        assert turn.alone == (sockets == 1)
        turn.end()
        assert not turn.alone


async def test_what_is_gathered_at_the_end_comes_in_the_next_iteration() -> None:
    called: list[int] = []
    turn.begin()
    turn.at_end(lambda: turn.at_end(lambda: called.append(1)))
    turn.end()
    assert called == []
    await asyncio.sleep(0)
    assert called == [1]


async def test_a_bug_costs_nobody_else_the_turn() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    called: list[int] = []

    def fail() -> None:
        raise ValueError("a bug")

    turn.begin()
    turn.at_end(fail)
    turn.at_end(lambda: called.append(1))
    turn.end()
    assert called == [1]
    assert [type(complaint["exception"]) for complaint in complaints] == [ValueError]
