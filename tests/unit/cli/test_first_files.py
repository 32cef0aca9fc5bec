import datetime
import errno
import importlib
import itertools
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hyperion.cli.first_files import NewFile, put, refuse_existing
from hyperion.errors import CannotCreateError
from tests.helpers.config_files import ADMIN_SECRET

ADMIN = ADMIN_SECRET.public()
NOW = datetime.datetime(2026, 11, 26, 18, 0, tzinfo=datetime.UTC)


def files(directory: Path) -> list[NewFile]:
    return [NewFile(directory / "a.key", "secret\n"), NewFile(directory / "a.toml", "text\n")]


def test_both_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("before")
    with pytest.raises(CannotCreateError, match="exists already"):
        put(files(tmp_path), replace=False, now=NOW)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.toml": "before"}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_for_the_owner_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert put(files(tmp_path / "new"), replace=False, now=NOW) == []
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_replacing_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("old secret")
    kept = put(files(tmp_path), replace=True, now=NOW)
    assert kept == [tmp_path / "a.key.20261126T180000Z.old"]
    assert kept[0].read_text() == "old secret"
    assert (tmp_path / "a.key").read_text() == "secret\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_login_that_is_cut_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    seen = []
    fsync = os.fsync

    def hang_up(fd: int) -> None:
        signal.raise_signal(number)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", hang_up)
    before = signal.signal(number, lambda *_: seen.append(found(tmp_path)))
    try:
        put(files(tmp_path), replace=False, now=NOW)
    finally:
        signal.signal(number, before)
    assert seen == [{"a.key": "secret\n", "a.toml": "text\n"}]


OLD = {"a.key": "old secret", "a.toml": "old text"}


def found(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if not path.is_dir()}


def test_a_failure_puts_back_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("old secret")
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(CannotCreateError):
        put(files(tmp_path), replace=True, now=NOW)
    assert found(tmp_path) == {"a.key": "old secret"}


@pytest.mark.parametrize("before", [{}, {"a.key": "old secret"}, {"a.toml": "old text"}, OLD], ids=str)
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("failing", ["os.fsync", "hyperion.config.safe_file._put_in_place"])
@pytest.mark.parametrize("call", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=["full", "interrupted"])
def test_whatever_fails_and_when_there_are_both_files_or_what_was_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, str],
    replace: bool,
    failing: str,
    call: int,
    error: BaseException,
) -> None:
    """Also if the disk refuses the name of a file that is in its place already."""
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    calls = itertools.count()
    module, _, attribute = failing.rpartition(".")
    real = getattr(importlib.import_module(module), attribute)

    def fail_once(*arguments: object, **named: object) -> object:
        if next(calls) == call:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(failing, fail_once)
    try:
        kept = put(files(tmp_path), replace=replace, now=NOW)
    except (CannotCreateError, KeyboardInterrupt):
        assert found(tmp_path) == before
    else:
        assert {path.name.partition(".2026")[0] for path in kept} == set(before)
        assert len(found(tmp_path)) == 2 + len(before)


def test_a_name_for_the_old_file_that_is_taken(tmp_path: Path) -> None:
    taken = OLD | {"a.toml.20261126T180000Z.old": "somebody's"}
    for name, text in taken.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CannotCreateError, match="cannot be kept"):
        put(files(tmp_path), replace=True, now=NOW)
    assert found(tmp_path) == taken


def test_a_link_that_leads_nowhere_is_put_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.key").symlink_to("nowhere")
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(CannotCreateError):
        put(files(tmp_path), replace=True, now=NOW)
    assert {path.name for path in tmp_path.iterdir()} == {"a.key", "a.toml"}
    assert (tmp_path / "a.key").readlink() == Path("nowhere")


def test_refusing_what_exists(tmp_path: Path) -> None:
    refuse_existing([tmp_path / "a"], "hint")
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CannotCreateError, match="a exists already") as caught:
        refuse_existing([tmp_path / "b", tmp_path / "a"], "hint")
    assert caught.value.hint == "hint"


def test_it_does_not_show_its_text(tmp_path: Path) -> None:
    assert "secret" not in repr(files(tmp_path / "x"))


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize(
    ("program", "arguments", "names"),
    [
        ("client", [], {"hyperion.toml", "admin.key"}),
        ("server", ["--salt", "salt-salt-salt", "--admin-key", str(ADMIN)], {"server.toml", "server.key"}),
    ],
)
def test_init_with_any_umask(tmp_path: Path, umask: int, program: str, arguments: list[str], names: set[str]) -> None:
    """The files are their owner's, who can also get at them."""
    home = tmp_path / "config" / "hyperion"
    script = f"import os, sys; os.umask({umask}); from hyperion.cli.{program} import main; sys.argv[0] = 'x'; main()"
    command = [sys.executable, "-c", script, "init", *arguments]
    environment = {**os.environ, "HYPERION_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(home.parent.stat().st_mode) == 0o700
