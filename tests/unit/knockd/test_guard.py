import asyncio
import contextlib
import socket
import threading
import time

import pytest

from hyperion import log
from hyperion.events import FIREWALL_CAUTION, FIREWALL_DEGRADED, FIREWALL_RECOVERED, FIREWALL_RESTORED
from hyperion.firewall.nft import FirewallError, NftTimeoutError
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd.firewall import Firewall
from hyperion.knockd.guard import (
    CONTESTED,
    FAULT_BACKOFF,
    FIGHT_BACKOFF,
    FIGHT_SECONDS,
    FREE_RESTORATIONS,
    MAX_HOLD_SECONDS,
    Guard,
)
from hyperion.proto.control_knockd import InheritedTable
from tests.helpers.fake_nft import FakeNft

#: Seconds after which a guard under test looks anyway.
POLL = 0.01


@pytest.fixture
def nft() -> FakeNft:
    return FakeNft(Ruleset(8443))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    events: list[tuple[str, str | None]] = []
    monkeypatch.setattr(log, "event", lambda what, fields, *, reason=None: events.append((what.code, reason)))
    return events


@pytest.fixture
def guard(nft: FakeNft) -> Guard:
    return make_guard(nft, [])


def make_guard(nft: FakeNft, states: list[tuple[bool, str | None]]) -> Guard:
    firewall = Firewall(nft, nft.rules, clock=nft.clock)
    nft.load(ruleset_text(nft.rules))
    return Guard(firewall, None, lambda *state: states.append(state), poll_seconds=POLL, clock=nft.clock)


def test_a_table_in_force_is_nothing_to_talk_about(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    assert [guard.look() for _ in range(3)] == [0, 0, 0]
    assert len(nft.loads) == 1
    assert logged == []


def test_what_was_deleted_or_edited_is_put_back(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    guard.look()
    nft.table = None
    assert guard.look() == 0
    nft.table = "edited"
    assert guard.look() == 0
    assert logged == [(FIREWALL_RESTORED.code, "deleted"), (FIREWALL_RESTORED.code, "edited")]


def test_after_some_help_it_waits_longer_and_longer(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    guard.look()
    for _ in range(FREE_RESTORATIONS):
        nft.table = None
        assert guard.look() == 0
    for fight in range(4):
        nft.table = None
        wait = guard.look()
        assert wait == FIGHT_BACKOFF.ceiling(fight)
        assert nft.table is None
        nft.now += wait / 2
        assert guard.look() == wait / 2  # noticed again: still not yet
        nft.now += wait / 2
        assert guard.look() == 0
        assert nft.table is not None
    fought = [(FIREWALL_DEGRADED.code, CONTESTED), (FIREWALL_RESTORED.code, "deleted"), (FIREWALL_RECOVERED.code, None)]
    assert logged == [(FIREWALL_RESTORED.code, "deleted")] * FREE_RESTORATIONS + fought * 4


def test_during_a_fight_a_table_in_force_is_good(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    guard.look()
    for _ in range(FREE_RESTORATIONS):
        nft.table = None
        guard.look()
    table = nft.table
    nft.table = None
    assert guard.look() > 0
    nft.table = table  # the other one put it back himself
    assert guard.look() == 0
    assert logged[-1] == (FIREWALL_RECOVERED.code, None)


def test_after_some_quiet_all_is_forgotten(nft: FakeNft, guard: Guard) -> None:
    guard.look()
    for _ in range(3):
        for _ in range(FREE_RESTORATIONS):
            nft.table = None
            assert guard.look() == 0
        nft.now += FIGHT_SECONDS


def test_a_failing_nft_is_tried_again_and_told_once(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    nft.fault = NftTimeoutError("nft did not answer")
    waits = [guard.look() for _ in range(8)]
    assert waits == [FAULT_BACKOFF.ceiling(attempt) for attempt in range(8)]
    assert waits[-1] == FAULT_BACKOFF.cap
    nft.fault = FirewallError("another")
    guard.look()
    nft.fault = None
    assert guard.look() == 0
    assert logged == [
        (FIREWALL_DEGRADED.code, "nft-timeout"),
        (FIREWALL_DEGRADED.code, "nft-failed"),
        (FIREWALL_RECOVERED.code, None),
    ]
    nft.fault = FirewallError("again")
    assert guard.look() == FAULT_BACKOFF.start


async def test_it_reports_at_the_start_and_at_changes_in_the_loops_thread(nft: FakeNft) -> None:
    states: list[tuple[bool, str | None]] = []
    loop = asyncio.get_running_loop()
    guard = make_guard(nft, states)
    guard._report = lambda *state: states.append(state) if asyncio.get_running_loop() is loop else None
    task = asyncio.create_task(guard.run())
    async with asyncio.timeout(10):
        while len(states) < 1:
            await asyncio.sleep(0.005)
        nft.fault = FirewallError("no")
        while len(states) < 2:
            await asyncio.sleep(0.005)
        nft.fault = None
        while len(states) < 3:
            await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert states == [(True, None), (False, "nft-failed: no"), (True, None)]


async def test_a_message_wakes_it_and_the_end_takes_the_reader_away(nft: FakeNft) -> None:
    ours, kernels = socket.socketpair()
    looks = 0

    class Watch:
        def fileno(self) -> int:
            return ours.fileno()

        def changed(self) -> bool:
            return ours.recv(100) == b"rules"

    firewall = Firewall(nft, nft.rules)
    nft.load(ruleset_text(nft.rules))
    guard = Guard(firewall, Watch(), lambda *_: None, poll_seconds=30)
    look = guard.look

    def counted() -> float:
        nonlocal looks
        looks += 1
        return look()

    guard.look = counted  # type: ignore[method-assign]
    task = asyncio.create_task(guard.run())
    async with asyncio.timeout(10):
        while looks < 1:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        kernels.send(b"elements")
        await asyncio.sleep(0.05)
        assert looks == 1
        kernels.send(b"rules")
        while looks < 2:
            await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not asyncio.get_running_loop().remove_reader(ours.fileno())
    ours.close()
    kernels.close()


async def test_while_the_operator_is_at_work_nothing_is_restored_and_then_his_table_is_adopted(
    nft: FakeNft, guard: Guard, logged: list[tuple[str, str | None]]
) -> None:
    guard.look()
    await guard.hold(90)
    nft.table = "his own"
    assert guard.look() == POLL
    nft.now += 90 - POLL / 2
    assert guard.look() == pytest.approx(POLL / 2)
    await guard.hold(0)
    assert guard.look() == 0
    assert logged == []
    nft.table = "edited"
    guard.look()
    assert nft.table == "his own"


async def test_an_operator_may_take_so_long(nft: FakeNft, guard: Guard) -> None:
    await guard.hold(1e9)
    nft.now += MAX_HOLD_SECONDS - POLL / 2
    assert guard.look() == pytest.approx(POLL / 2)
    nft.now += POLL
    assert guard.look() == 0


async def test_what_an_operator_leaves_is_judged_while_he_is_at_work(
    nft: FakeNft, logged: list[tuple[str, str | None]]
) -> None:
    states: list[tuple[bool, str | None]] = []
    guard = make_guard(nft, states)
    guard.look()
    await guard.hold(90)
    good, objects = nft.table, nft.objects
    for table, found in ((None, objects), (good, objects), (good, []), (good, objects)):
        nft.table, nft.objects = table, found
        assert 0 < guard.look() <= FAULT_BACKOFF.start
        guard._report_change()
    assert len(nft.loads) == 1, "nothing is put back"
    assert states[:2] + states[3:] == [(False, "table-missing"), (True, None), (True, None)]
    assert states[2] == (
        False,
        "table-wrong: table inet hyperion is no gate: set admitted is missing, or of another kind",
    )
    bad, well = FIREWALL_DEGRADED.code, (FIREWALL_RECOVERED.code, None)
    assert logged == [(bad, "table-missing"), well, (bad, "table-wrong"), well]
    nft.fault = NftTimeoutError("nft did not answer")
    assert [guard.look() for _ in range(3)] == [FAULT_BACKOFF.ceiling(attempt) for attempt in range(3)]
    assert logged[-1] == (bad, "nft-timeout")


async def test_what_is_guarded_is_told_at_each_change(nft: FakeNft) -> None:
    told: list[str] = []
    guard = make_guard(nft, [])
    guard._keep = lambda guarded: told.append(guarded.listing)

    def look(table: str | None) -> None:
        nft.table = table
        guard.look()
        guard._report_change()

    first = nft.table or ""
    for table in (first, first, None):
        look(table)
    assert told == [first]
    await guard.hold(30)
    look("another")
    assert told == [first], "it is the operator's to change"
    await guard.hold(0)
    look("another")
    look("edited")
    assert told == [first, "another"]
    await guard.hold(0)
    look("another")
    assert told == [first, "another", "another"], "somebody may have forgotten it"


@pytest.mark.parametrize("in_time", [True, False])
async def test_what_a_predecessor_guarded_is_put_back_at_once(
    nft: FakeNft, logged: list[tuple[str, str | None]], in_time: bool
) -> None:
    before = make_guard(nft, [])
    before.look()
    nft.table, states = None, []
    firewall = Firewall(nft, nft.rules, clock=nft.clock)
    guard = Guard(firewall, None, lambda *state: states.append(state), successor=in_time, poll_seconds=60)
    task = asyncio.create_task(guard.run())
    async with asyncio.timeout(10):
        while not states and not in_time:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)  # it runs
        assert before._guarded is not None
        guard.follow(InheritedTable(before._guarded.listing, before._guarded.elements))
        while (True, None) not in states:
            await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [ok for ok, _ in states] == ([True] if in_time else [False, True])
    assert (FIREWALL_RESTORED.code, "deleted") in logged


async def test_a_successor_that_is_told_nothing_looks_all_the_same(nft: FakeNft) -> None:
    states: list[tuple[bool, str | None]] = []
    guard = make_guard(nft, states)
    guard._successor = True
    task = asyncio.create_task(guard.run())
    async with asyncio.timeout(10):
        while not states:
            await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert states == [(True, None)]


async def test_each_fault_of_a_table_is_told(nft: FakeNft, logged: list[tuple[str, str | None]]) -> None:
    states: list[tuple[bool, str | None]] = []
    nft.table, good = "the operator's", nft.objects
    guard = make_guard(nft, states)
    for found in (good[:1] + good[2:], good[:2] + good[3:], good[:2] + good[3:], good):
        nft.objects = found
        guard.look()
        guard._report_change()
    faults = ("set admitted6 is missing, or of another kind", "no chain drops what comes in")
    told = [f"table-wrong: table inet hyperion is no gate: {fault}" for fault in faults]
    assert states == [(False, told[0]), (False, told[1]), (True, None)]
    assert logged == [(FIREWALL_DEGRADED.code, "table-wrong")] * 2 + [(FIREWALL_RECOVERED.code, None)]


async def test_what_an_operator_should_know_of_his_table_is_said_once(
    nft: FakeNft, logged: list[tuple[str, str | None]]
) -> None:
    nft.table = "the operator's"
    nft.objects = [*nft.objects, {"rule": {"chain": "input", "handle": 9, "expr": [{"reject": None}]}}]
    guard = make_guard(nft, [])
    for _ in range(3):
        assert guard.look() == 0
    assert logged == [(FIREWALL_CAUTION.code, None)]


async def test_a_table_of_which_the_operator_says_nothing_more_is_adopted_when_his_time_is_over(
    nft: FakeNft, guard: Guard
) -> None:
    guard.look()
    await guard.hold(90)
    nft.table = "his own"
    nft.now += 91
    assert guard.look() == 0
    nft.table = None
    guard.look()
    assert nft.table == "his own"


async def test_an_operator_who_asks_while_nftables_hangs_does_not_hold_up_the_loop(nft: FakeNft, guard: Guard) -> None:
    guard.look()
    hangs, goes_on, list_text = threading.Event(), threading.Event(), nft.list_text

    def hang(*what: str, handles: bool = False) -> str:
        hangs.set()
        goes_on.wait(10)
        return list_text(*what, handles=handles)

    nft.list_text = hang  # type: ignore[method-assign]
    looking = asyncio.create_task(asyncio.to_thread(guard.look))
    await asyncio.to_thread(hangs.wait, 10)
    began = time.monotonic()
    holding = asyncio.create_task(guard.hold(90))
    done = asyncio.create_task(guard.hold(0))
    await asyncio.sleep(0.05)
    assert time.monotonic() - began < 5
    assert not holding.done()  # what it is in the middle of may be a restoration
    goes_on.set()
    await asyncio.gather(looking, holding, done)
    assert guard.look() == 0
