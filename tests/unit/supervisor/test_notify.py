"""Against a service manager made of one datagram socket."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.supervisor.notify import MAX_STATUS_CHARS, Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    made = Notifier(manager.getsockname(), 0.02)
    yield made
    made.close()


def test_what_is_said(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("2 workers")
    notifier.status("line\nbreak\x00")
    notifier.stopping()
    heard = [manager.recv(4096) for _ in range(3)]
    assert heard == [b"READY=1\nSTATUS=2 workers", b"STATUS=line break ", b"STOPPING=1"]


def test_a_reload_carries_the_time_of_the_kernels_clock(manager: socket.socket, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = manager.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_long_status_is_cut(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("x" * 10_000)
    assert len(manager.recv(65536)) == len("STATUS=") + MAX_STATUS_CHARS


async def test_the_watchdog_barks_only_while_alive(manager: socket.socket, notifier: Notifier) -> None:
    manager.setblocking(False)
    answers = iter([True, False, True])
    asked = asyncio.Event()

    def alive() -> bool:
        answer = next(answers, None)
        if answer is None:
            asked.set()
        return bool(answer)

    task = asyncio.create_task(notifier.watchdog(alive))
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    assert [manager.recv(100), manager.recv(100)] == [b"WATCHDOG=1"] * 2
    with pytest.raises(BlockingIOError):
        manager.recv(100)


async def test_without_a_period_there_is_no_watchdog(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    await asyncio.wait_for(notifier.watchdog(lambda: True), 5)
    notifier.close()


def test_an_abstract_address() -> None:
    name = f"hyperion-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        notifier = Notifier("@" + name)
        notifier.stopping()
        notifier.close()
        assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_is_gone_or_busy_is_no_error(manager: socket.socket, notifier: Notifier) -> None:
    for _ in range(5000):
        notifier.status("x" * 200)
    os.unlink(manager.getsockname())
    notifier.stopping()


@pytest.mark.parametrize(
    ("environ", "talks", "period"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "@"}, False, None),
        ({"NOTIFY_SOCKET": "relative"}, False, None),
        ({"NOTIFY_SOCKET": "/run/x"}, True, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}, True, 30.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, True, 30.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "-5"}, True, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, True, None),
    ],
)
def test_the_environment_is_read_and_cleared(environ: dict[str, str], talks: bool, period: float | None) -> None:
    environ["PATH"] = "/bin"
    notifier = Notifier.from_environment(environ)
    assert environ == {"PATH": "/bin"}
    assert (notifier._socket is not None) is talks
    assert notifier.watchdog_seconds == period
    notifier.close()
