"""One place in the crew, filled by real processes."""

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable

import pytest

from hyperion.errors import ChildError
from hyperion.proto.admins import Roster
from hyperion.proto.control import (
    Drain,
    Heartbeat,
    LogSettings,
    Message,
    Ready,
    ServerWorkerConfig,
    Stop,
)
from hyperion.supervisor.kind import WORKER, Kind
from hyperion.supervisor.member import Member
from hyperion.supervisor.process import ChildProcess, Launcher
from hyperion.supervisor.restart import RestartBudget, RestartPolicy
from hyperion.supervisor.spec import Spec, Timing
from tests.helpers.rig import until

Logged = list[tuple[str, str | None]]
CONFIG = ServerWorkerConfig("0", b"s" * 32, b"p" * 32, Roster(), 3.0, "here", LogSettings())
pytestmark = pytest.mark.both_loops


class Place:
    """A member, and what it reported."""

    def __init__(
        self,
        launcher: Launcher,
        entry: str,
        timing: Timing | None = None,
        kind: Kind = WORKER,
        ended: Callable[[], None] | None = None,
    ) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        spec = Spec("0", "hyp-worker-0", f"tests.helpers.fake_worker:{entry}", CONFIG, (), kind, ended=ended)
        policy = RestartPolicy(RestartBudget())
        self.member = Member(
            spec, launcher, policy, timing or Timing(), lambda _, message: self.heard.put_nowait(message)
        )
        self.task = asyncio.create_task(self.member.run())

    def _hear(self, _member: Member, message: Message) -> None:
        self.heard.put_nowait(message)

    async def ready(self) -> int:
        while True:
            message = await asyncio.wait_for(self.heard.get(), 20)
            if isinstance(message, Ready):
                return message.pid


@pytest.mark.parametrize("order", [Drain(20.0), Stop()])
async def test_an_order_ends_it(launcher: Launcher, logged: Logged, order: Drain | Stop) -> None:
    place = Place(launcher, "obedient")
    await place.ready()
    assert place.member.ready.is_set()
    assert isinstance(await asyncio.wait_for(place.heard.get(), 20), Heartbeat)
    place.member.leave(order)
    await asyncio.wait_for(place.task, 20)
    assert not place.member.ready.is_set()
    assert logged == [("HYP4001I", None), ("HYP4004I", "exit code 0")]


async def test_orders_given_before_the_child_is_there(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "obedient")
    place.member.leave(Stop())
    await asyncio.wait_for(place.task, 20)
    assert logged == []  # it was never started


@pytest.mark.parametrize("kill", [True, False])
async def test_orders_given_while_the_child_is_being_started(launcher: Launcher, logged: Logged, kill: bool) -> None:
    place = Place(launcher, "obedient")
    await asyncio.sleep(0)  # forked, but its channel is not open yet
    if kill:
        place.member.kill()
    else:
        place.member.leave(Stop())
    await asyncio.wait_for(place.task, 20)
    assert logged[-1] == ("HYP4004I", "killed: perhaps out of memory" if kill else "exit code 0")


async def test_a_crash_is_followed_by_a_successor(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "obedient")
    first = await place.ready()
    os.kill(first, signal.SIGKILL)
    second = await place.ready()
    assert first != second
    assert ("HYP4002E", "killed: perhaps out of memory") in logged
    place.member.kill()
    await asyncio.wait_for(place.task, 20)


async def test_leaving_does_not_wait_for_the_next_start(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "crashes_once_ready")
    for _ in range(4):
        await place.ready()
    while logged[-1] != ("HYP4002E", "SIGSEGV"):
        await asyncio.sleep(0.01)
    place.member.leave(Drain(20.0))
    await asyncio.wait_for(place.task, 0.5)


async def test_patience_ends(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "stubborn", Timing(grace=0.1))
    await place.ready()
    place.member.leave(Drain(0.1))
    await asyncio.wait_for(place.task, 20)
    assert logged[-1] == ("HYP4004I", "killed: perhaps out of memory")


async def test_a_second_order_has_its_own_time(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "stubborn", Timing(grace=0.1))
    await place.ready()
    place.member.leave(Drain(3600.0))
    place.member.leave(Stop())
    await asyncio.wait_for(place.task, 20)


async def test_what_never_starts_is_an_error_with_its_reason(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "wrong_configuration")
    with pytest.raises(ChildError, match="worker 0 cannot start: the listener is unusable") as caught:
        await asyncio.wait_for(place.task, 20)
    assert caught.value.hint == "given up because its configuration cannot work"


async def test_freshness(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "stuck", Timing(freshness=0.1))
    assert place.member.is_fresh(), "nobody to be heard of yet"
    await place.ready()
    assert place.member.is_fresh()
    await asyncio.sleep(0.15)
    assert not place.member.is_fresh()
    place.member.kill()
    await asyncio.wait_for(place.task, 20)
    assert place.member.is_fresh()


async def test_a_fork_server_that_cannot_be_reached_is_a_failed_start(
    launcher: Launcher, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(launcher, "launch", refuse)
    place = Place(launcher, "obedient")
    with pytest.raises(ChildError, match="Too many open files"):
        await asyncio.wait_for(place.task, 20)
    assert len(logged) == 5


async def test_the_silence_of_its_kind_counts_once_it_is_ready(launcher: Launcher, logged: Logged) -> None:
    # No start takes so little time: it would end there.
    kind = dataclasses.replace(WORKER, silence=0.001)
    place = Place(launcher, "stuck", kind=kind)
    await place.ready()
    await until(lambda: ("HYP4002E", "it was silent for 1.001 s") in logged)
    place.member.kill()
    await asyncio.wait_for(place.task, 20)


async def test_the_time_in_which_we_were_stopped_is_not_the_child_s_silence(launcher: Launcher, logged: Logged) -> None:
    place = Place(launcher, "obedient", kind=dataclasses.replace(WORKER, silence=1.0))
    await place.ready()
    await asyncio.wait_for(place.heard.get(), 20)
    time.sleep(2 * 1.0)  # noqa: ASYNC251 (just this: the loop stands still)
    while not place.heard.empty():
        place.heard.get_nowait()
    assert isinstance(await asyncio.wait_for(place.heard.get(), 20), Heartbeat)
    assert logged == [("HYP4001I", None)]
    place.member.kill()
    await asyncio.wait_for(place.task, 20)


@pytest.mark.parametrize("late", [False, True])
async def test_one_that_hangs_is_found_out_also_by_a_supervisor_that_is_always_late(
    launcher: Launcher, logged: Logged, late: bool
) -> None:
    place = Place(launcher, "stuck", kind=dataclasses.replace(WORKER, silence=0.2))
    await place.ready()

    async def lag() -> None:
        while True:
            time.sleep(0.6)  # noqa: ASYNC251 (just this: the loop stands still)
            await asyncio.sleep(0.01)

    lagging = asyncio.create_task(lag() if late else asyncio.sleep(0))
    began = time.monotonic()
    await until(lambda: ("HYP4002E", "it was silent for 1.2 s") in logged)
    assert time.monotonic() - began < 1.2 + 2 * 0.7 + 1.0
    lagging.cancel()
    place.member.kill()
    await asyncio.wait_for(place.task, 20)


async def test_who_relies_on_it_hears_of_the_silence_before_the_process_has_ended(
    launcher: Launcher, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs in a call of the kernel does not even end by SIGKILL."""
    ended = asyncio.Event()
    place = Place(launcher, "stuck", kind=dataclasses.replace(WORKER, silence=0.05), ended=ended.set)
    monkeypatch.setattr(ChildProcess, "kill", lambda _self: None)
    await place.ready()
    await asyncio.wait_for(ended.wait(), 20)
    assert not place.member.ready.is_set()
    assert "HYP4002E" not in [code for code, _ in logged]
    monkeypatch.undo()
    place.member.kill()
    await asyncio.wait_for(place.task, 20)
