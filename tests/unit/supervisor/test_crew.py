import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from hyperion.errors import ChildError
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import (
    ClientWorkerConfig,
    Drain,
    Fault,
    KnockOrder,
    LogSettings,
    Message,
    Ready,
    ServerPolicy,
    ServerWorkerConfig,
    Stop,
    TunnelState,
)
from hyperion.proto.control_knockd import Admitted, KnockdConfig, Revoke
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.kind import KNOCKD
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.restart import MAX_BOOT_ATTEMPTS, MAX_RESTARTS
from hyperion.supervisor.spec import Spec, Timing
from tests.helpers.rig import until

Logged = list[tuple[str, str | None]]
CONFIG = ServerWorkerConfig("0", b"s" * 32, b"p" * 32, Roster(), 3.0, "here", LogSettings())


def spec(name: str, entry: str = "obedient") -> Spec:
    return Spec(name, f"hyp-{name}", f"tests.helpers.fake_worker:{entry}", CONFIG, ())


async def ended(crew: Crew) -> None:
    await asyncio.wait_for(crew.gone(), 20)


async def test_all_become_ready_and_all_leave(launcher: Launcher, logged: Logged) -> None:
    news = asyncio.Event()
    crew = Crew(launcher, Timing(), news.set)
    for name in ("a", "b", "c"):
        crew.add(spec(name))
    await asyncio.wait_for(crew.ready(), 20)
    assert crew.names == ["a", "b", "c"]
    assert crew.is_fresh()
    while len(crew.heartbeats) < 3:
        news.clear()
        await asyncio.wait_for(news.wait(), 20)
    assert not crew.leaving
    crew.leave(Stop())
    assert crew.leaving
    await ended(crew)
    assert crew.heartbeats == {}


async def test_a_name_is_free_as_soon_as_its_bearer_was_told_to_leave(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a", "busy"))
    await asyncio.wait_for(crew.ready(), 20)
    crew.retire("a", 0.1)
    crew.add(spec("a"))
    await asyncio.wait_for(crew.ready(), 20)
    assert crew.names == ["a"]
    crew.leave(Drain(0.1))  # reaches the one that is still draining, too
    crew.leave(Stop())
    await ended(crew)
    assert not crew.failed.done() or isinstance(crew.failed.exception(), ChildError)


async def test_one_that_fails_before_all_are_ready_fails_the_crew(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("good"))
    crew.add(spec("bad", "wrong_configuration"))
    with pytest.raises(ChildError, match="worker bad cannot start"):
        await asyncio.wait_for(asyncio.shield(crew.failed), 20)
    crew.kill()
    await ended(crew)


async def test_one_that_fails_later_does_not_as_long_as_another_serves(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("good"))
    await asyncio.wait_for(crew.ready(), 20)
    crew.add(spec("bad", "wrong_configuration"))
    while "bad" in crew.names:
        await asyncio.sleep(0.01)
    assert not crew.failed.done()
    crew.kill()
    await ended(crew)
    with pytest.raises(ChildError, match="no worker is left"):
        await crew.failed


async def test_a_bug_in_the_supervision_is_not_hidden(
    launcher: Launcher, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(launcher, "launch", broken)
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(asyncio.shield(crew.failed), 20)
    assert logged == [("HYP9002E", None)]


async def test_the_budget_grows_with_the_crew(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    for number in range(MAX_RESTARTS + 5):
        crew.add(spec(str(number)))
    assert crew._budget.limit == MAX_RESTARTS + 5
    crew.kill()
    await ended(crew)


async def test_new_rules_reach_those_that_run_and_those_that_come(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a"))
    await asyncio.wait_for(crew.ready(), 20)
    rules = Roster.of([AdminRule(b"k" * 32, "name", (22,))])
    new = Spec("a", "hyp-a", "tests.helpers.fake_worker:obedient", CONFIG, ())
    crew.reconfigure([new], ServerPolicy(rules, 3.0))
    (member,) = crew._members.values()
    assert member.spec is new
    assert member._process is not None
    os.kill(member._process.pid, signal.SIGKILL)
    while ("HYP4002E", "killed: perhaps out of memory") not in logged:
        await asyncio.sleep(0.01)
    crew.reconfigure([new], ServerPolicy(rules, 4.0))  # nobody to tell right now
    await asyncio.wait_for(crew.ready(), 20)
    crew.kill()
    await ended(crew)


async def test_sessions_are_those_of_living_workers(launcher: Launcher, logged: Logged) -> None:
    news = asyncio.Event()
    crew = Crew(launcher, Timing(), news.set)
    crew.add(spec("a", "with_sessions"))
    await asyncio.wait_for(crew.ready(), 20)
    (member,) = crew._members.values()
    assert member._process is not None
    first_life = member._process.pid
    while list(crew.sessions.get("a", {})) != [f"second of {first_life}"]:
        news.clear()
        await asyncio.wait_for(news.wait(), 20)
    os.kill(first_life, signal.SIGKILL)
    await until(lambda: member._process is not None and member._process.pid != first_life)
    second_life = member._process.pid
    await until(lambda: list(crew.sessions.get("a", {})) == [f"second of {second_life}"])
    crew.kill()
    await ended(crew)
    assert crew.sessions == {}


async def test_a_poll_is_answered_at_once(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a", "silent_unless_asked"))
    await asyncio.wait_for(crew.ready(), 20)
    assert crew.heartbeats == {}
    crew.poll()
    await until(lambda: crew.heartbeats)
    assert crew.heartbeats["a"].sessions == 1
    crew.kill()
    await ended(crew)


def helper(table: str = "t", **more: Any) -> Spec:
    config = KnockdConfig(bytes(32), bytes(32), 1, 1, 30, table, "s", 60, "/nonexistent")
    return Spec("knockd", "hyp-knockd", "tests.helpers.fake_helper", config, kind=KNOCKD, **more)


async def test_what_is_amended_holds_from_the_next_start_on(launcher: Launcher, logged: Logged) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a", "obedient"))
    crew.add(helper(heard=heard.put_nowait))
    crew.amend(spec("b", "obedient"))  # nobody of that name is in
    await asyncio.wait_for(crew.ready(), 20)
    ready = await heard.get()
    assert isinstance(ready, Ready)
    crew.amend(helper("refused", heard=heard.put_nowait))
    crew.tell_helper("knockd", Revoke("still there"))
    while await asyncio.wait_for(heard.get(), 20) != Admitted("still there", 0):
        pass
    os.kill(ready.pid, signal.SIGKILL)
    assert await asyncio.wait_for(heard.get(), 20) == Fault("it may not", 77)
    crew.kill()
    await ended(crew)


async def test_a_helper_is_heard_told_and_started_again(launcher: Launcher, logged: Logged) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    ends = asyncio.Event()
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("knockd"))  # a worker may have that name
    crew.add(helper(heard=heard.put_nowait, ended=ends.set))
    await asyncio.wait_for(crew.ready(), 20)
    assert (crew.names, crew.helpers) == (["knockd"], ["knockd"])
    ready = await heard.get()
    assert isinstance(ready, Ready)
    assert isinstance(await heard.get(), Admitted)
    crew.tell_helper("knockd", Revoke("192.0.2.1"))
    assert await asyncio.wait_for(heard.get(), 20) == Admitted("192.0.2.1", 0)
    assert not ends.is_set()
    os.kill(ready.pid, signal.SIGKILL)
    await asyncio.wait_for(ends.wait(), 20)
    crew.tell_helper("knockd", Revoke("192.0.2.1"))  # nobody to tell right now
    crew.tell_helper("nobody", Revoke("192.0.2.1"))
    again = await asyncio.wait_for(heard.get(), 20)
    assert isinstance(again, Ready)
    assert again.pid != ready.pid
    crew.leave(Drain(20.0))
    await ended(crew)
    assert crew.helpers == []


async def test_helpers_stay_until_the_last_worker_has_left(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a", "busy"))
    crew.add(helper())
    await asyncio.wait_for(crew.ready(), 20)
    crew.leave(Drain(3600.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(crew.gone(), 0.3)
    assert crew.helpers == ["knockd"]
    crew.leave(Stop())
    await ended(crew)
    assert [line for line in logged if line[0] == "HYP4004I"] == [("HYP4004I", "exit code 0")] * 2


@pytest.mark.parametrize(
    ("table", "reason"), [("refused", "knockd cannot start: it may not"), ("early", "knockd cannot start: it sent")]
)
async def test_a_helper_that_cannot_start_fails_the_crew(
    launcher: Launcher, logged: Logged, table: str, reason: str
) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a"))
    crew.add(helper(table))
    with pytest.raises(ChildError, match=reason):
        await asyncio.wait_for(asyncio.shield(crew.failed), 20)
    crew.kill()
    await ended(crew)


async def test_a_helper_that_a_reload_brought_is_not_given_up(launcher: Launcher, logged: Logged) -> None:
    """Whatever keeps it from starting may pass: memory, descriptors. Nobody else opens the gate."""
    lives = asyncio.Semaphore(0)
    heard: asyncio.Queue[Message] = asyncio.Queue()
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a"))
    crew.add(helper())
    await asyncio.wait_for(crew.ready(), 20)
    await crew.replace_helper(helper("stillborn", ended=lives.release))
    for _ in range(MAX_BOOT_ATTEMPTS):
        await asyncio.wait_for(lives.acquire(), 10)
    crew.amend(helper("good", heard=heard.put_nowait))
    assert isinstance(await asyncio.wait_for(heard.get(), 10), Ready)
    crew.kill()
    await ended(crew)


async def test_a_helper_that_crashes_again_and_again_is_back_soon_each_time(launcher: Launcher, logged: Logged) -> None:
    lives = asyncio.Semaphore(0)
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(helper("crash", ended=lives.release))
    for _ in range(7):  # a worker would wait 6.4 s before the last
        await asyncio.wait_for(lives.acquire(), 5)
    crew.kill()
    await ended(crew)


async def test_facts_of_a_life_and_of_the_next(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("a"))
    assert crew.facts("a").state == "starting"
    assert crew.ready_names == []
    await asyncio.wait_for(crew.ready(), 20)
    assert crew.ready_names == ["a"]
    first = crew.facts("a")
    assert (first.state, first.restarts, first.reason) == ("up", 0, None)
    assert first.pid is not None
    assert first.started_at is not None
    assert first.heard_s is not None
    os.kill(first.pid, signal.SIGSEGV)
    await until(lambda: crew.facts("a").state == "restarting")
    assert crew.facts("a").started_at is None
    await until(lambda: crew.facts("a").state == "up")
    second = crew.facts("a")
    assert (second.restarts, second.reason) == (1, "SIGSEGV")
    assert second.pid != first.pid
    crew.kill()
    await ended(crew)


async def test_one_that_was_given_up_is_not_forgotten(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("good"))
    crew.add(spec("bad", "gives_up_once_ready"))
    await until(lambda: "bad" not in crew.names)
    assert (crew.facts("bad").state, crew.facts("bad").reason) == ("failed", "exit code 78")
    crew.add(spec("bad"))
    assert crew.facts("bad").state == "starting"
    crew.kill()
    await ended(crew)


async def test_what_a_worker_learned_of_the_clock_is_told_to_its_successor(launcher: Launcher, logged: Logged) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    config = ClientWorkerConfig(
        "a", "192.0.2.1", 1, bytes(32), bytes(32), bytes(32), 1, (), LogSettings(), knock=KnockOrder(bytes(32), 1)
    )
    crew.add(replace(spec("a"), config=config))
    member = crew._members["a"]
    crew._heard(member, TunnelState(up=1, size=1, reason=None, round_trip=None, skew_ms=-7_000))
    assert isinstance(member.spec.config, ClientWorkerConfig)
    assert member.spec.config.knock == KnockOrder(bytes(32), 1, -7_000)
    crew.kill()
    await ended(crew)
