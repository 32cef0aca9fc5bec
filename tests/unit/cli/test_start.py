import errno
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from hyperion.cli import start as module
from hyperion.cli.launch import LaunchOrder
from hyperion.cli.start import MAX_PASSPHRASE_BYTES, Start, read_passphrase
from hyperion.config import Secrets
from hyperion.errors import BadKeyError, TemporaryError, UsageError
from hyperion.running import Running
from tests.unit.cli.test_launch import frame


def piped(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


@pytest.mark.parametrize("data", [b"correct horse", b"correct horse\n", b"correct horse\r\nmore\n"])
def test_the_first_line_is_the_passphrase(data: bytes) -> None:
    fd = piped(data)
    assert read_passphrase(fd) == "correct horse"
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_what_is_no_passphrase() -> None:
    with pytest.raises(BadKeyError, match="not UTF-8"):
        read_passphrase(piped(b"\xff\xfe"))
    with pytest.raises(BadKeyError, match="more than"):
        read_passphrase(piped(b"x" * (MAX_PASSPHRASE_BYTES + 1)))
    with pytest.raises(UsageError, match="no such open descriptor"):
        read_passphrase(999)


def test_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    start = Start("server", None, passphrase_fd=piped(b"correct horse\n"))
    assert start.secrets.passphrase("V", "?") == "correct horse"
    assert (start.runtime, start.desk.required, start.is_daemon) == (tmp_path / "run" / "server", False, False)
    assert Start("server", None, alone=True).desk.required
    restarted: list[tuple[Secrets, Path]] = []
    start.loaded(lambda *given: restarted.append(given))
    assert restarted == [(start.secrets, start.runtime)]
    start.loaded(None)
    with start.reporting():
        start.ready(["x"])  # nobody waits


@pytest.mark.parametrize("answers", [True, False])
def test_as_a_daemon_and_again_without_secrets(answers: bool) -> None:
    ours, theirs = socket.socketpair()
    exported = {"variables": {"V": "correct horse"}, "answers": {}}
    ours.sendall(frame(LaunchOrder(secrets=exported, runtime="/run/x", log_path="/l", answers=answers)))
    start = Start("client", Path("/c"), launch_fd=theirs.detach())
    assert start.secrets.passphrase("V", "?") == "correct horse"
    assert (start.runtime, start.log_path) == (Path("/run/x"), "/l")
    assert start.is_daemon == start.desk.required == answers
    with start.reporting():
        start.ready(["x"])
    ours.settimeout(10)
    assert bool(ours.recv(100)) == answers
    ours.close()


def test_one_that_replaces_another_ends_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stop(running: Running, _label: str, *, now: bool) -> None:
        asked.append((running, now))
        if not now:
            raise TemporaryError("it still runs")

    def start(replaces: Path | None) -> Start:
        ours, theirs = socket.socketpair()
        nobody = {"variables": {}, "answers": {}}  # type: dict[str, dict[str, str]]
        order = LaunchOrder(secrets=nobody, runtime="/run/x", replaces=None if replaces is None else str(replaces))
        with ours:
            ours.sendall(frame(order))
            return Start("server", Path("/c"), launch_fd=theirs.detach())

    monkeypatch.setattr(module, "stop", stop)
    monkeypatch.setattr(module, "holder", lambda directory: 17 if directory == tmp_path else None)
    Start("server", tmp_path / "c").make_room()  # by hand
    start(None).make_room()
    start(tmp_path / "gone").make_room()
    assert asked == []
    start(tmp_path).make_room()
    # Whoever ordered it may be cut off by now: it does not wait for ever.
    assert asked == [(Running(tmp_path, 17), False), (Running(tmp_path, 17), True)]


@pytest.mark.parametrize(("dies", "at_once", "asked"), [(True, False, [False, True]), (False, True, [True])])
def test_one_that_hangs_is_killed_by_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dies: bool, at_once: bool, asked: list[bool]
) -> None:
    """It was told to end, and would when it wakes: with nobody behind it."""
    heard = []

    def stop(*_: object, now: bool) -> None:
        heard.append(now)
        raise TemporaryError("it still runs")

    killed: list[tuple[Path, int]] = []

    def terminate(directory: Path, number: int) -> bool:
        killed.append((directory, number))
        return True

    monkeypatch.setattr(module, "stop", stop)
    monkeypatch.setattr(module, "holder", lambda _: 17)
    monkeypatch.setattr(module, "terminate", terminate)
    monkeypatch.setattr(module, "wait_until_gone", lambda *_: dies)
    nobody: dict[str, dict[str, str]] = {"variables": {}, "answers": {}}
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(frame(LaunchOrder(secrets=nobody, runtime="/run/x", replaces=str(tmp_path), at_once=at_once)))
        successor = Start("server", Path("/c"), launch_fd=theirs.detach())
    if dies:
        successor.make_room()
    else:
        with pytest.raises(TemporaryError, match="cannot be ended"):
            successor.make_room()
    assert (heard, killed) == (asked, [(tmp_path, signal.SIGKILL)])


@pytest.mark.parametrize(
    ("error", "code"), [(BadKeyError("no"), 65), (ZeroDivisionError(), 70), (OSError(errno.ENOSPC, "full"), 73)]
)
def test_the_log_of_a_daemon_has_its_end_as_one_object(
    error: Exception, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    nobody: dict[str, dict[str, str]] = {"variables": {}, "answers": {}}
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(frame(LaunchOrder(secrets=nobody, runtime="/run/x", log_path="/l")))
        start = Start("server", Path("/c"), launch_fd=theirs.detach())
        with pytest.raises(SystemExit) as ended, start.reporting():
            raise error
    assert ended.value.code == code
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    document = json.loads(line)
    assert (out, document["event"]["code"], document["process"]["exit_code"]) == ("", "HYP0004E", code)
    assert document["service"]["name"] == "hyperion-server"


def test_who_started_it_by_hand_reads_it_as_people_do() -> None:
    start = Start("server", Path("/c"))
    with pytest.raises(BadKeyError), start.reporting():
        raise BadKeyError("no")
