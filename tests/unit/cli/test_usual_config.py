"""Which file ``sudo hyperion-server up`` finds."""

import os
import pwd
from pathlib import Path

import pytest

from hyperion.cli import usual_config as module
from hyperion.cli.usual_config import usual_config
from hyperion.errors import RefusedError


class Entry:
    def __init__(self, home: Path) -> None:
        self.pw_dir = str(home)


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root, called by the user who runs this test under another name; gives that user's configuration directory."""
    directory = tmp_path / "home" / ".config" / "hyperion"
    directory.mkdir(parents=True, mode=0o755)
    monkeypatch.delenv("HYPERION_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "root"))
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(module, "is_root", lambda: True)
    monkeypatch.setattr(module, "system_config", lambda program: tmp_path / "etc" / f"{program}.toml")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: Entry(tmp_path / "home"))
    return directory


def write(path: Path, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(mode)
    return path


def test_the_first_place_that_has_one(sudo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "root" / ".config" / "hyperion" / "server.toml"
    assert usual_config("server") == first  # nowhere
    system = write(tmp_path / "etc" / "server.toml")
    assert usual_config("server") == system
    mine = write(sudo / "server.toml")
    assert capsys.readouterr().err == ""
    assert usual_config("server") == mine
    assert capsys.readouterr().err == f"configuration: {mine}\n               (of alice who called sudo)\n"
    assert usual_config("server") == mine
    assert capsys.readouterr().err == ""  # once is enough, however often a command looks
    write(first)
    assert usual_config("server") == first
    assert usual_config("client") == first.with_name("hyperion.toml")


def test_only_for_root_and_only_where_nobody_said_otherwise(
    sudo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sudo / "server.toml")
    monkeypatch.setattr(module, "is_root", lambda: False)
    assert usual_config("server").parts[-4:] == ("root", ".config", "hyperion", "server.toml")
    monkeypatch.setattr(module, "is_root", lambda: True)
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    assert usual_config("server") == tmp_path / "server.toml"


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_not_followed(sudo: Path, mode: int) -> None:
    path = write(sudo / "server.toml", mode)
    with pytest.raises(RefusedError, match="can be written to by others") as failure:
        usual_config("server")
    assert failure.value.hint == f"chmod go-w {path}"


def test_a_directory_that_others_may_write_to_is_not_trusted(sudo: Path) -> None:
    write(sudo / "server.toml")
    sudo.chmod(0o777)
    with pytest.raises(RefusedError, match="can be written to by others"):
        usual_config("server")


@pytest.mark.root
def test_a_file_of_a_third_user_is_not_followed(sudo: Path) -> None:
    path = write(sudo / "server.toml")
    os.chown(path, 4712, 4712)
    with pytest.raises(RefusedError, match="belongs to another user"):
        usual_config("server")
    os.chown(path, 4711, 4711)
    assert usual_config("server") == path
