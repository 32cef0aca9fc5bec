"""What an operator may ask of a running program, with a real crew of fake workers behind it."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hyperion.errors import CannotCreateError, ConfigError, TemporaryError
from hyperion.proto.operator import (
    Answer,
    Done,
    Refused,
    ReloadRequest,
    Request,
    ServerAnswer,
    ServerStatus,
    StatusRequest,
    StopRequest,
)
from hyperion.running import ask, holder
from hyperion.supervisor import desk as module
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.desk import END_SECONDS, Desk, DeskPlace, closing, polled, served
from hyperion.supervisor.notify import Notifier
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.residence import AlreadyRunningError, Residence
from hyperion.supervisor.service import Callbacks, Service
from hyperion.supervisor.signals import Order
from hyperion.supervisor.spec import Timing
from tests.unit.supervisor.test_crew import spec

Logged = list[tuple[str, str | None]]


async def fine() -> None: ...


@contextlib.asynccontextmanager
async def running(
    launcher: Launcher,
    directory: Path,
    reload: Callable[[], Coroutine[Any, Any, None]] = fine,
    entry: str = "obedient",
) -> AsyncIterator[tuple[Service, "asyncio.Task[int]"]]:
    desk = Desk.open(DeskPlace(directory, required=True), "x", directory)
    with closing(desk):
        queue: asyncio.Queue[Order] = asyncio.Queue()
        crew = Crew(launcher, Timing(), lambda: None)
        crew.add(spec("0", entry))
        service = Service(crew, queue, Notifier(None), Callbacks(dict, reload, str), 7.0)

        def status(service: Service) -> Answer:
            beat = crew.heartbeats.get("0")
            return ServerAnswer(ServerStatus(state=service.phase, sessions_open=0 if beat is None else beat.sessions))

        async with served(desk, service, crew, status):
            task = asyncio.create_task(service.run())
            yield service, task
            service.order(Order.STOP)
            await asyncio.wait_for(task, 20)


async def asked(directory: Path, request: Request) -> Answer:
    return await asyncio.to_thread(ask, directory, request, 20.0)


async def until_up(directory: Path) -> ServerStatus:
    while True:
        answer = await asked(directory, StatusRequest())
        assert isinstance(answer, ServerAnswer)
        if answer.status.state == "up":
            return answer.status
        await asyncio.sleep(0.01)


async def test_a_status_is_of_this_moment(launcher: Launcher, logged: Logged, tmp_path: Path) -> None:
    async with running(launcher, tmp_path, entry="silent_unless_asked"):
        status = await until_up(tmp_path)
        assert status.sessions_open == 1  # nobody would have said so unasked


async def test_a_stuck_child_holds_up_a_status_only_for_a_moment(
    launcher: Launcher, logged: Logged, tmp_path: Path
) -> None:
    crew = Crew(launcher, Timing(), lambda: None)
    crew.add(spec("0", "stuck"))
    await asyncio.wait_for(crew.ready(), 20)
    before = time.monotonic()
    await polled(crew)
    assert module.POLL_SECONDS <= time.monotonic() - before < 5
    crew.kill()
    await asyncio.wait_for(crew.gone(), 20)


async def test_a_reload_is_answered_when_it_is_done(launcher: Launcher, logged: Logged, tmp_path: Path) -> None:
    finish, begun = asyncio.Event(), asyncio.Event()

    async def reload() -> None:
        begun.set()
        await finish.wait()

    async with running(launcher, tmp_path, reload):
        await until_up(tmp_path)
        answer = asyncio.create_task(asked(tmp_path, ReloadRequest()))
        await asyncio.wait_for(begun.wait(), 20)
        assert not answer.done()
        finish.set()
        assert await answer == Done()


async def test_a_refused_reload_says_why(launcher: Launcher, logged: Logged, tmp_path: Path) -> None:
    errors: list[Exception] = [ConfigError("bad file", hint="mend it"), ZeroDivisionError()]

    async def reload() -> None:
        raise errors.pop(0)

    async with running(launcher, tmp_path, reload):
        await until_up(tmp_path)
        assert await asked(tmp_path, ReloadRequest()) == Refused("bad file", "mend it", 78)
        assert await asked(tmp_path, ReloadRequest()) == Refused("internal error: ZeroDivisionError", "see its log", 70)
        assert ("HYP5002E", None) in logged  # the why is in error.message


@pytest.mark.parametrize(("now", "patience"), [(False, END_SECONDS + 7.0), (True, END_SECONDS)])
async def test_an_order_to_stop(launcher: Launcher, logged: Logged, tmp_path: Path, now: bool, patience: float) -> None:
    async with running(launcher, tmp_path) as (service, task):
        await until_up(tmp_path)
        assert await asked(tmp_path, StopRequest(now=now)) == Done(patience=patience)
        await asyncio.wait_for(asyncio.shield(task), 20)
        assert service.phase == "draining"
        with pytest.raises(TemporaryError, match="it is ending"):
            await service.reload()
    assert holder(tmp_path) is None


async def test_who_waits_for_a_reload_that_never_comes_is_told(
    launcher: Launcher, logged: Logged, tmp_path: Path
) -> None:
    async with running(launcher, tmp_path) as (service, _):
        await until_up(tmp_path)
        service.order(Order.DRAIN)
        with pytest.raises(TemporaryError, match="it is ending"):
            await asyncio.wait_for(service.reload(), 20)


def test_a_second_one_with_the_same_configuration(logged: Logged, tmp_path: Path) -> None:
    first = Residence.enter(tmp_path, "x")
    with pytest.raises(AlreadyRunningError):
        Desk.open(DeskPlace(tmp_path, required=True), "x", tmp_path)
    assert Desk.open(DeskPlace(tmp_path), "x", tmp_path) is None
    assert logged == [("HYP5004W", None)]
    assert holder(tmp_path) == os.getpid()
    first.leave()


def test_a_socket_that_cannot_be_had(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(CannotCreateError, match="cannot be listened on"):
        Desk.open(DeskPlace(tmp_path, required=True), "x", tmp_path)
    assert holder(tmp_path) is None


async def test_no_desk(launcher: Launcher) -> None:
    assert Desk.open(None, "x", Path("/")) is None
    with closing(None) as nothing:
        assert nothing is None
