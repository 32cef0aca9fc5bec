"""Decisions on their way to a firewall that is slow, broken, or gone."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from hyperion import log
from hyperion.firewall.nft import FirewallError, NftTimeoutError, SetFullError
from hyperion.knockd import door as door_module
from hyperion.knockd.admission import Admission
from hyperion.knockd.door import MAX_WAITING, Door, GrantNews
from hyperion.proto.control_knockd import Admitted, Ended, Standing

TTL = 60
PORT = 8443


class FakeFirewall:
    """Remembers calls; ``open`` holds them up, ``error`` makes them fail."""

    def __init__(self, grants: Mapping[str, float] | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.living = dict(grants or {})

    def admit(self, source: str, ttl: float) -> None:
        assert ttl == TTL
        self._call("admit", source)

    def revoke(self, source: str) -> None:
        self._call("revoke", source)

    def grants(self) -> Mapping[str, float]:
        self.open.wait(5)
        if self.error is not None:
            raise self.error
        return self.living

    def _call(self, verb: str, source: str) -> None:
        self.open.wait(5)
        self.calls.append((verb, source))
        if self.error is not None:
            raise self.error


class Rig:
    def __init__(self, firewall: FakeFirewall, *, one_shot: bool = False) -> None:
        self.firewall = firewall
        self.admitted: list[str] = []
        self.states: list[str | None] = []
        self.changed = asyncio.Event()
        self.standing: list[Standing] = []
        self.ended: list[Ended] = []
        self.door = Door(firewall, Admission(TTL, one_shot=one_shot), self._on_news, self._on_state, PORT)

    def _on_news(self, news: GrantNews) -> None:
        match news:
            case Admitted(source=source, ttl=ttl):
                assert ttl == TTL
                self.admitted.append(source)
            case Standing():
                self.standing.append(news)
            case Ended():
                self.ended.append(news)

    def _on_state(self, reason: str | None) -> None:
        self.states.append(reason)
        self.changed.set()

    async def states_reach(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.states) < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(firewall: FakeFirewall, *, one_shot: bool = False) -> AsyncIterator[Rig]:
    rig = Rig(firewall, one_shot=one_shot)
    task = asyncio.create_task(rig.door.run(lambda: 0.0))
    try:
        yield rig
    finally:
        firewall.open.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_admission_reaches_the_firewall_and_is_told() -> None:
    async with running(FakeFirewall()) as rig:
        assert rig.door.admit("192.0.2.1", 0.0) is None
        await rig.states_reach(2)
        assert rig.firewall.calls == [("admit", "192.0.2.1")]
        assert rig.admitted == ["192.0.2.1"]
        assert rig.states == [None, None]  # the first look, the admission


async def test_the_line_of_an_admission_names_the_knock_and_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(log, "event", lambda what, fields, reason=None: written.append((what.code, fields)))
    async with running(FakeFirewall()) as rig:
        rig.door.admit("192.0.2.1", 0.0, "5f2c9a1e5f2c9a1e")
        await rig.states_reach(2)
        rig.door.revoke("192.0.2.1")
        await rig.states_reach(3)
    about = {"source.ip": "192.0.2.1", "destination.port": PORT}
    assert written == [
        ("HYP1101I", about | {"hyperion.knock.id": "5f2c9a1e5f2c9a1e", "hyperion.firewall.ttl_s": TTL}),
        ("HYP1102I", about),
    ]


async def test_a_knock_again_renews() -> None:
    async with running(FakeFirewall()) as rig:
        for now in (0.0, 0.5, 2.0):
            assert rig.door.admit("192.0.2.1", now) is None
            await asyncio.sleep(0.05)
        # the second one found the grant half a second old
        assert rig.firewall.calls == [("admit", "192.0.2.1")] * 2


async def test_after_a_doubt_a_young_grant_is_put_to_the_firewall_again() -> None:
    """Whoever tries new rules waits for a knock that went through them."""
    async with running(FakeFirewall()) as rig:
        assert rig.door.admit("192.0.2.1", 0.0) is None
        await rig.states_reach(2)
        rig.door.doubt(0.1)
        assert rig.door.admit("192.0.2.1", 0.2) is None
        await rig.states_reach(3)
        assert rig.admitted == ["192.0.2.1"] * 2


async def test_a_slow_firewall_holds_up_nobody_but_itself() -> None:
    firewall = FakeFirewall()
    firewall.open.clear()
    async with running(firewall) as rig:
        began = time.monotonic()
        results = {rig.door.admit(f"10.{number}.0.1", 0.0) for number in range(200)}
        await asyncio.sleep(0)
        assert results == {None}
        assert time.monotonic() - began < 1
        firewall.open.set()
        await rig.states_reach(201)
        assert rig.admitted == [f"10.{number}.0.1" for number in range(200)]


async def test_too_many_waiting_are_refused_and_may_try_again() -> None:
    firewall = FakeFirewall()
    firewall.open.clear()
    async with running(firewall) as rig:
        for number in range(MAX_WAITING):
            assert rig.door.admit(f"10.{number}.0.1", 0.0) is None
        assert rig.door.admit("192.0.2.1", 0.0) == "busy"
        firewall.open.set()
        await rig.states_reach(MAX_WAITING + 1)
        assert rig.door.admit("192.0.2.1", 0.0) is None


async def test_a_full_book_is_a_refusal() -> None:
    async with running(FakeFirewall()) as rig:
        results = [rig.door.admit(f"192.0.2.{number}", 0.0) for number in range(65)]
        assert results == [None] * 64 + ["group-full"]


async def test_a_revocation_wins_over_an_admission_that_waits() -> None:
    firewall = FakeFirewall()
    firewall.open.clear()
    async with running(firewall) as rig:
        rig.door.admit("192.0.2.1", 0.0)
        rig.door.revoke("192.0.2.1")
        firewall.open.set()
        await rig.states_reach(2)
        assert firewall.calls == [("revoke", "192.0.2.1")]
        # the book is in step: the next knock is a new admission, not a fresh grant
        assert rig.door.admit("192.0.2.1", 0.1) is None
        await rig.states_reach(3)
        assert firewall.calls[-1] == ("admit", "192.0.2.1")


async def test_a_failure_is_told_and_the_next_knock_tries_again() -> None:
    firewall = FakeFirewall()
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = NftTimeoutError("nft did not come back")
        rig.door.admit("192.0.2.1", 0.0)
        await rig.states_reach(2)
        assert rig.states[-1] == "nft-timeout: nft did not come back"
        assert rig.admitted == []
        firewall.error = None
        assert rig.door.admit("192.0.2.1", 0.1) is None
        await rig.states_reach(3)
        assert rig.admitted == ["192.0.2.1"]
        assert rig.states[-1] is None


async def test_a_client_that_goes_on_knocking_fills_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each source and reason, and again after the firewall has worked meanwhile."""
    lines: list[tuple[str, str]] = []

    def event(_what: object, fields: dict[str, str], reason: str | None = None) -> None:
        if reason is not None:
            lines.append((fields["source.ip"], reason))

    monkeypatch.setattr(log, "event", event)
    firewall = FakeFirewall()
    async with running(firewall) as rig:
        await rig.states_reach(1)
        for number, source in enumerate(["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"]):
            firewall.error = NftTimeoutError("nft hangs") if number < 3 else FirewallError("no such table")
            assert rig.door.admit(source, number) is None
            await rig.states_reach(2 + number)
        first = [("192.0.2.1", NftTimeoutError.reason), ("192.0.2.2", NftTimeoutError.reason)]
        assert lines == [*first, ("192.0.2.1", FirewallError.reason)]
        firewall.error = None
        assert rig.door.admit("192.0.2.3", 10) is None
        await rig.states_reach(6)
        firewall.error = NftTimeoutError("nft hangs")
        assert rig.door.admit("192.0.2.1", 11) is None
        await rig.states_reach(7)
        assert lines[3:] == [("192.0.2.1", NftTimeoutError.reason)]


async def test_recovery_is_noticed_without_a_knock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "PROBE_SECONDS", 0.05)
    firewall = FakeFirewall()
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = FirewallError("no")
        rig.door.admit("192.0.2.1", 0.0)
        await rig.states_reach(2)
        await asyncio.sleep(0.2)
        assert rig.states[1:] == ["nft-failed: no"]
        firewall.error = None
        await rig.states_reach(3)
        assert rig.states[-1] is None


async def test_revocations_that_failed_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the firewall has done each of them, and no grant that is to end counts as one."""
    monkeypatch.setattr(door_module, "PROBE_SECONDS", 0.05)
    sources = ["192.0.2.1", "192.0.2.2"]
    firewall = FakeFirewall(dict.fromkeys([*sources, "192.0.2.3"], 59.0))
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = NftTimeoutError("slow")
        for source in sources:
            rig.door.revoke(source)
        await rig.states_reach(5)
        assert rig.ended == []
        assert rig.states[1:] == ["nft-timeout: slow"] * (len(rig.states) - 1)
        firewall.error = None
        await rig.states_reach(len(rig.states) + 2)
        assert sorted(ended.source for ended in rig.ended) == sources
        done = len(firewall.calls)
        await asyncio.sleep(0.2)
        assert len(firewall.calls) == done, "each is done once"
        assert {grant.source for grant in rig.standing} == {*sources, "192.0.2.3"}, "before, and not again"


async def test_a_grant_that_is_to_end_is_not_taken_over_when_the_firewall_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    firewall = FakeFirewall({"192.0.2.1": 59.9})
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = NftTimeoutError("slow")
        rig.door.revoke("192.0.2.1")
        await rig.states_reach(2)
        firewall.error = None
        rig.standing.clear()
        rig.door._works = lambda: None  # type: ignore[method-assign]
        await rig.door._look(lambda: 0.0)
        assert rig.standing == []
        assert rig.door._admission.until("192.0.2.1", 0.0) is None


async def test_a_knock_after_a_revocation_that_failed_has_the_last_word() -> None:
    firewall = FakeFirewall({"192.0.2.1": 59.9})
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = NftTimeoutError("slow")
        rig.door.revoke("192.0.2.1")
        await rig.states_reach(2)
        firewall.error = None
        assert rig.door.admit("192.0.2.1", 0.1) is None
        await rig.states_reach(3)
        assert rig.admitted == ["192.0.2.1"]
        await asyncio.sleep(0.1)
        assert firewall.calls == [("revoke", "192.0.2.1"), ("admit", "192.0.2.1")]


@pytest.mark.parametrize("error", [SetFullError("full"), ValueError("no source")])
async def test_a_revocation_of_what_cannot_be_in_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(door_module, "PROBE_SECONDS", 0.05)
    firewall = FakeFirewall()
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = error
        rig.door.revoke("x")
        await asyncio.sleep(0.2)
        assert firewall.calls == [("revoke", "x")]


@pytest.mark.parametrize("error", [SetFullError("full"), ValueError("no source")])
async def test_what_is_wrong_with_one_source_is_not_wrong_with_the_gate(error: Exception) -> None:
    firewall = FakeFirewall()
    async with running(firewall) as rig:
        await rig.states_reach(1)
        firewall.error = error
        rig.door.admit("192.0.2.1", 0.0)
        await asyncio.sleep(0.1)
        assert rig.firewall.calls == [("admit", "192.0.2.1")]
        assert (rig.admitted, rig.states) == ([], [None])


async def test_grants_that_live_already_are_counted() -> None:
    async with running(FakeFirewall({"192.0.2.1": 59.8})) as rig:
        await rig.states_reach(1)
        assert rig.door.admit("192.0.2.1", 0.1) is None
        await asyncio.sleep(0.05)
        assert rig.firewall.calls == []  # fresh


async def test_one_shot_grants_are_given_again_at_each_knock() -> None:
    async with running(FakeFirewall(), one_shot=True) as rig:
        for count in (2, 3):
            rig.door.admit("192.0.2.1", count / 10)
            await rig.states_reach(count)
        assert rig.firewall.calls == [("admit", "192.0.2.1")] * 2
