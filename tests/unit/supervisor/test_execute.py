"""Real programs, executed."""

import asyncio
import json
import os
import signal
import socket
import sys

import msgspec
import pytest

from hyperion import capabilities
from hyperion.capabilities import NONE, Capability
from hyperion.channel import Channel
from hyperion.proto.control_knockd import Admitted, KnockdConfig, KnockdToSupervisor, Ready, Stop
from hyperion.supervisor.execute import ENVIRONMENT, ExecutedProcess, execute
from tests.helpers.unwatched import refuse_to_watch

pytestmark = [pytest.mark.both_loops, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

BOTH = frozenset({Capability.NET_ADMIN, Capability.NET_RAW})
CONFIG = KnockdConfig(bytes(32), bytes(32), 1, 1, 30, "t", "s", 60, "/nonexistent")


async def start(rights: frozenset[int] = NONE) -> tuple[ExecutedProcess, Channel[KnockdToSupervisor]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = execute("tests.helpers.fake_helper", theirs, rights)
    return process, await Channel.open(ours, msgspec.msgpack.Decoder(KnockdToSupervisor))


async def test_what_a_helper_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_PSK", "secret")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    monkeypatch.setenv("NO_COLOR", "1")
    process, channel = await start()
    channel.send(CONFIG)
    assert await asyncio.wait_for(channel.receive(), 20) == Ready(process.pid)
    found = await channel.receive()
    assert isinstance(found, Admitted)
    facts = json.loads(found.source)
    assert facts["descriptors"] == [0, 1, 2, 3]
    assert facts["stdin"] == "/dev/null"
    assert facts["environment"].pop("NO_COLOR") == "1"
    assert set(facts["environment"]) <= {*ENVIRONMENT}
    assert facts["path"] != os.getcwd(), "the current directory does not decide which code runs"
    assert facts["group"]
    assert facts["SigBlk"] == 0
    channel.send(Stop())
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await process.wait() == 0
    process.close()
    channel.abort()


@pytest.mark.root
async def test_its_rights_are_those_named_and_ours_are_as_before() -> None:
    """As root a program would get everything, so an ordinary user's child is looked at: tests/unit/test_privileges.py
    shows what that one is given. Here: nothing of ours changes."""
    before = capabilities.read()
    process, channel = await start(BOTH)
    assert capabilities.read() == before
    process.close()
    channel.abort()


async def test_a_kill_is_a_negative_exit_code_and_may_come_late() -> None:
    process, channel = await start()
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    process.kill()
    assert await asyncio.wait_for(waiting, 20) == -signal.SIGKILL
    process.kill()
    process.close()
    channel.abort()


async def test_closing_ends_it() -> None:
    process, channel = await start()
    process.close()
    assert await asyncio.wait_for(channel.receive(), 20) is None


async def test_one_that_cannot_be_watched_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = refuse_to_watch(monkeypatch)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="Too many open files"):
        execute("tests.helpers.fake_helper", theirs, NONE)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


async def test_what_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(FileNotFoundError):
        execute("tests.helpers.fake_helper", theirs, NONE)
