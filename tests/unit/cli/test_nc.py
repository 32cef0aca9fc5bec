"""``nc`` with a tunnel of its own: which server is meant, and what is said before there is one."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from hyperion.cli import nc
from hyperion.cli.nc import find_server, run_nc
from hyperion.config.outline import ClientOutline, outline_client
from hyperion.config.reading import read_client
from hyperion.errors import ConfigMissingError, NotRunningError, UnreachableError, UsageError
from tests.helpers.config_files import client_text
from tests.peer.services import closed_port


def write_client(directory: Path, addr: str = "192.0.2.1:8443") -> Path:
    path = directory / "hyperion.toml"
    path.write_text(client_text(directory).replace("192.0.2.1:8443", addr), encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def outline(tmp_path: Path) -> ClientOutline:
    path = write_client(tmp_path)
    return outline_client(path, read_client(path))


@pytest.mark.parametrize("name", ["web1", "WEB1", "web1.hyperion", "10.99.0.10"])
def test_a_server_by_its_names(outline: ClientOutline, name: str) -> None:
    assert find_server(outline, name) == "web1"


def test_a_server_that_is_none(outline: ClientOutline) -> None:
    with pytest.raises(UsageError, match="no server web9"):
        find_server(outline, "web9")


def test_a_name_that_is_none_is_told_before_anybody_is_asked_for_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    monkeypatch.setattr(nc, "load_client_config", Mock(side_effect=AssertionError("asked")))
    with pytest.raises(UsageError, match="no server wbe1") as caught:
        run_nc(write_client(tmp_path), "wbe1", 22)
    assert caught.value.hint == "did you mean web1?"


def test_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    with pytest.raises(ConfigMissingError):
        run_nc(None, "web1", 22)


def test_a_connection_to_hand_over_needs_a_client_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    with pytest.raises(NotRunningError, match="no client of this user runs that knows web1"):
        run_nc(write_client(tmp_path), "web1", 22, fdpass=True)


def test_a_system_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nc, "AVAILABLE", False)
    with pytest.raises(UsageError, match="nc needs Unix sockets") as caught:
        run_nc(None, "web1", 22)
    assert caught.value.hint == "forward a port instead: hyperion-client run -L web1:22"


def test_a_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    port = closed_port()
    with pytest.raises(UnreachableError, match="connection refused"):
        run_nc(write_client(tmp_path, addr=f"127.0.0.1:{port}"), "web1", 22)


def test_the_passphrase_is_asked_on_the_terminal_not_on_standard_input(tmp_path: Path) -> None:
    """Standard input is data. A session of its own gets the pseudo-terminal as /dev/tty."""
    ours, theirs = pty.openpty()
    script = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)\n"
        "from hyperion.cli.loading import controlling_terminal_prompt\n"
        "prompt = controlling_terminal_prompt()\n"
        "print(prompt('question: '), sys.stdin.read())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[theirs],
        start_new_session=True,
    ) as process:
        os.close(theirs)
        asked = b""
        while b"question: " not in asked:
            asked += os.read(ours, 100)
        os.write(ours, b"secret word\n")
        out, _ = process.communicate(b"data", timeout=20)
    os.close(ours)
    assert out.decode().split() == ["secret", "word", "data"]


def test_without_a_terminal_nobody_is_asked() -> None:
    script = "from hyperion.cli.loading import controlling_terminal_prompt as p; print(p())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, start_new_session=True, timeout=20
    )
    assert done.stdout.strip() == "None"
