"""The end of an admin's time: with a clock in hand, and on a real connection."""

import asyncio
import os
import time

import pytest

from hyperion.events import SESSION_CLOSED, SESSION_OPENED, SESSION_REFUSED
from hyperion.proto.admins import AdminRule
from hyperion.worker import expiry
from hyperion.worker.connector import Connector, TunnelSession
from hyperion.worker.expiry import ExpiryWatch, Timed
from tests.helpers.rig import ADMIN, ADMIN_SECRET, PSK, SERVER, Events, Rig, echo, ending, hang_up, service, until
from tests.peer.noise import InitiatorHandshake

pytestmark = pytest.mark.both_loops


class Fake:
    def __init__(self, expires: float | None) -> None:
        self.rule: AdminRule | None = AdminRule(bytes(32), "alice", (), expires)
        self.ended: list[str] = []

    def end(self, reason: str) -> None:
        self.ended.append(reason)


async def test_only_those_who_are_out_of_time() -> None:
    over, later, never = Fake(100.0), Fake(1e9), Fake(None)
    sessions: list[Timed] = [over, later, never]
    watch = ExpiryWatch(lambda: sessions, clock=lambda: 100.0)
    watch.look()
    watch.look()
    watch.close()
    assert [each.ended for each in (over, later, never)] == [["expired"], [], []]
    assert over.rule is None


async def test_it_looks_again_by_itself() -> None:
    first, second = Fake(time.time() + 0.1), Fake(time.time() + 0.3)
    sessions: list[Timed] = [first, second]
    watch = ExpiryWatch(lambda: sessions)
    watch.look()
    await until(lambda: first.ended)
    assert not second.ended
    await until(lambda: second.ended)
    watch.close()


async def test_it_notices_that_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "CLOCK_INTERVAL", 0.02)
    clock = [0.0]
    session = Fake(1000.0)
    sessions: list[Timed] = [session]
    watch = ExpiryWatch(lambda: sessions, clock=lambda: clock[0])
    watch.look()
    await asyncio.sleep(0.1)
    assert not session.ended
    clock[0] = 2000.0
    await until(lambda: session.ended)
    watch.close()


async def test_a_live_session_is_cut_at_the_moment(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await rig.open()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        end = time.time() + 0.4
        assert rig.server.handle(rig.policy(port, expires=end))
        assert await ending(reader) == "reset"
        assert 0 <= time.time() - end < 1.0
        await hang_up(writer)
        await until(lambda: events.reasons(SESSION_CLOSED) == ["expired"])
        assert events.fields(SESSION_CLOSED)[0]["user.name"] == "alice"


async def test_a_session_that_comes_later_is_watched_too(events: Events) -> None:
    async with Rig(9) as rig:
        end = time.time() + 0.4
        assert rig.server.handle(rig.policy(9, expires=end))
        await Connector(rig.target()).connect(TunnelSession())
        await until(lambda: len(events.fields(SESSION_OPENED)) == 2)
        await until(lambda: set(events.reasons(SESSION_CLOSED)) == {"expired"} and not rig.server._sessions)


async def test_who_is_out_of_time_is_refused_like_a_stranger(events: Events) -> None:
    async with Rig(9, handshake_timeout=0.4) as rig:
        assert rig.server.handle(rig.policy(9, expires=time.time() - 1))
        await until(lambda: not rig.server._sessions)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.server_port)
        message = InitiatorHandshake(ADMIN_SECRET, SERVER, PSK, os.urandom(32)).write_1(b"")
        writer.write(len(message).to_bytes(2, "big") + message)
        assert await reader.read() == b""  # silence until the deadline
        await hang_up(writer)
        await until(lambda: "admin-expired" in events.reasons(SESSION_REFUSED))
        refused = [each for each in events.all if each.reason == "admin-expired"]
        assert refused[0].fields["user.name"] == "alice"
        assert rig.server.admins.find(ADMIN) is not None
