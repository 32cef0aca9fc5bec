"""Our part of a hosts file: put there, taken away, and everything else as it was."""

import os
import random
from pathlib import Path

import pytest

from hyperion import hosts
from hyperion.errors import CannotCreateError, RefusedError, TemporaryError
from hyperion.hosts import BEGIN, END, MAX_ATTEMPTS, host_name, put, remove, write

NAMES = [("10.99.0.10", "web1.hyperion"), ("fd68::a", "web1.hyperion")]
THEIRS = "127.0.0.1\tlocalhost\n# a comment\n::1 ip6-localhost # hyperion\n"


@pytest.mark.parametrize("theirs", ["", THEIRS, THEIRS.rstrip("\n"), "\n\n", "10.99.0.10 web1.hyperion\n"])
def test_put_and_remove(theirs: str) -> None:
    with_ours = put(theirs, NAMES)
    assert with_ours.startswith(theirs)
    assert "\n10.99.0.10\tweb1.hyperion" in with_ours
    assert put(with_ours, NAMES) == with_ours
    ended = theirs if not theirs or theirs.endswith("\n") else f"{theirs}\n"
    assert remove(with_ours) == put(with_ours, ()) == ended
    assert put(with_ours, NAMES[:1]) == put(ended, NAMES[:1])


@pytest.mark.parametrize("lost", [BEGIN, END, None])
def test_what_somebody_did_to_it_does_not_matter(lost: str | None) -> None:
    """A mark is missing, or lines moved about: ours are still told from theirs."""
    lines = put(THEIRS, NAMES).splitlines(keepends=True)
    lines = [line for line in lines if line.rstrip() != lost]
    random.Random(1).shuffle(lines)
    assert sorted(remove("".join(lines)).splitlines()) == sorted(THEIRS.splitlines())


def test_names() -> None:
    assert host_name("web1") == "web1.hyperion"
    assert host_name("Web_1.Berlin") == "web_1.berlin.hyperion"
    for name in ("büro", "a b", "-x", "x-", "a..b", "", "x" * 64, "a#b", "x\n1.2.3.4 evil"):
        assert host_name(name) is None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(THEIRS, encoding="utf-8")
    path.chmod(0o644)
    return path


def test_a_file_comes_back_byte_for_byte(file: Path) -> None:
    file.write_bytes(THEIRS.encode() + b"10.0.0.1 caf\xe9\n")
    before, mode = file.read_bytes(), file.stat().st_mode
    assert write(NAMES, file)
    assert file.read_bytes().startswith(before)
    assert file.stat().st_mode == mode
    assert not write(NAMES, file)
    assert write((), file)
    assert file.read_bytes() == before
    assert not write((), file)
    assert os.listdir(file.parent) == ["hosts"]


def test_a_link_stays_a_link(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    write(NAMES, link)
    assert link.is_symlink()
    assert BEGIN in file.read_text(encoding="utf-8")


def test_another_writer_loses_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = hosts._read, 0

    def read(path: Path) -> tuple[os.stat_result, str]:
        nonlocal count
        found = real(path)
        count += 1
        if count == 1:
            path.write_text(THEIRS + "192.0.2.1 theirs\n", encoding="utf-8")
        return found

    monkeypatch.setattr(hosts, "_read", read)
    assert write(NAMES, file)
    assert "192.0.2.1 theirs\n" in file.read_text(encoding="utf-8")
    assert BEGIN in file.read_text(encoding="utf-8")


def test_somebody_who_writes_all_the_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = hosts._read, 0

    def read(path: Path) -> tuple[os.stat_result, str]:
        nonlocal count
        found = real(path)
        count += 1
        path.write_text(THEIRS + f"192.0.2.{count} theirs\n" * count, encoding="utf-8")
        return found

    monkeypatch.setattr(hosts, "_read", read)
    with pytest.raises(TemporaryError):
        write(NAMES, file)
    assert count == MAX_ATTEMPTS
    assert BEGIN not in file.read_text(encoding="utf-8")


def test_a_file_that_is_mounted_over_is_written_into(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError(16, "busy")

    inode = file.stat().st_ino
    monkeypatch.setattr(Path, "rename", refuse)
    assert write(NAMES, file)
    assert BEGIN in file.read_text(encoding="utf-8")
    assert file.stat().st_ino == inode
    assert os.listdir(file.parent) == ["hosts"]


def test_refusals(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotCreateError):
        write(NAMES, file.with_name("none"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(hosts, "_replace", refuse)
    with pytest.raises(RefusedError, match="permission denied"):
        write(NAMES, file)
