"""A call that does not come back."""

import asyncio

import pytest

from hyperion.knockd import overdue as module
from hyperion.knockd.overdue import HANG_SECONDS, OVERDUE_SECONDS, NftHangsError, Overdue
from hyperion.supervisor.kind import KNOCKD_SILENCE
from hyperion.supervisor.member import SECOND_CHANCE


class FakeCalls:
    name = "libnftables"

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self.now = 100.0
        self.told: list[str | None] = []

    def clock(self) -> float:
        return self.now


@pytest.fixture
def calls() -> FakeCalls:
    return FakeCalls()


@pytest.fixture
def overdue(calls: FakeCalls) -> Overdue:
    return Overdue(calls, calls.told.append, clock=calls.clock)


def test_quick_calls_are_nothing_to_talk_about(calls: FakeCalls, overdue: Overdue) -> None:
    for _ in range(100):
        overdue.look()
        calls.now += OVERDUE_SECONDS / 2
        calls.busy_since = calls.now - OVERDUE_SECONDS / 2
        overdue.look()
        calls.busy_since = None
    assert calls.told == []


def test_one_that_takes_long_is_told_once_and_its_return_too(calls: FakeCalls, overdue: Overdue) -> None:
    calls.busy_since = calls.now
    for _ in range(10):
        calls.now += OVERDUE_SECONDS
        overdue.look()
    assert calls.told == ["libnftables has not answered for 3 s: does another program hold nftables?"]
    calls.busy_since = None
    overdue.look()
    overdue.look()
    assert calls.told[1:] == [None]


def test_one_that_never_comes_back_ends_knockd(calls: FakeCalls, overdue: Overdue) -> None:
    calls.busy_since = calls.now
    calls.now += HANG_SECONDS
    with pytest.raises(NftHangsError, match="libnftables did not come back within 60 s") as caught:
        overdue.look()
    assert caught.value.exit_code == 75


async def test_it_looks_by_itself(calls: FakeCalls, overdue: Overdue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    calls.busy_since = calls.now - OVERDUE_SECONDS
    task = asyncio.create_task(overdue.run())
    async with asyncio.timeout(5):
        while not calls.told:
            await asyncio.sleep(0.01)
        calls.now += HANG_SECONDS
        with pytest.raises(NftHangsError):
            await task


def test_the_gate_is_as_impatient_with_nftables_as_with_knockd() -> None:
    assert KNOCKD_SILENCE < OVERDUE_SECONDS < KNOCKD_SILENCE + SECOND_CHANCE
