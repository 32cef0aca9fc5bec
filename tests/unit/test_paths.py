import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperion import paths
from hyperion.errors import UsageError
from hyperion.paths import (
    absolute,
    callers_config,
    config_directory,
    expand_home,
    home_directory,
    log_file,
    runtime_directory,
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HYPERION_HOME": "/h", "XDG_CONFIG_HOME": "/x", "HOME": "/home/a"}, "/h"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/home/a"}, "/x/hyperion"),
        ({"APPDATA": "/data", "HOME": "/home/a"}, "/data/hyperion"),
        ({"HOME": "/home/a"}, "/home/a/.config/hyperion"),
        ({"HYPERION_HOME": "", "XDG_CONFIG_HOME": "", "HOME": "/home/a"}, "/home/a/.config/hyperion"),
        ({"USERPROFILE": "/users/a"}, "/users/a/.config/hyperion"),
        ({}, "/home/of-the-list/.config/hyperion"),
        ({"HOME": ""}, "/home/of-the-list/.config/hyperion"),
    ],
)
def test_config_directory(environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir="/home/of-the-list"))
    assert config_directory(environ) == Path(expected)


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        ("~/a.key", {"HOME": "/home/a"}, "/home/a/a.key"),
        ("~/a.key", {"USERPROFILE": "/users/a"}, "/users/a/a.key"),
        ("~/a.key", {}, "/home/of-the-list/a.key"),
        ("~b/a.key", {"HOME": "/home/a"}, "~b/a.key"),
        ("a.key", {"HOME": "/home/a"}, "a.key"),
        ("/etc/a.key", {"HOME": "/home/a"}, "/etc/a.key"),
    ],
)
def test_expand_home(name: str, environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir="/home/of-the-list"))
    assert expand_home(name, environ) == Path(expected)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_whoever_has_no_home_is_never_led_to_where_he_stands(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's cron may have no HOME, and stands where others could have put a file."""
    assert config_directory(environ) == Path(pwd.getpwuid(os.geteuid()).pw_dir, ".config", "hyperion")

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert config_directory(environ) == Path("/.config/hyperion")
    monkeypatch.setattr(paths, "pwd", None)  # Windows
    assert home_directory(environ) == Path("/")


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    asking: list[Callable[[], Path]] = [
        lambda: absolute(Path("rel")),
        lambda: runtime_directory("client", None, {"HYPERION_HOME": "rel"}),
        lambda: runtime_directory("client", Path("rel.toml"), {"HYPERION_HOME": "/h"}),
    ]
    for ask in asking:
        with pytest.raises(UsageError, match=r"rel.* counts from the current directory, which is gone"):
            ask()
    assert runtime_directory("client", Path("/x"), {"HYPERION_HOME": "/h"}).parent == Path("/h/run")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", "/elsewhere")
    monkeypatch.setenv("HOME", "/home/a")
    assert config_directory() == Path("/elsewhere")
    assert expand_home("~/k") == Path("/home/a/k")


@pytest.mark.parametrize(
    ("environ", "root", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/run/x", "HYPERION_HOME": "/h"}, True, "/run/x/server"),
        ({"RUNTIME_DIRECTORY": "/run/hyperion/server"}, False, "/run/hyperion/server"),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, False, "/run/a/server"),
        ({"HYPERION_HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"}, True, "/h/run/server"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, True, "/run/hyperion/server"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, False, "/run/user/7/hyperion/server"),
        ({"HOME": "/home/a"}, False, "/home/a/.config/hyperion/run/server"),
    ],
)
def test_runtime_directory(environ: dict[str, str], root: bool, expected: str) -> None:
    assert runtime_directory("server", None, environ, root=root) == Path(expected)
    other = "client" if not environ.get("RUNTIME_DIRECTORY", "").endswith("/server") else "server/client"
    assert runtime_directory("client", None, environ, root=root) == Path(expected).parent / other


def test_each_configuration_has_a_directory_of_its_own(tmp_path: Path) -> None:
    environ = {"HYPERION_HOME": str(tmp_path)}
    usual = runtime_directory("server", None, environ)
    assert usual == tmp_path / "run" / "server"
    assert runtime_directory("server", tmp_path / "server.toml", environ) == usual
    (tmp_path / "link").symlink_to(tmp_path / "server.toml")
    assert runtime_directory("server", tmp_path / "link", environ) == usual
    assert runtime_directory("server", Path("/etc/hyperion/server.toml"), environ) == usual
    one, two = (runtime_directory("server", tmp_path / name, environ) for name in ("one.toml", "two.toml"))
    assert one.parent == two.parent == usual.parent
    assert len({usual, one, two}) == 3
    assert one.name.startswith("server-")
    unit = {"RUNTIME_DIRECTORY": "/run/hyperion/server"}
    assert runtime_directory("server", tmp_path / "one.toml", unit).parent == Path("/run/hyperion")


def test_the_file_of_who_called_sudo_is_the_usual_one_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name or without: it is one program, and status and down find it."""
    alice, root = tmp_path / "alice", tmp_path / "root"
    theirs = alice / ".config" / "hyperion" / "hyperion.toml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir=str(alice)))
    environ = {"HOME": str(root), "SUDO_UID": "4711"}
    usual = Path("/run/hyperion/client")
    assert runtime_directory("client", None, environ, root=True) == usual
    assert runtime_directory("client", theirs, environ, root=True) == usual
    # Root who is nobody's guest, and a user who sets the variable, know nothing of alice.
    assert runtime_directory("client", theirs, {"HOME": str(root)}, root=True) != usual
    assert runtime_directory("client", theirs, environ, root=False).name.startswith("client-")
    # A file of root's own goes before: then alice's is another one.
    own = root / ".config" / "hyperion" / "hyperion.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert runtime_directory("client", own, environ, root=True) == usual
    assert runtime_directory("client", theirs, environ, root=True) != usual


@pytest.mark.parametrize(
    ("environ", "root", "expected"),
    [
        ({"LOGS_DIRECTORY": "/var/log/x:/var/log/y", "HYPERION_HOME": "/h"}, True, "/var/log/x/hyperion.log"),
        ({"HYPERION_HOME": "/h"}, True, "/h/hyperion.log"),
        ({"HOME": "/root"}, True, "/var/log/hyperion/hyperion.log"),
        ({"HOME": "/home/a"}, False, "/home/a/.config/hyperion/hyperion.log"),
    ],
)
def test_log_file(environ: dict[str, str], root: bool, expected: str) -> None:
    assert log_file("client", environ, root=root) == Path(expected)


@pytest.mark.parametrize("caller", ["", "0", "x", "-1", "\u0661"])
def test_nobody_called_sudo(caller: str) -> None:
    assert callers_config("server", {"SUDO_UID": caller}) is None


@pytest.mark.parametrize("error", [KeyError, OverflowError])
def test_a_caller_without_an_entry(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def nobody(_: int) -> None:
        raise error

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert callers_config("server", {"SUDO_UID": "4711"}) is None
