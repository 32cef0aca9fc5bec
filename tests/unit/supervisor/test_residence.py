"""The runtime directory: nobody else's, and one program at a time."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.errors import CannotCreateError
from hyperion.running import PID_FILE, SOCKET_FILE, holder, stale_pid
from hyperion.supervisor import residence as module
from hyperion.supervisor.residence import REPLAY_FILE, AlreadyRunningError, Residence, clean_up
from tests.helpers.others import NOBODY, lock_held, open_way


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_nobody_else_may_enter_and_nothing_is_left(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        residence = Residence.enter(tmp_path / "a" / "run", "x")
        residence.listen()
    finally:
        os.umask(before)
    directory = residence.directory
    assert mode(directory.parent) == 0o700
    assert mode(directory) == 0o700
    assert mode(directory / PID_FILE) == mode(directory / SOCKET_FILE) == 0o600
    assert (directory / PID_FILE).read_text() == f"{os.getpid()}\n"
    residence.leave()
    residence.leave()
    assert not directory.exists()


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    residence = Residence.enter(tmp_path, "x")
    assert mode(tmp_path) == 0o700
    residence.leave()


def test_a_full_disk_is_told_and_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with pytest.raises(CannotCreateError, match="cannot be used: no space left on device"):
            Residence.enter(tmp_path, "x")
    Residence.enter(tmp_path, "x").leave()


def test_the_second_is_told_who_is_first(tmp_path: Path) -> None:
    first = Residence.enter(tmp_path, "hyperion-server")
    with pytest.raises(AlreadyRunningError, match=rf"already running \(pid {os.getpid()}\)") as failure:
        Residence.enter(tmp_path, "hyperion-server")
    assert failure.value.pid == os.getpid()
    assert holder(tmp_path) == os.getpid()  # the first did not notice
    first.leave()
    Residence.enter(tmp_path, "hyperion-server").leave()


def test_whoever_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.001):
            holder(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            Residence.enter(tmp_path, "x").leave()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_of_many_that_start_at_once_one_stays(tmp_path: Path) -> None:
    """Also while the one before it is just leaving, and takes its files along."""
    for _ in range(20):
        old = Residence.enter(tmp_path / "run", "x")
        got: list[Residence] = []
        refused: list[int] = []

        def start(got: list[Residence] = got, refused: list[int] = refused) -> None:
            try:
                got.append(Residence.enter(tmp_path / "run", "x"))
            except AlreadyRunningError as error:
                refused.append(error.pid)
            except CannotCreateError:  # the directory went with the old one
                refused.append(0)

        threads = [threading.Thread(target=start) for _ in range(5)]
        for thread in threads:
            thread.start()
        old.leave()
        for thread in threads:
            thread.join()
        assert len(got) <= 1
        assert len(got) + len(refused) == 5
        for residence in got:
            assert holder(residence.directory) == os.getpid()
            residence.leave()


def test_what_a_dead_program_left_is_no_hindrance(tmp_path: Path) -> None:
    code = f"""
import errno
import fcntl
import os
from pathlib import Path
from hyperion.supervisor.residence import Residence
Residence.enter(Path({str(tmp_path)!r}), "x").listen()
os._exit(0)
"""
    dead = subprocess.Popen([sys.executable, "-c", code])
    assert dead.wait(30) == 0
    assert holder(tmp_path) is None
    assert stale_pid(tmp_path) == dead.pid
    residence = Residence.enter(tmp_path, "x")
    residence.listen()
    assert holder(tmp_path) == os.getpid()
    assert not clean_up(tmp_path)  # not while somebody lives there
    residence.leave()


def test_clean_up(tmp_path: Path) -> None:
    assert not clean_up(tmp_path)
    (tmp_path / PID_FILE).write_text("12345\n")
    assert clean_up(tmp_path)
    assert not tmp_path.exists()


def test_clean_up_leaves_alone_who_has_moved_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands clean up, and a program starts between the first look of the second one and its lock."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / PID_FILE).write_text("12345\n")
    flock, moved_in = fcntl.flock, list[Residence]()

    def slow(fd: int, operation: int) -> None:
        monkeypatch.undo()
        assert clean_up(tmp_path / "run")
        moved_in.append(Residence.enter(tmp_path / "run", "x"))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    assert not clean_up(tmp_path / "run")
    assert holder(tmp_path / "run") == os.getpid()
    moved_in[0].leave()


@pytest.mark.parametrize("kind", ["second name", "pipe"])
def test_what_is_no_file_of_ours_is_not_written_to(tmp_path: Path, kind: str) -> None:
    """Root starts where the service user may have laid something."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    if kind == "pipe":
        os.mkfifo(tmp_path / "run" / PID_FILE)
    else:
        os.link(victim, tmp_path / "run" / PID_FILE)
    with pytest.raises(CannotCreateError, match="not a plain file"):
        Residence.enter(tmp_path / "run", "x")
    assert victim.read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "target")
    with pytest.raises(CannotCreateError, match="cannot be used"):
        Residence.enter(tmp_path / "run", "x")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "target" / PID_FILE).symlink_to(victim)
    with pytest.raises(CannotCreateError, match="cannot be used"):
        Residence.enter(tmp_path / "target", "x")
    assert victim.read_text() == "precious"
    (tmp_path / "target" / PID_FILE).unlink()
    (tmp_path / "target" / SOCKET_FILE).symlink_to(victim)
    residence = Residence.enter(tmp_path / "target", "x")
    residence.listen()
    assert stat.S_ISSOCK((tmp_path / "target" / SOCKET_FILE).lstat().st_mode)
    assert victim.read_text() == "precious"
    residence.leave()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(CannotCreateError, match="cannot be used"):
        Residence.enter(tmp_path / "run", "x")
    (tmp_path / "home" / SOCKET_FILE).mkdir(parents=True)
    residence = Residence.enter(tmp_path / "home", "x")
    with pytest.raises(CannotCreateError, match="cannot be listened on"):
        residence.listen()
    residence.leave()


@pytest.mark.root
def test_it_is_given_to_the_user_that_we_become(tmp_path: Path) -> None:
    owner = (NOBODY, NOBODY)
    residence = Residence.enter(tmp_path / "run", "x", owner)
    residence.listen(owner)
    for path in (residence.directory, residence.directory / PID_FILE, residence.directory / SOCKET_FILE):
        assert (path.stat().st_uid, path.stat().st_gid) == owner
    residence.leave()


@pytest.mark.root
@pytest.mark.parametrize("owner", [None, (0, 0), (4711, 4711)])
def test_what_another_user_left_is_taken_back(tmp_path: Path, owner: tuple[int, int] | None) -> None:
    """Also a lock that this user still has open, and could write to and hold."""
    directory = tmp_path / "run"
    with lock_held(directory, 1), pytest.raises(AlreadyRunningError, match="does not answer as hyperion-client"):
        Residence.enter(directory, "hyperion-client", owner)
    os.chown(directory, NOBODY, NOBODY)
    os.chown(directory / PID_FILE, NOBODY, NOBODY)
    with (directory / PID_FILE).open("r+") as still_open:
        residence = Residence.enter(directory, "hyperion-client", owner)
        still_open.write("1\n")
        still_open.flush()
        fcntl.flock(still_open, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another file by now
        uid = 0 if owner is None else owner[0]
        assert (directory.stat().st_uid, (directory / PID_FILE).stat().st_uid) == (uid, uid)
        assert holder(directory) == os.getpid()
        residence.leave()
    assert not directory.exists()


@pytest.mark.root
@pytest.mark.parametrize(("owner", "uid"), [(None, 0), ((4711, 4711), 4711)])
def test_the_memory_of_knocks_goes_on_with_another_user(
    tmp_path: Path, owner: tuple[int, int] | None, uid: int
) -> None:
    """Somebody makes the user that the warning asks for, and starts it again: the gate must open."""
    directory = tmp_path / "run"
    directory.mkdir()
    memory = directory / REPLAY_FILE
    memory.write_bytes(b"knocks")
    for path in (directory, memory):
        os.chown(path, NOBODY, NOBODY)
    residence = Residence.enter(directory, "hyperion-server", owner)
    assert (memory.stat().st_uid, memory.read_bytes()) == (uid, b"knocks")
    residence.leave()


@pytest.mark.root
def test_nothing_else_goes_with_it(tmp_path: Path) -> None:
    """The user before us owns the directory: what he puts there must not be given away, nor what a link leads to."""
    directory, secret = tmp_path / "run", tmp_path / "secret"
    directory.mkdir()
    secret.write_text("root's")
    memory = directory / REPLAY_FILE
    for put in (memory.symlink_to, memory.hardlink_to, lambda _: memory.write_text("root's"), lambda _: memory.mkdir()):
        os.chown(directory, NOBODY, NOBODY)
        put(secret)
        Residence.enter(directory, "hyperion-server", (4711, 4711)).leave()
        assert (secret.stat().st_uid, memory.lstat().st_uid) == (0, 0)
        if memory.is_dir() and not memory.is_symlink():
            memory.rmdir()
        else:
            memory.unlink()
        directory.mkdir(exist_ok=True)


@pytest.mark.root
def test_the_user_that_we_become_gets_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a strict umask: its socket is there, and it can remove it."""
    open_way(tmp_path)
    monkeypatch.setattr(module, "SYSTEM_RUNTIME", tmp_path / "run")
    before = os.umask(0o077)
    try:
        shared = Residence.enter(tmp_path / "run" / "server", "x", (NOBODY, NOBODY))
        own = Residence.enter(tmp_path / "home" / "run" / "server", "x", (NOBODY, NOBODY))
    finally:
        os.umask(before)
    assert mode(tmp_path / "run") == 0o755
    for residence in (shared, own):
        code = f"""
import errno
import fcntl
import os
os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
open({str(residence.directory / "mine")!r}, "w").close(); os.unlink({str(residence.directory / "mine")!r})
"""
        assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
        residence.leave()


@pytest.mark.root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(CannotCreateError, match="belongs to another user"):
        Residence.enter(tmp_path / "run", "x")


def test_the_lock_does_not_reach_children(tmp_path: Path) -> None:
    residence = Residence.enter(tmp_path, "x")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        residence.leave()
        assert holder(tmp_path) is None
        child.communicate(b"\n")


def test_available_here() -> None:
    assert (hasattr(socket, "AF_UNIX") and os.name == "posix") == module.AVAILABLE


def test_the_operator_socket_is_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise AssertionError("between the two calls others could have connected")

    residence = Residence.enter(tmp_path / "run", "x")
    monkeypatch.setattr(os, "chmod", late)
    before = os.umask(0o022)
    try:
        residence.listen()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert mode(residence.directory / SOCKET_FILE) == 0o600
    residence.leave()


@pytest.mark.root
@pytest.mark.parametrize("what", ["file", "link", "socket"])
def test_what_somebody_put_in_the_socket_s_place_is_not_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The directory belongs to the user that the service becomes, while we are still root."""
    residence = Residence.enter(tmp_path / "run", "x", (NOBODY, NOBODY))
    path, victim = residence.directory / SOCKET_FILE, tmp_path / "victim"

    @contextlib.contextmanager
    def swapped() -> Iterator[None]:
        yield
        path.unlink()
        if what == "socket":
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(victim))
        else:
            victim.touch()
        if what == "link":
            path.symlink_to(victim)
        else:
            path.hardlink_to(victim)

    monkeypatch.setattr(module, "_private", swapped)
    with pytest.raises(CannotCreateError, match="somebody put something else in its place"):
        residence.listen((NOBODY, NOBODY))
    assert victim.lstat().st_uid == 0
    assert path.lstat().st_uid == 0
    residence.leave()
