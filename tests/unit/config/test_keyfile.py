import os
import stat
import threading
from pathlib import Path

import pytest

from hyperion.config import keyfile, safe_file
from hyperion.config.keyfile import MAX_KEY_FILE_BYTES, read_secret, write_secret
from hyperion.errors import BadKeyError, CannotCreateError

SECRET = "canary secret\n"


def key_file(directory: Path, mode: int = 0o600) -> Path:
    path = directory / "a.key"
    path.write_text(SECRET)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_read(tmp_path: Path, mode: int) -> None:
    assert read_secret(key_file(tmp_path, mode)) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777])
def test_open_to_others(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode)
    with pytest.raises(BadKeyError, match=rf"is open to others \(mode {mode:04o}\)") as caught:
        read_secret(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(key_file(tmp_path, 0o644))
    with pytest.raises(BadKeyError, match="open to others"):
        read_secret(link)
    link.resolve().chmod(0o600)
    assert read_secret(link) == SECRET


@pytest.mark.root
def test_owned_by_somebody_else(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(BadKeyError, match="belongs to another user") as caught:
        read_secret(path)
    assert caught.value.hint == f"chown 0 {path}"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadKeyError, match="no key file") as caught:
        read_secret(tmp_path / "a.key")
    assert caught.value.hint is not None
    assert "keygen" in caught.value.hint


def test_neither_directory_nor_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)  # opening it as a file would wait for a writer for ever
    for path in (tmp_path, pipe, Path("/dev/null")):
        with pytest.raises(BadKeyError, match="is not a regular file"):
            read_secret(path)


@pytest.mark.parametrize("content", ["x" * (MAX_KEY_FILE_BYTES + 1), "é"])
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    path = key_file(tmp_path)
    path.write_text(content)
    with pytest.raises(BadKeyError, match="does not hold a key"):
        read_secret(path)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_write_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a.key"
    before = os.umask(umask)
    try:
        write_secret(path, SECRET)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == SECRET
    assert os.listdir(tmp_path) == ["a.key"]


def test_write_makes_the_directory_for_the_owner_only(tmp_path: Path) -> None:
    write_secret(tmp_path / "keys" / "a.key", SECRET)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    with pytest.raises(CannotCreateError, match="exists already") as caught:
        write_secret(path, "new")
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    assert path.read_text() == SECRET
    assert os.listdir(tmp_path) == ["a.key"]


def test_replace_never_writes_into_an_open_file(tmp_path: Path) -> None:
    path = key_file(tmp_path, 0o644)
    with path.open() as reader:
        write_secret(path, "new", replace=True)
        assert reader.read() == SECRET  # who had the readable file open sees the old one
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_is_not_followed(tmp_path: Path, dangling: bool) -> None:
    target = tmp_path / "target"
    if not dangling:
        target.write_text("untouched")
    link = tmp_path / "a.key"
    link.symlink_to(target)
    with pytest.raises(CannotCreateError, match="exists already"):
        write_secret(link, SECRET)
    write_secret(link, SECRET, replace=True)
    assert not link.is_symlink()
    assert target.exists() is not dangling
    assert dangling or target.read_text() == "untouched"


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = key_file(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CannotCreateError, match="cannot be written: no space left on device"):
        write_secret(path, "new", replace=True)
    assert path.read_text() == SECRET
    assert os.listdir(tmp_path) == ["a.key"]


def test_a_file_cannot_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="cannot be written: file exists"):
        write_secret(key_file(tmp_path) / "b.key", SECRET)


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    outcomes: list[str] = []

    def write(text: str) -> None:
        try:
            write_secret(path, text)
            outcomes.append(text)
        except CannotCreateError:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(str(number) * 44,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert outcomes.count("refused") == 7
    assert path.read_text() in outcomes
    assert os.listdir(tmp_path) == ["a.key"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    put_in_place = safe_file._put_in_place

    def spy(temporary: Path, path: Path, *, replace: bool) -> None:
        seen.append(path.exists())
        assert temporary.read_text() == SECRET
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        put_in_place(temporary, path, replace=replace)

    monkeypatch.setattr(safe_file, "_put_in_place", spy)
    write_secret(tmp_path / "a.key", SECRET)
    assert seen == [False]


@pytest.mark.root
def test_keys_of_the_user_that_root_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "_asked_for", set())
    path, config = key_file(tmp_path), tmp_path / "server.toml"
    config.touch()
    os.chown(path, 65534, 65534)
    with pytest.raises(BadKeyError, match="belongs to another user"):
        read_secret(path, config)
    keyfile.trust_user(None)
    keyfile.trust_user("no-such-user")
    keyfile.trust_user("nobody")
    assert read_secret(path) == SECRET
    # The owner of the configuration chooses the key anyway.
    keyfile._asked_for.clear()
    os.chown(config, 65534, 65534)
    assert read_secret(path, config) == SECRET
    # A user that was made for us, and one who is not root and trusts nobody.
    os.chown(config, 0, 0)
    monkeypatch.setattr(keyfile, "service_uids", lambda: frozenset({65534}))
    assert read_secret(path, config) == SECRET
    os.chown(path, 1, 1)
    with pytest.raises(BadKeyError, match="belongs to another user"):
        read_secret(path, config)
