import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperion.config import safe_file
from hyperion.config.safe_file import create, locked, make_directory, read_original, rewrite, set_aside
from hyperion.errors import CannotCreateError, ConfigError, TemporaryError

ROOT = Path(__file__).parents[3]
OLD, NEW = b"old\n", b"new\n"


def file(directory: Path, mode: int = 0o640) -> Path:
    path = directory / "a.toml"
    path.write_bytes(OLD)
    path.chmod(mode)
    return path


def accept(_: bytes) -> None:
    """Whatever it is."""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_new_directories_are_the_owners_only(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o700


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="cannot be written: file exists"):
        create(file(tmp_path) / "b" / "c", NEW)


def test_edits_keep_the_mode(tmp_path: Path) -> None:
    for mode in (0o600, 0o640, 0o644, 0o660):
        path = file(tmp_path, mode)
        rewrite(read_original(path), NEW, accept)
        assert (path.read_bytes(), mode_of(path)) == (NEW, mode)
    assert os.listdir(tmp_path) == ["a.toml"]


@pytest.mark.root
def test_edits_keep_the_owner(tmp_path: Path) -> None:
    path = file(tmp_path)
    os.chown(path, 65534, 65533)
    rewrite(read_original(path), NEW, accept)
    status = path.stat()
    assert (status.st_uid, status.st_gid, path.read_bytes()) == (65534, 65533, NEW)


def test_a_link_stays_a_link_and_its_file_is_edited(tmp_path: Path) -> None:
    """As people have it who keep their files in a repository."""
    (tmp_path / "repository").mkdir()
    path = file(tmp_path / "repository")
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    rewrite(read_original(link), NEW, accept)
    assert link.is_symlink()
    assert path.read_bytes() == NEW
    assert os.listdir(path.parent) == ["a.toml"]


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    original = read_original(path)
    assert (original.content, original.status) == (b"", None)
    rewrite(original, NEW, accept)
    assert (path.read_bytes(), mode_of(path)) == (NEW, 0o600)
    with pytest.raises(TemporaryError, match="changed by somebody else"):
        rewrite(original, NEW, accept)


def test_the_check_sees_what_was_written_and_can_refuse(tmp_path: Path) -> None:
    path = file(tmp_path)
    seen: list[bytes] = []

    def refuse(content: bytes) -> None:
        seen.append(content)
        assert path.read_bytes() == OLD
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        rewrite(read_original(path), NEW, refuse)
    assert seen == [NEW]
    assert (path.read_bytes(), os.listdir(tmp_path)) == (OLD, ["a.toml"])


@pytest.mark.parametrize("way", ["write", "rename", "remove"])
def test_what_somebody_else_did_meanwhile_is_not_lost(tmp_path: Path, way: str) -> None:
    path = file(tmp_path)
    original = read_original(path)
    if way == "write":
        path.write_bytes(b"other\n")
    elif way == "rename":
        other = tmp_path / "other"
        other.write_bytes(OLD)
        other.replace(path)
    else:
        path.unlink()
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(TemporaryError, match="was changed by somebody else meanwhile"):
        rewrite(original, NEW, accept)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = file(tmp_path)
    original = read_original(path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CannotCreateError, match="cannot be written: no space left on device"):
        rewrite(original, NEW, accept)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (OLD, ["a.toml"])


def test_what_cannot_be_edited(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(CannotCreateError, match="is not a regular file"):
            read_original(path)
    big = tmp_path / "big"
    big.write_bytes(bytes(safe_file.MAX_EDITED_BYTES + 1))
    with pytest.raises(CannotCreateError, match="has more than 1048576 bytes"):
        read_original(big)


def test_one_edit_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_file, "LOCK_TIMEOUT", 0.1)
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path):
        with pytest.raises(TemporaryError, match="another command holds"), locked(tmp_path):
            pass
        monkeypatch.setattr(safe_file, "LOCK_TIMEOUT", 10.0)
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_directory_that_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="cannot be opened: no such file or directory"), locked(tmp_path / "x"):
        pass


def test_what_is_set_aside_is_still_there(tmp_path: Path) -> None:
    path = file(tmp_path)
    assert set_aside(tmp_path / "nothing", ".old") is None
    kept = set_aside(path, ".old")
    assert kept == tmp_path / "a.toml.old"
    assert kept.read_bytes() == path.read_bytes() == OLD
    with pytest.raises(CannotCreateError, match=r"cannot be kept as .*: file exists"):
        set_aside(path, ".old")


KILLED = """
import os, signal, sys
from pathlib import Path
from hyperion.config import safe_file

def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

os.umask(0)
safe_file._put_in_place = die
path = Path(sys.argv[1])
if sys.argv[2] == "create":
    safe_file.create(path, b"secret", replace=True)
else:
    safe_file.rewrite(safe_file.read_original(path), b"secret", lambda _: None)
"""


@pytest.mark.parametrize("way", ["create", "rewrite"])
def test_killed_between_writing_and_renaming(tmp_path: Path, way: str) -> None:
    """What was there is whole, and what is left lying beside it is nobody else's to read."""
    path = file(tmp_path, 0o600)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), way], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == OLD
    left = [each for each in tmp_path.iterdir() if each != path]
    assert [(each.read_bytes(), mode_of(each)) for each in left] == [(b"secret", 0o600)]


@pytest.mark.root
@pytest.mark.parametrize(("keeper", "owner", "kept"), [(0, 4711, 4711), (4711, 4711, 4711), (4712, 4711, 0)])
def test_what_root_replaces_stays_its_owners(tmp_path: Path, keeper: int, owner: int, kept: int) -> None:
    """A new key for a service that is not root; but nobody gets one by a file that he moved to where it will be."""
    path = file(tmp_path, 0o600)
    os.chown(path, owner, owner)
    os.chown(tmp_path, keeper, -1)
    create(path, NEW, replace=True)
    assert (path.read_bytes(), path.stat().st_uid, mode_of(path)) == (NEW, kept, 0o600)


@pytest.mark.root
def test_what_lies_where_anybody_writes_is_nobodys(tmp_path: Path) -> None:
    """A file that somebody has put into /tmp, where root is about to write a secret."""
    path = file(tmp_path, 0o600)
    os.chown(path, 4711, 4711)
    tmp_path.chmod(0o1777)
    create(path, NEW, replace=True)
    assert (path.read_bytes(), path.stat().st_uid, mode_of(path)) == (NEW, 0, 0o600)


@pytest.mark.root
def test_a_link_gives_nothing_away(tmp_path: Path) -> None:
    target = file(tmp_path, 0o600)
    os.chown(target, 4711, 4711)
    (tmp_path / "link").symlink_to(target)
    create(tmp_path / "link", NEW, replace=True)
    assert ((tmp_path / "link").lstat().st_uid, target.read_bytes()) == (0, OLD)
