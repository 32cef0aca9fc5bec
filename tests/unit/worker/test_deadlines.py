"""Many deadlines, one timer."""

import asyncio

import pytest

from hyperion.worker.deadlines import Deadlines
from tests.helpers.rig import until

pytestmark = pytest.mark.both_loops


async def test_each_expires_in_its_order_and_in_time() -> None:
    loop = asyncio.get_running_loop()
    expired: list[tuple[str, float]] = []
    deadlines = Deadlines[str](0.1, lambda item: expired.append((item, loop.time())))
    started = loop.time()
    deadlines.add("a")
    await asyncio.sleep(0.05)
    deadlines.add("b")
    assert len(deadlines) == 2
    assert deadlines.first() == "a"
    await until(lambda: len(expired) == 2)
    assert [item for item, _ in expired] == ["a", "b"]
    assert 0.09 < expired[0][1] - started < 0.14 < expired[1][1] - started < 1
    assert deadlines.first() is None


async def test_what_was_removed_does_not_expire() -> None:
    expired: list[str] = []
    deadlines = Deadlines[str](0.05, expired.append)
    deadlines.add("a")
    deadlines.add("b")
    deadlines.remove("a")
    deadlines.remove("never there")
    await until(lambda: expired)
    assert expired == ["b"]
    assert len(deadlines) == 0


async def test_after_a_pause_the_clock_runs_again() -> None:
    expired: list[str] = []
    deadlines = Deadlines[str](0.02, expired.append)
    for item in ("a", "b", "c"):
        deadlines.add(item)
        await until(lambda: len(deadlines) == 0)
    assert expired == ["a", "b", "c"]


async def test_taken_or_closed_nothing_expires() -> None:
    expired: list[str] = []
    deadlines = Deadlines[str](0.02, expired.append)
    deadlines.add("a")
    deadlines.add("b")
    assert deadlines.take_all() == ["a", "b"]
    deadlines.add("c")
    deadlines.close()
    later = Deadlines[str](0.04, expired.append)
    later.add("end")
    await until(lambda: expired)
    assert expired == ["end"]


async def test_an_item_added_while_others_expire_gets_its_full_time_and_no_second_timer() -> None:
    loop = asyncio.get_running_loop()
    expired: list[tuple[str, float]] = []
    timers: list[asyncio.TimerHandle | None] = []

    def on_expiry(item: str) -> None:
        expired.append((item, loop.time()))
        if item == "a":
            deadlines.add("c")
        timers.append(deadlines._timer)

    deadlines = Deadlines[str](0.05, on_expiry)
    deadlines.add("a")
    await asyncio.sleep(0.02)
    deadlines.add("b")
    await until(lambda: len(expired) == 3)
    times = dict(expired)
    assert times["c"] - times["a"] > 0.045
    assert timers[0] is None  # the sweep sets the one timer when it is through
