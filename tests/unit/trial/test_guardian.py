import asyncio
import time
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import msgspec
import pytest

from hyperion.firewall.nft import FirewallError, NftTimeoutError
from hyperion.firewall.nft_program import NftProgram
from hyperion.proto.control import Message
from hyperion.proto.trial import (
    Committed,
    Confirmed,
    ConfirmRequest,
    Failed,
    Loaded,
    NotConfirmed,
    Order,
    RolledBack,
    Seen,
)
from hyperion.trial import guardian as guardian_module
from hyperion.trial.connections import Connection
from hyperion.trial.guardian import UNDO_ATTEMPTS, Guardian
from hyperion.trial.record import RecordFile
from hyperion.trial.witness import Knock, Session
from tests.helpers.fake_nft_program import NEW, OLD, FakeNftProgram

LOGIN = Connection(ip_address("198.51.100.7"), 40_000, ip_address("192.0.2.1"), 22)
EARLIER = Connection(ip_address("198.51.100.7"), 39_999, ip_address("192.0.2.1"), 22)
REQUEST = ConfirmRequest("198.51.100.7", 40_000, "192.0.2.1", 22)


class FakeWitness:
    """A server that holds its guard and has heard what it is told. ``runs`` false: there is none."""

    def __init__(self) -> None:
        self.held: list[float] = []
        self.refusal: str | None = None
        self.runs = True
        self.knocks: list[Knock] = []
        self.sessions: list[Session] = []

    async def hold(self, seconds: float) -> str | None:
        self.held.append(seconds)
        return self.refusal

    async def heard(self, since: float) -> tuple[list[Knock], list[Session]] | None:
        return (self.knocks, self.sessions) if self.runs else None


class Trial:
    """One guardian with all it needs."""

    def __init__(self, directory: Path, ours: str | None = OLD, seconds: float = 30.0) -> None:
        self.nft = FakeNftProgram(ours)
        self.witness = FakeWitness()
        self.file = RecordFile(directory / "firewall")
        self.told: list[Message] = []
        order = Order(8443, "hyperion", "knock_allow", (), False, False, 64, seconds, str(self.file.directory), "")
        self.guardian = Guardian(order, cast(NftProgram, self.nft), self.witness, self.file, self.told.append)

    async def loaded(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.guardian.run())
        async with asyncio.timeout(5):
            while not any(isinstance(message, Loaded) for message in self.told):
                await asyncio.sleep(0.001)
        return task


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian_module, "SETTLE_SECONDS", 0.001)
    monkeypatch.setattr(guardian_module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(guardian_module, "list_connections", lambda: {EARLIER: "1"})
    monkeypatch.setattr(guardian_module, "established", lambda: {EARLIER: "1", LOGIN: "2"})
    monkeypatch.setattr(guardian_module, "take_over", lambda *_: 0)


async def test_nobody_comes(tmp_path: Path) -> None:
    trial = Trial(tmp_path, seconds=0.05)
    began = time.monotonic()
    await trial.guardian.run()
    assert time.monotonic() - began >= 0.05
    assert trial.told == [Loaded(0.05, True), RolledBack("no-proof", True)]
    assert trial.nft.ours == OLD
    assert trial.file.read() is None
    # Held while the table is changed, and let go of each time.
    assert [seconds > 0 for seconds in trial.witness.held] == [True, False, True, False]


async def test_the_way_back_is_on_disk_before_anything_is_changed(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    load = trial.nft.load

    def check(commands: str) -> None:
        record = trial.file.read()
        assert record is not None
        assert record.before == OLD
        load(commands)

    trial.nft.load = check  # type: ignore[method-assign]
    task = await trial.loaded()
    assert trial.nft.ours == NEW
    trial.guardian.end("killed")
    await task
    assert trial.told[-1] == RolledBack("killed", True)


async def test_a_knock_and_a_session_commit(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    task = await trial.loaded()
    trial.witness.knocks.append(Knock("192.0.2.7", time.time()))
    await asyncio.sleep(0.02)
    assert not task.done()
    trial.witness.sessions.append(Session("192.0.2.7", 1, time.time()))
    await task
    assert trial.told[1:] == [Seen("192.0.2.7", "knock"), Committed("knock", "192.0.2.7")]
    assert trial.nft.ours == NEW
    assert trial.file.read() is None


async def test_a_new_login_commits_and_nothing_else_does(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    early = trial.guardian.confirm(REQUEST)
    assert isinstance(early, NotConfirmed)
    assert "not loaded yet" in early.reason
    trial.witness.runs = False
    task = await trial.loaded()
    assert trial.told == [Loaded(30.0, False, "no server is running here, or it does not answer")]
    for change, reason in (
        ({"remote_port": 39_999}, "older than the new rules"),
        ({"remote_port": 1}, "no such connection"),
        ({"remote": "127.0.0.1"}, "from this host itself"),
        ({"remote": "192.0.2.1"}, "from this host itself"),
        ({"remote": "x"}, "no connection"),
    ):
        answer = trial.guardian.confirm(msgspec.structs.replace(REQUEST, **change))
        assert isinstance(answer, NotConfirmed)
        assert reason in answer.reason
    assert trial.guardian.confirm(REQUEST) == Confirmed()
    assert isinstance(trial.guardian.confirm(REQUEST), NotConfirmed)  # it is over
    trial.guardian.end("command-gone")  # too late: the first word counts
    await task
    assert trial.told[-1] == Committed("login", "198.51.100.7")
    assert trial.nft.ours == NEW


@pytest.mark.parametrize("by", ["knock", "login"])
async def test_rules_that_are_not_there_any_more_are_not_proven(tmp_path: Path, by: str) -> None:
    """A guard that was just starting put the old ones back: whoever gets in comes through those."""
    trial = Trial(tmp_path)
    task = await trial.loaded()
    trial.nft.ours = OLD
    if by == "login":
        assert isinstance(trial.guardian.confirm(REQUEST), NotConfirmed)
    else:
        trial.witness.knocks.append(Knock("192.0.2.7", time.time()))
        trial.witness.sessions.append(Session("192.0.2.7", 1, time.time()))
    async with asyncio.timeout(5):
        await task
    assert trial.told[-1] == RolledBack("changed", True)
    assert trial.nft.ours == OLD


async def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.witness.refusal = "knocking is off here"
    await trial.guardian.run()
    (failed,) = trial.told
    assert isinstance(failed, Failed)
    assert failed.message == "the running server cannot let go of its table: knocking is off here"
    assert trial.nft.loads == []
    assert trial.witness.held[-1] == 0, "it may have been late, and hold its guard"
    somebody_elses = Trial(tmp_path, NEW)
    await somebody_elses.guardian.run()
    assert isinstance(somebody_elses.told[0], Failed)
    assert somebody_elses.told[0].exit_code == 78
    assert somebody_elses.file.read() is None


async def test_the_command_is_gone_before_anything_was_loaded(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.guardian.end("command-gone")
    await trial.guardian.run()
    assert trial.nft.ours == OLD
    assert trial.told == [RolledBack("command-gone", True)]
    assert trial.witness.held[-1] == 0


@pytest.mark.parametrize("done", [False, True])
async def test_a_load_that_fails_is_undone_if_it_was_done(tmp_path: Path, done: bool) -> None:
    """nft that does not come back is killed, and nobody knows."""
    trial = Trial(tmp_path)
    trial.nft.fault, trial.nft.late = NftTimeoutError("nft did not answer"), done
    load = trial.nft.load

    def once(commands: str) -> None:
        try:
            load(commands)
        finally:
            trial.nft.fault = None

    trial.nft.load = once  # type: ignore[method-assign]
    await trial.guardian.run()
    expected = RolledBack("load-failed", True) if done else Failed("nft did not answer", None, 75)
    assert trial.told == [expected]
    assert trial.nft.ours == OLD


async def test_a_guard_that_could_not_be_told_is_outlasted(tmp_path: Path) -> None:
    trial = Trial(tmp_path, seconds=0.01)
    trial.nft.undone_by = 5
    await trial.guardian.run()
    assert trial.told[-1] == RolledBack("no-proof", True)
    assert trial.nft.ours == OLD


async def test_what_cannot_be_undone_is_said_and_kept_for_later(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    task = await trial.loaded()
    trial.nft.fault = FirewallError("nft: no")
    trial.nft.theirs += "table ip more {\n}\n"
    trial.guardian.end("killed")
    await task
    assert trial.told[-1] == RolledBack("killed", False, True, "nft: no")
    assert trial.file.read() is not None
    assert len([seconds for seconds in trial.witness.held if seconds]) == 1 + UNDO_ATTEMPTS
