import asyncio
from collections.abc import Mapping

import pytest

from hyperion import log
from hyperion.events import LogEvent
from hyperion.proto.control import Fault, Heartbeat, Message, Ready
from hyperion.proto.control_knockd import Admitted, Ended, GateState, KnockCounts, Pulse, Revoke, Standing
from hyperion.proto.operator import GrantLine
from hyperion.supervisor import gate as module
from hyperion.supervisor.gate import AWAY, STARTING, Gate, plain

OK = GateState(ok=True)
NOW = 1_000_000.0


class FakeShutter:
    """Remembers what it was told. ``fault``: why it does not do it."""

    def __init__(self) -> None:
        self.is_open = False
        self.fault: str | None = None
        self.trouble: str | None = None

    def shut(self) -> None:
        self._set(is_open=False)

    def open(self) -> None:
        self._set(is_open=True)

    def _set(self, *, is_open: bool) -> None:
        self.trouble = self.fault if is_open != self.is_open else None
        self.is_open = self.is_open if self.trouble else is_open


class Rig:
    """A gate, and what it tells."""

    def __init__(self, **options: bool) -> None:
        self.shutter = FakeShutter()
        self.told: list[Message] = []
        self.changes = 0
        self.now = NOW
        self.gate = Gate(
            self.shutter,  # type: ignore[arg-type]
            8443,
            self.told.append,
            changed=self._changed,
            clock=lambda: self.now,
            **options,
        )

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.gate.heard(message)

    def state(self) -> tuple[str, str | None, bool]:
        line = self.gate.line()
        return line.state, line.reason, self.shutter.is_open

    @property
    def sources(self) -> list[str]:
        return [grant.source for grant in self.gate.grants()]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, object]]:
    seen: list[tuple[str, str | None, object]] = []

    def event(what: LogEvent, fields: Mapping[str, object], *, reason: str | None = None) -> None:
        seen.append((what.action, reason, fields.get("error.message", fields.get("source.ip"))))

    monkeypatch.setattr(log, "event", event)
    return seen


def test_it_starts_shut_and_opens_when_knockd_is_sure(events: list[object]) -> None:
    rig = Rig()
    assert rig.state() == ("shut", STARTING, False)
    rig.hear(Ready(7), Pulse())
    assert rig.state() == ("shut", STARTING, False)
    rig.now += 5
    rig.hear(OK)
    assert rig.state() == ("ok", None, True)
    assert rig.gate.line().since == NOW + 5
    assert events == [("gate-open", None, None)]


def test_doubt_and_death_shut_it_and_the_reason_is_kept(events: list[object]) -> None:
    rig = Rig()
    rig.hear(OK, GateState(ok=False, reason="table: contested"))
    assert rig.state() == ("shut", "table: contested", False)
    rig.now += 1
    rig.hear(GateState(ok=False, reason="table: nft-missing"))
    assert rig.gate.line().since == NOW, "shut since the first reason"
    rig.gate.ended()
    assert rig.state() == ("shut", "table: nft-missing", False)
    rig.hear(Ready(8), OK)
    rig.gate.ended()
    assert rig.state() == ("shut", AWAY, False)
    rig.hear(Ready(9), GateState(ok=False), OK)
    assert rig.state() == ("ok", None, True)
    assert events == [
        ("gate-open", None, None),
        ("gate-shut", "degraded", "table: contested"),
        ("gate-shut", "degraded", "table: nft-missing"),
        ("gate-open", None, None),
        ("gate-shut", "knockd-away", AWAY),
        ("gate-shut", "degraded", "it does not say why"),
        ("gate-open", None, None),
    ]


def test_a_fault_says_why() -> None:
    rig = Rig()
    rig.hear(Ready(7), OK, Fault("packet capture: Bad file descriptor", 75))
    rig.gate.ended()
    assert rig.state() == ("shut", "packet capture: Bad file descriptor", False)


async def test_a_port_that_cannot_be_opened_again_is_not_called_open(
    events: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    rig = Rig()
    rig.shutter.fault = "the tunnel port cannot be opened again: Cannot allocate memory"
    rig.hear(Ready(7), OK)
    assert rig.state() == ("shut", rig.shutter.fault, False)
    changes = rig.changes
    await asyncio.sleep(0.1)
    assert rig.changes > changes, "it is tried again"
    assert rig.state() == ("shut", rig.shutter.fault, False)
    told, rig.shutter.fault = rig.shutter.fault, None
    await asyncio.sleep(0.1)
    assert rig.state() == ("ok", None, True)
    assert events == [("gate-shut", "degraded", told), ("gate-open", None, None)]
    rig.gate.close()


async def test_a_port_that_cannot_be_shut_is_told_and_tried_again(
    events: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    rig = Rig()
    rig.hear(Ready(7), OK)
    rig.shutter.fault = "the tunnel port cannot be shut: Cannot allocate memory"
    rig.gate.ended()
    assert rig.state() == ("shut", f"{AWAY}; {rig.shutter.fault}", True)
    rig.gate.ended()
    told, rig.shutter.fault = rig.shutter.fault, None
    await asyncio.sleep(0.1)
    assert rig.state() == ("shut", AWAY, False)
    assert events[1:] == [("gate-shut", "knockd-away", f"{AWAY}; {told}"), ("gate-shut", "knockd-away", AWAY)]
    rig.shutter.fault = told
    rig.hear(Ready(8), OK)
    rig.gate.close()
    await asyncio.sleep(0.1)
    assert rig.state() == ("shut", told, False), "no more timers"


def test_one_that_never_was_ready_is_away() -> None:
    rig = Rig()
    rig.gate.ended()
    assert rig.state() == ("shut", AWAY, False)


def test_grants_come_and_go_and_outlive_knockd() -> None:
    rig = Rig()
    rig.hear(Admitted("192.0.2.1", 60), Admitted("2001:db8::1", 60), Admitted("192.0.2.3", 5))
    rig.now += 10
    assert rig.gate.grants() == [
        GrantLine(source="192.0.2.1", expires_at=NOW + 60, remaining_s=50.0),
        GrantLine(source="2001:db8::1", expires_at=NOW + 60, remaining_s=50.0),
    ]
    rig.hear(Ended("192.0.2.1", "revoked"), Ended("192.0.2.3", "expired"), Ended("192.0.2.9", "expired"))
    assert rig.sources == ["2001:db8::1"]
    rig.gate.ended()
    assert rig.sources == ["2001:db8::1"], "it is still in the kernel"
    rig.hear(Ready(8))
    assert rig.sources == []
    rig.hear(Standing("2001:db8::1", 31.5))
    assert rig.gate.grants() == [GrantLine(source="2001:db8::1", expires_at=NOW + 41.5, remaining_s=31.5)]


def test_who_knocks_in_vain(events: list[object]) -> None:
    rig = Rig()
    for _ in range(5):
        rig.hear(Admitted("192.0.2.1", 60))
        rig.now += 4
    assert events == [("knocked-in-vain", None, "192.0.2.1")]
    assert rig.gate.line().in_vain == 1
    rig.gate.session_opened("::ffff:192.0.2.1")
    assert rig.gate.line().in_vain == 0


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GRANTS", 3)
    rig = Rig()
    rig.hear(*(Admitted(f"192.0.2.{number}", 10) for number in range(3)), Admitted("192.0.2.9", 10))
    assert rig.sources == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    rig.hear(Admitted("192.0.2.0", 20))
    rig.now += 15
    rig.hear(Admitted("192.0.2.9", 10))
    assert rig.sources == ["192.0.2.0", "192.0.2.9"]


def test_counts_go_on_over_the_deaths_of_knockd() -> None:
    rig = Rig()
    rig.hear(KnockCounts({"accepted": 2, "stale": 1}, 5), KnockCounts({"accepted": 3, "stale": 1}, 6))
    rig.gate.ended()
    rig.gate.ended()
    rig.hear(KnockCounts({"accepted": 1}, 1))
    line = rig.gate.line()
    assert (line.verdicts, line.dropped, line.port) == ({"accepted": 4, "stale": 1}, 7, 8443)


def test_each_change_is_shown() -> None:
    rig = Rig()
    rig.hear(Ready(7), OK, Admitted("192.0.2.1", 60), KnockCounts({}, 0))
    assert rig.changes == 4
    rig.hear(Pulse(), Heartbeat(0, 0, 0, 0, 0, 0))
    assert rig.changes == 4
    rig.gate.ended()
    assert rig.changes == 5


async def test_a_grant_ends_behind_the_last_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_BEHIND_SECONDS", 0.1)
    rig = Rig(close_behind=True)
    rig.hear(Admitted("192.0.2.1", 60), Admitted("192.0.2.2", 60))
    rig.gate.session_opened("::ffff:192.0.2.1")
    await asyncio.sleep(0.06)
    rig.gate.session_opened("192.0.2.1")
    await asyncio.sleep(0.06)
    assert rig.told == []
    await asyncio.sleep(0.08)
    assert rig.told == [Revoke("192.0.2.1")]


async def test_a_new_knock_keeps_the_grant_until_its_own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_BEHIND_SECONDS", 0.05)
    rig = Rig(close_behind=True)
    rig.gate.session_opened("192.0.2.1")
    rig.hear(Admitted("192.0.2.1", 60))
    await asyncio.sleep(0.1)
    assert rig.told == []
    rig.gate.session_opened("192.0.2.1")
    await asyncio.sleep(0.1)
    assert rig.told == [Revoke("192.0.2.1")]


async def test_a_revocation_that_knockd_did_not_see_is_said_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_BEHIND_SECONDS", 0.02)
    rig = Rig(close_behind=True)
    rig.hear(Ready(7), OK, Admitted("192.0.2.1", 600), Admitted("192.0.2.2", 600))
    rig.gate.session_opened("192.0.2.1")
    rig.gate.session_opened("192.0.2.2")
    rig.gate.ended()
    await asyncio.sleep(0.1)
    rig.told.clear()  # nobody was there to hear it
    for pid in (8, 9):
        rig.hear(Ready(pid), Standing("192.0.2.1", 590.0), Standing("192.0.2.2", 590.0), OK)
        assert rig.told == [Revoke("192.0.2.1"), Revoke("192.0.2.2")]
        rig.told.clear()
    rig.hear(Ended("192.0.2.1", "revoked"), Admitted("192.0.2.2", 600), Ready(10))
    assert rig.told == [], "one is closed, and who knocked again is to come in"


async def test_what_is_to_be_closed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_BEHIND_SECONDS", 0.0)
    monkeypatch.setattr(module, "MAX_GRANTS", 3)
    rig = Rig(close_behind=True)
    for number in range(5):
        rig.gate.session_opened(f"192.0.2.{number}")
    await asyncio.sleep(0.05)
    assert rig.told == [Revoke(f"192.0.2.{number}") for number in range(5)]
    rig.told.clear()
    rig.hear(Ready(8))
    assert rig.told == [Revoke(f"192.0.2.{number}") for number in range(3)]


async def test_without_the_option_a_grant_lasts_and_at_the_end_no_timer_is_left() -> None:
    rig = Rig()
    rig.gate.session_opened("192.0.2.1")
    assert rig.gate._closing == {}
    rig.gate.close_behind = True
    rig.gate.session_opened("192.0.2.1")
    (timer,) = rig.gate._closing.values()
    rig.gate.close()
    assert timer.cancelled()
    assert rig.gate._closing == {}


def test_a_one_shot_grant_is_used_up_by_its_session() -> None:
    rig = Rig(one_shot=True)
    rig.hear(Admitted("192.0.2.1", 60), Admitted("192.0.2.2", 60))
    rig.gate.session_opened("192.0.2.1")
    assert rig.sources == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_are_written_as_knockd_writes_them(written: str, same: str) -> None:
    assert plain(written) == same
