import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from hyperion.cli import complete
from hyperion.cli.border import run_program
from hyperion.cli.client import program as client
from hyperion.cli.complete import SHELLS, script, server_names
from hyperion.cli.server import program as server
from tests.helpers.config_files import client_text

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from hyperion.cli.client import main; sys.argv[0] = 'hyperion-client'; main()"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "hyperion.toml").write_text(client_text(tmp_path))
    return tmp_path


def completed(words: str, at: int) -> list[str]:
    """What a shell is told to offer for the word number ``at``."""
    environment = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
        "_HYPERION_CLIENT_COMPLETE": "bash_complete",
    }
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hyperion-client rm-server ", ["web1", "db1"]),
        ("hyperion-client rm-server d", ["db1"]),
        ("hyperion-client nc w", ["web1"]),
        ("hyperion-client doctor x", []),
        ("hyperion-client doctor web1 ", ["db1"]),
        ("hyperion-client up --only web1,", ["web1,db1"]),
        ("hyperion-client add-s", ["add-server"]),
        ("hyperion-client completion z", ["zsh"]),
    ],
)
def test_what_is_offered(words: str, expected: list[str]) -> None:
    assert completed(words, words.count(" ")) == expected


def test_the_file_that_is_named_on_the_same_line(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[[server]]\nname = "elsewhere"\n')
    assert completed(f"hyperion-client doctor --config {other} ", 4) == ["elsewhere"]


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"\xff",
        b"server = 1",
        b"server = [1, {name = 2}]",
        b"[server]\nname = 1",
        b'[[server]]\nname = "a\\nb"',
        b'[[server]]\nname = "$(reboot)"',
        b'[[server]]\nname = "-rf"',
        b'[[server]]\nname = "a;b"',
    ],
)
def test_a_spoilt_file_offers_nothing_and_says_nothing(home: Path, content: bytes) -> None:
    (home / "hyperion.toml").write_bytes(content)
    assert server_names(None) == []
    assert completed("hyperion-client doctor ", 2) == []


def test_names_of_admins(home: Path) -> None:
    (home / "server.toml").write_text('[[admin]]\nname = "alice"\n[[admin]]\nname = "bob"\n')
    kind = server.commands["rm-admin"].params[1]
    context = click.Context(server)
    assert [item.value for item in kind.type.shell_complete(context, kind, "")] == ["alice", "bob"]
    assert [item.value for item in kind.type.shell_complete(context, kind, "b")] == ["bob"]
    (home / "server.toml").unlink()
    assert kind.type.shell_complete(context, kind, "") == []


def test_no_file(home: Path) -> None:
    os.unlink(home / "hyperion.toml")
    assert server_names(None) == []


@pytest.mark.timeout(10)
def test_a_named_pipe_offers_nothing(home: Path) -> None:
    os.unlink(home / "hyperion.toml")
    os.mkfifo(home / "hyperion.toml")
    assert server_names(None) == []


def test_nothing_but_names_is_read(home: Path) -> None:
    """Neither keys nor passphrase, and none of the code that handles them."""
    os.unlink(home / "admin.key")
    code = (
        "import sys; from hyperion.cli.complete import server_names; print(server_names(None));"
        "print([name for name in sys.modules if name.startswith(('cryptography', 'argon2', 'hyperion.config'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == ["['web1', 'db1']", "[]"]


def test_lists_with_commas(home: Path) -> None:
    @click.command()
    @click.option("--only", type=complete.ServerNames())
    def act(only: str) -> None:
        """Act."""

    kind = act.params[0]

    def offered(text: str) -> list[str]:
        return [item.value for item in kind.type.shell_complete(click.Context(act), kind, text)]

    assert offered("") == ["web1", "db1"]
    assert offered("web1,") == ["web1,db1"]
    assert offered("web1,x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_scripts(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    for name, program in (("hyperion-client", client), ("hyperion-server", server)):
        assert run_program(name, program, ["completion", shell]) == 0
        out = capsys.readouterr().out
        assert out == script(name, program, shell) + "\n"
        assert f"_{name.replace('-', '_').upper()}_COMPLETE" in out
    assert run_program("hyperion-client", client, ["completion", "tcsh"]) == 2


@pytest.mark.needs("bash")
def test_bash_itself(tmp_path: Path) -> None:
    """The script in a real bash, as a tab key would use it."""
    fake = tmp_path / "hyperion-client"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM}" "$@"\n')
    fake.chmod(0o755)
    lines = [
        script("hyperion-client", client, "bash"),
        "COMP_WORDS=(hyperion-client rm-server d); COMP_CWORD=2; COMPREPLY=()",
        f"_hyperion_client_completion {fake}",
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "complete -p hyperion-client",
    ]
    command = ["bash", "--norc", "-c", "\n".join(lines)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    offered, registered = done.stdout.splitlines()
    assert offered == "db1"
    assert registered.endswith("-F _hyperion_client_completion hyperion-client")


def test_names_are_read_fast(home: Path) -> None:
    """A thousand servers in a few milliseconds: somebody has a finger on the tab key."""
    text = "".join(f'[[server]]\nname = "server{number}"\naddr = "h:1"\n' for number in range(1000))
    (home / "hyperion.toml").write_text(text)
    best = min(_seconds() for _ in range(5))
    assert best < 0.1


def _seconds() -> float:
    began = time.perf_counter()
    assert len(server_names(None)) == 1000
    return time.perf_counter() - began
