"""A worker process seen from its control channel; the process itself is this one, in a task."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hyperion import log
from hyperion.channel import Channel, open_supervisor_end
from hyperion.proto.admins import Roster
from hyperion.proto.control import Drain, Heartbeat, Message, Ready, ServerPolicy, Stop, WorkerToSupervisor
from hyperion.worker import main
from tests.helpers.rig import Rig, listen

pytestmark = pytest.mark.both_loops

Control = Channel[WorkerToSupervisor]


@contextlib.asynccontextmanager
async def process(config: Message | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Control, list[int]]]:
    """``main`` at work; gives the supervisor's end and the exit code once there is one."""
    monkeypatch.setattr(log, "configure", lambda *_, **__: None)
    ours, theirs = socket.socketpair()
    control = await open_supervisor_end(ours)
    if config is not None:
        control.send(config)
    codes: list[int] = []
    listener = listen()

    async def run() -> None:
        codes.append(await main._serve(theirs, [listener], "test"))

    task = asyncio.create_task(run())
    try:
        yield control, codes
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        control.close()
        listener.close()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def server_config() -> Message:
    rig = Rig()
    rig.server_listener.close()
    return rig.server_config(3.0)


async def next_message(control: Control) -> WorkerToSupervisor | None:
    async with asyncio.timeout(10):
        return await control.receive()


async def say(message: Message, control: Control) -> None:
    control.send(message)


async def hang_up(_: Message, control: Control) -> None:
    control.close()


@pytest.mark.parametrize(
    ("order", "how", "code"),
    [
        (Stop(), say, 0),
        (Drain(5.0), say, 0),
        (Stop(), hang_up, 0),  # the supervisor is gone
        (server_config(), say, 70),  # not its turn
    ],
)
async def test_how_a_worker_ends(
    order: Message, how: Callable[[Message, Control], Awaitable[None]], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(server_config(), monkeypatch) as (control, codes):
        assert isinstance(await next_message(control), Ready)
        await how(order, control)
    assert codes == [code]


async def test_without_a_configuration_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async with process(None, monkeypatch) as (control, codes):
        control.close()
    assert codes == [0]


async def test_the_first_message_must_be_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async with process(ServerPolicy(Roster(), 1.0), monkeypatch) as (_, codes):
        pass
    assert codes == [70]


async def test_it_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "PULSE_SECONDS", 0.02)
    async with process(server_config(), monkeypatch) as (control, _):
        assert isinstance(await next_message(control), Ready)
        for _ in range(3):
            assert isinstance(await next_message(control), Heartbeat)
        control.send(Stop())


async def test_sigterm_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    async with process(server_config(), monkeypatch) as (control, codes):
        assert isinstance(await next_message(control), Ready)
        signal.raise_signal(signal.SIGTERM)
    assert codes == [0]


async def test_it_serves_where_the_loop_knows_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise NotImplementedError

    with monkeypatch.context() as patch:
        loop = asyncio.get_running_loop()
        if not type(loop).__module__.startswith("uvloop"):  # a type of C that cannot be patched
            patch.setattr(loop, "add_signal_handler", unknown)
        async with process(server_config(), monkeypatch) as (control, codes):
            assert isinstance(await next_message(control), Ready)
            control.send(Stop())
    assert codes == [0]
