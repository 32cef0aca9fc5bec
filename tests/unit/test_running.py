"""Whether a program runs, and how it is asked, seen from a command."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hyperion import running
from hyperion.errors import ConfigError, NotRunningError, RefusedError, TemporaryError
from hyperion.proto.operator import MAX_ANSWER_BYTES, Done, Refused, ReloadRequest, StatusRequest
from hyperion.running import (
    Running,
    ask,
    demand,
    find,
    holder,
    is_silent_stranger,
    stale_pid,
    terminate,
    wait_until_gone,
)
from hyperion.supervisor.residence import Residence
from tests.helpers.others import NOBODY, lock_held, open_way


@contextlib.contextmanager
def answering(directory: Path, *answers: bytes | None) -> Iterator[list[object]]:
    """A program that gives each caller the next answer; ``None``: hangs up at once. Gives what it was asked."""
    asked: list[object] = []
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(directory / running.SOCKET_FILE))
        sock.listen(8)

        def serve() -> None:
            for answer in answers:
                caller, _ = sock.accept()
                with caller:
                    if answer is not None:
                        (length,) = struct.unpack(">I", caller.recv(4))
                        asked.append(msgspec.msgpack.decode(caller.recv(length)))
                        caller.sendall(answer)
                        caller.recv(1)  # until it has read enough

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


def test_the_answer_is_what_the_program_says(tmp_path: Path) -> None:
    with answering(tmp_path, frame(Done(3.0)), frame(Refused("bad file", "look", 78))) as asked:
        assert ask(tmp_path, ReloadRequest()) == Done(3.0)
        with pytest.raises(ConfigError, match="bad file") as failure:
            demand(tmp_path, ReloadRequest())
    assert failure.value.hint == "look"
    assert asked == [{"t": "reload-request"}] * 2


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (None, TemporaryError, "hung up"),
        (b"", TemporaryError, "no answer within"),
        (b"\0\0", TemporaryError, "no answer within"),
        (struct.pack(">I", MAX_ANSWER_BYTES + 1), TemporaryError, "hung up"),
        (frame({"t": "new-kind"}), TemporaryError, "makes no sense"),
        (frame(StatusRequest()), TemporaryError, "makes no sense"),
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes | None, error: type[Exception], text: str) -> None:
    with answering(tmp_path, answer), pytest.raises(error, match=text):
        ask(tmp_path, StatusRequest(), timeout=0.3)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        ask(tmp_path, StatusRequest())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / running.SOCKET_FILE))  # what a dead program leaves
    with pytest.raises(NotRunningError):
        ask(tmp_path, StatusRequest())


def test_a_long_path_can_be_called(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 40] * 4)
    residence = Residence.enter(deep, "x")
    sock = residence.listen()
    sock.setblocking(True)

    def serve() -> None:
        caller, _ = sock.accept()
        with caller:
            caller.recv(100)
            caller.sendall(frame(Done()))

    thread = threading.Thread(target=serve)
    thread.start()
    assert ask(deep, StatusRequest()) == Done()
    thread.join(10)
    residence.leave()


def test_who_holds_the_lock_runs(tmp_path: Path) -> None:
    assert holder(tmp_path / "nowhere") is None
    residence = Residence.enter(tmp_path / "run", "x")
    assert holder(residence.directory) == os.getpid()
    assert not wait_until_gone(residence.directory, 0.05)
    residence.leave()
    assert holder(residence.directory) is None
    assert wait_until_gone(residence.directory, 0.05)


def test_a_number_without_a_lock_is_nobody(tmp_path: Path) -> None:
    """One hundred of one hundred times, whoever has that number now."""
    for _ in range(100):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
            (tmp_path / running.PID_FILE).write_text(f"{stranger.pid}\n")
            assert holder(tmp_path) is None
            assert stale_pid(tmp_path) == stranger.pid
            assert stranger.poll() is None
            stranger.communicate(b"\n")
            assert stranger.returncode == 0


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 40])
def test_no_number_in_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / running.PID_FILE).write_text(text)
    assert stale_pid(tmp_path) in (None, int("9" * 16))


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    monkeypatch.setattr(running, "system_runtime_directory", lambda *_: tmp_path / "system")
    assert find("server") is None
    residence = Residence.enter(tmp_path / "run" / "server", "x")
    assert find("server") == Running(residence.directory, os.getpid())
    assert find("client") is None
    residence.leave()
    assert find("server") is None


def test_another_user_looks_at_roots_daemon_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    monkeypatch.setattr(running, "system_runtime_directory", lambda *_: tmp_path / "system")
    monkeypatch.setattr(running, "is_root", lambda: False)
    residence = Residence.enter(tmp_path / "system", "x")
    assert find("server") == Running(residence.directory, os.getpid())
    residence.leave()
    assert find("server") is None

    def closed(directory: Path) -> int | None:
        if directory.name == "system":
            raise RefusedError("closed")
        return None

    monkeypatch.setattr(running, "holder", closed)
    with pytest.raises(RefusedError, match="of another user may be running"):
        find("server")


@pytest.mark.root
def test_a_closed_directory_is_told_apart_from_an_empty_one(tmp_path: Path) -> None:
    residence = Residence.enter(tmp_path / "run", "x")
    code = f"""
import os, sys
from pathlib import Path
from hyperion.errors import RefusedError
from hyperion.proto.operator import StatusRequest
from hyperion.running import ask, holder
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
directory = Path({str(residence.directory)!r})
for what in (lambda: holder(directory), lambda: ask(directory, StatusRequest())):
    try:
        what()
    except RefusedError:
        print("closed")
"""
    open_way(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "closed\nclosed\n", done.stderr
    residence.leave()


def test_only_the_holder_of_the_lock_is_signalled(tmp_path: Path) -> None:
    assert not terminate(tmp_path, signal.SIGTERM)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (tmp_path / running.PID_FILE).write_text(f"{stranger.pid}\n")
        assert not terminate(tmp_path, signal.SIGTERM)
        residence = Residence.enter(tmp_path, "x")
        received: list[int] = []
        before = signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
        assert terminate(tmp_path, signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, before)
        assert received == [signal.SIGUSR2]
        (tmp_path / running.PID_FILE).write_text("0")  # not known yet
        assert not terminate(tmp_path, signal.SIGTERM)
        residence.leave()
        assert stranger.poll() is None
        stranger.communicate(b"\n")


@pytest.mark.root
def test_another_user_who_holds_the_lock_names_only_own_processes(tmp_path: Path) -> None:
    """The directory may be left to the user that a program became: who can write any number there."""
    directory = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        for number in (stranger.pid, 1, os.getpid()):
            with lock_held(directory, number):
                assert holder(directory) == number
                assert not terminate(directory, signal.SIGTERM)
                assert not wait_until_gone(directory, 0.05)
        assert stranger.poll() is None
        stranger.communicate(b"\n")
        assert stranger.returncode == 0
    with lock_held(directory) as own:
        assert terminate(directory, signal.SIGTERM)
        assert own.wait(10) == -signal.SIGTERM


@pytest.mark.root
def test_a_lock_of_two_users_names_nobody(tmp_path: Path) -> None:
    """The directory was given to somebody else, or taken back, while the file stayed."""
    with lock_held(tmp_path / "run", os.getpid()):
        os.chown(tmp_path / "run", 0, 0)
        assert not terminate(tmp_path / "run", signal.SIGTERM)
    residence = Residence.enter(tmp_path / "mine", "x")
    os.chown(tmp_path / "mine", NOBODY, NOBODY)
    assert not terminate(tmp_path / "mine", signal.SIGTERM)
    residence.leave()


def test_whose_process_it_is() -> None:
    assert running._real_uid(2**22 + 1) is None
    assert running._real_uid(os.getpid()) == os.getuid()


@pytest.mark.root
def test_a_silent_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STRANGER_SECONDS", 0.2)
    directory = tmp_path / "run"
    assert not is_silent_stranger(directory)
    with lock_held(directory):
        assert is_silent_stranger(directory)
        with answering(directory, frame(Done())):
            assert not is_silent_stranger(directory)
        with socket.socket(socket.AF_UNIX) as sock:
            (directory / running.SOCKET_FILE).unlink()
            sock.bind(str(directory / running.SOCKET_FILE))
            sock.listen()  # it accepts, and says nothing
            assert is_silent_stranger(directory)
        monkeypatch.setattr(running, "is_root", lambda: False)
        assert not is_silent_stranger(directory)
    residence = Residence.enter(tmp_path / "mine", "x")
    assert not is_silent_stranger(residence.directory)
    residence.leave()
