"""The state in which an entry finds its process: looked at from inside a real child."""

import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hyperion import privileges
from hyperion.supervisor import child
from hyperion.supervisor.process import Launcher


def report(channel: socket.socket, listeners: list[socket.socket]) -> None:
    """Entry of the child."""
    facts = {
        "name": Path("/proc/self/comm").read_text(encoding="utf-8").strip(),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "hangup": signal.getsignal(signal.SIGHUP) is signal.SIG_IGN,
        "terminate": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "listening": [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in listeners],
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "alive": getattr(forkserver, "_forkserver")._forkserver_alive_fd,  # noqa: B009
        "pytest": "pytest" in sys.modules,
    }
    channel.sendall(msgspec.json.encode(facts))
    channel.close()


async def test_what_an_entry_finds(launcher: Launcher) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        process = launcher.launch(f"{__name__}:report", "hyp-report", theirs, [listener, listener])
        theirs.close()
        ours.settimeout(20)
        facts: dict[str, Any] = msgspec.json.decode(ours.makefile("rb").read())
        assert await process.wait() == 0
        process.close()
    assert facts == {
        "name": "hyp-report",
        "interrupt": True,
        "hangup": True,
        "terminate": True,
        "blocked": [],
        "listening": [1, 1],
        "main": None,
        "alive": None,
        "pytest": True,  # this module imports it; the fork server and the fake workers do not
    }


class Parent:
    def __init__(self, alive: bool) -> None:
        self.alive = alive

    def is_alive(self) -> bool:
        return self.alive


def test_an_orphan_ends_at_the_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Parent(True)
    alarms: list[int] = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: supervisor)
    monkeypatch.setattr(signal, "alarm", alarms.append)
    monkeypatch.setattr(os, "_exit", sys.exit)
    handler = child._Orphan()
    for _ in range(3):  # the fork server was killed alone
        handler(signal.SIGALRM, None)
    supervisor.alive = False
    handler(signal.SIGALRM, None)
    assert alarms == [child.ORPHAN_GRACE] * 4
    with pytest.raises(SystemExit) as caught:
        handler(signal.SIGALRM, None)
    assert caught.value.code == child.EXIT_STUCK


def test_elsewhere_than_on_linux_nobody_watches_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(privileges, "signal_on_parent_death", calls.append)
    monkeypatch.setattr(sys, "platform", "darwin")
    child._end_with_supervisor()
    assert calls == []
