import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperion.supervisor import process
from hyperion.supervisor.process import ChildProcess, Launcher
from tests.helpers.unwatched import refuse_to_watch

ENTRIES = "tests.helpers.fake_worker"


def launch(launcher: Launcher, entry: str) -> tuple[ChildProcess, socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        return launcher.launch(f"{ENTRIES}:{entry}", "hyp-test", theirs, []), ours


def children_of(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()))


@pytest.mark.both_loops
async def test_the_exit_code_is_noticed(launcher: Launcher) -> None:
    child, ours = launch(launcher, "crashes")
    assert await asyncio.wait_for(child.wait(), 20) == 3
    child.close()
    ours.close()


def test_a_child_reads_no_module_from_disk_on_its_way(launcher: Launcher) -> None:
    child, ours = launch(launcher, "reads_nothing")
    ours.settimeout(20)
    assert ours.recv(4096) == b"new: []"
    child.close()
    ours.close()


@pytest.mark.both_loops
async def test_a_kill_is_a_negative_exit_code_and_may_come_late(launcher: Launcher) -> None:
    child, ours = launch(launcher, "never_ready")
    waiting = asyncio.create_task(child.wait())
    await asyncio.sleep(0)
    child.kill()
    assert await asyncio.wait_for(waiting, 20) == -signal.SIGKILL
    child.kill()
    child.close()
    ours.close()


async def test_waiting_can_be_given_up_and_taken_up_again(launcher: Launcher) -> None:
    child, ours = launch(launcher, "never_ready")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.wait(), 0.01)
    child.kill()
    assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGKILL
    child.close()
    ours.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
async def test_one_that_cannot_be_watched_does_not_stay(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = refuse_to_watch(monkeypatch)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="Too many open files"):
        launcher.launch(f"{ENTRIES}:never_ready", "hyp-test", theirs, [])
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.both_loops
async def test_one_that_ends_at_once_has_an_exit_code(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it may be gone before its starter goes on."""
    real = os.pidfd_open

    def late(pid: int) -> int:
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return real(pid)

    monkeypatch.setattr(os, "pidfd_open", late)
    child, ours = launch(launcher, "crashes")
    child.kill()
    assert await asyncio.wait_for(child.wait(), 20) == 3
    child.close()
    ours.close()


async def test_closing_ends_a_child(launcher: Launcher) -> None:
    child, ours = launch(launcher, "never_ready")
    child.close()
    with ours:
        ours.settimeout(20)
        assert ours.recv(1) == b""


async def test_without_the_fork_server_the_exit_code_is_unknown_but_a_kill_works(launcher: Launcher) -> None:
    child, ours = launch(launcher, "never_ready")
    fork_server = int(Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    os.kill(fork_server, signal.SIGKILL)
    assert await asyncio.wait_for(child.wait(), 20) is None
    pidfd = os.pidfd_open(child.pid)
    child.close()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    await asyncio.wait_for(ended.wait(), 20)
    loop.remove_reader(pidfd)
    os.close(pidfd)
    ours.close()
    second, ours = launch(launcher, "crashes")  # from a new fork server
    assert await asyncio.wait_for(second.wait(), 20) == 3
    second.close()
    ours.close()


async def test_where_the_loop_cannot_watch_a_thread_does(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""

    def missing(*_: object) -> None:
        raise NotImplementedError

    child, ours = launch(launcher, "crashes")
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", missing)
    assert await asyncio.wait_for(child.wait(), 20) == 3
    child.close()
    ours.close()


def test_stopping_leaves_no_process() -> None:
    before = children_of(os.getpid())
    made = Launcher("tests.helpers.fake_preload")
    made.start()
    assert len(children_of(os.getpid()) - before) == 2
    made.stop()
    made.stop()
    assert children_of(os.getpid()) == before


def test_stopping_after_the_helpers_were_killed() -> None:
    before = children_of(os.getpid())
    made = Launcher("tests.helpers.fake_preload")
    made.start()
    for pid in children_of(os.getpid()) - before:
        os.kill(pid, signal.SIGKILL)
    made.stop()
    assert children_of(os.getpid()) == before


def test_the_fork_server_is_born_deaf_and_the_parent_stays_hearing() -> None:
    before = children_of(os.getpid())
    made = Launcher("tests.helpers.fake_preload")
    made.start()
    masks = []
    for pid in children_of(os.getpid()) - before:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        )
        masks.append(int(status["SigBlk"], 16))
    made.stop()
    held = sum(1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    assert held in [mask & held for mask in masks]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def test_the_main_module_is_hidden_only_for_the_moment() -> None:
    real = sys.modules["__main__"]
    with process._no_main_module():
        assert sys.modules["__main__"] is not real
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is real


@pytest.mark.parametrize("action", [Launcher.start, Launcher.stop])
def test_where_there_is_no_fork_server_none_is_started(
    action: Callable[[Launcher], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows."""
    before = children_of(os.getpid())
    monkeypatch.setattr(process, "FORK_SERVER", False)
    action(Launcher("tests.helpers.fake_preload"))
    assert children_of(os.getpid()) == before


async def test_spawned_children_work_too(monkeypatch: pytest.MonkeyPatch, launcher: Launcher) -> None:
    """What Windows does instead: a fresh interpreter for each child."""
    monkeypatch.setattr(process, "FORK_SERVER", False)
    child, ours = launch(Launcher("tests.helpers.fake_preload"), "crashes")
    assert await asyncio.wait_for(child.wait(), 20) == 3
    child.close()
    ours.close()
