import asyncio
import os
import signal

import pytest

from hyperion.errors import ChildError
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import Drain, LogSettings, ServerPolicy, ServerWorkerConfig, Stop
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.restart import MAX_RESTARTS
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
