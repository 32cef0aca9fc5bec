"""All commands of both programs at once: exit codes, and which of them have ``--json`` and ``--dry-run``.

The codes are a promise to scripts and to systemd. Each command has its rows here; one without rows fails the test.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hyperion.cli.border import run_program
from hyperion.cli.client import program as client
from hyperion.cli.server import program as server
from tests.helpers.config_files import ADMIN_SECRET, SERVER_SECRET, client_text, server_text
from tests.peer.services import closed_port

PROGRAMS = {"hyperion-client": client, "hyperion-server": server}
KEY = str(ADMIN_SECRET.public())
OTHER = str(SERVER_SECRET.public())

#: What is in the configuration directory: nothing, files that are no TOML, files whose keys are missing, good files of
#: a client whose servers are not there.
NOTHING, NONSENSE, NO_KEYS, GOOD = "nothing", "nonsense", "no keys", "good"

#: (program, command line, what there is, exit code)
TABLE = [
    # fine
    ("client", "init", NOTHING, 0),
    ("client", "ls", GOOD, 0),
    ("client", f"add-server new h {KEY}", GOOD, 0),
    ("client", "rm-server db1", GOOD, 0),
    ("client", "ssh-config", GOOD, 0),
    ("client", "keygen", NOTHING, 0),
    ("client", "keygen -y admin.key", GOOD, 0),
    ("client", "completion bash", NOTHING, 0),
    ("server", f"init --salt saltsalt --admin-key {KEY}", NOTHING, 0),
    ("server", "keygen", NOTHING, 0),
    ("server", "completion fish", NOTHING, 0),
    ("server", "print-firewall --tunnel-port 8443", NOTHING, 0),
    ("server", "admins", GOOD, 0),
    ("server", f"add-admin new {OTHER}", GOOD, 0),
    ("client", "print-routes", GOOD, 0),
    # 1: a server or a check failed
    ("client", "doctor --timeout 5", GOOD, 1),
    # 2: the command line asks for something that cannot be
    ("client", "add-server web1 h " + KEY, GOOD, 2),
    ("client", "rm-server nobody", GOOD, 2),
    ("client", "rm-server web1", GOOD, 2),
    ("client", "run -L nobody:22", GOOD, 2),
    ("client", "run -L nonsense", GOOD, 2),
    ("client", "doctor nobody", GOOD, 2),
    ("client", "nc nobody 22", GOOD, 2),
    ("client", "nc web1 0", GOOD, 2),
    ("client", "up --only nobody", GOOD, 2),
    ("client", "ssh-config --write --remove", GOOD, 2),
    ("client", "completion tcsh", NOTHING, 2),
    ("client", "print-routes --mark 0", GOOD, 2),
    ("client", "tun --prefix 31", GOOD, 2),
    ("server", "init", NOTHING, 2),
    ("server", f"init --salt short --admin-key {KEY}", NOTHING, 2),
    ("server", f"init --salt saltsalt --admin-key {KEY} --allow 0", NOTHING, 2),
    ("server", "run --workers 0", GOOD, 2),
    ("server", "print-firewall --tunnel-port 0", NOTHING, 2),
    ("server", f"add-admin new {KEY}", GOOD, 2),
    ("server", f"add-admin new {OTHER} --expires soon", GOOD, 2),
    ("server", "rm-admin nobody", GOOD, 2),
    ("server", "apply-firewall --confirm-within 0", NOTHING, 2),
    ("server", "remove-firewall --no-such-option", NOTHING, 2),
    # 3: nothing runs
    ("client", "status", GOOD, 3),
    ("client", "reload", GOOD, 3),
    ("server", "status", GOOD, 3),
    ("server", "reload", GOOD, 3),
    # ... which is what down wants
    ("client", "down", GOOD, 0),
    ("server", "down", GOOD, 0),
    # 65: a key, or what should hold one
    ("client", "add-server new h nonsense", GOOD, 65),
    ("client", "run", NO_KEYS, 65),
    ("client", "up", NO_KEYS, 65),
    ("client", "doctor", NO_KEYS, 65),
    ("client", "nc web1 22", NO_KEYS, 65),
    ("client", "tun", NO_KEYS, 65),
    ("client", "keygen -y none.key", NOTHING, 65),
    ("server", "init --salt saltsalt --admin-key nonsense", NOTHING, 65),
    ("server", "add-admin new nonsense", GOOD, 65),
    ("server", "run", NO_KEYS, 65),
    ("server", "up", NO_KEYS, 65),
    ("server", "restart", NO_KEYS, 65),
    # 66: no configuration
    ("client", "ls", NOTHING, 66),
    ("client", f"add-server new h {KEY}", NOTHING, 66),
    ("client", "rm-server web1", NOTHING, 66),
    ("client", "ssh-config", NOTHING, 66),
    ("client", "run", NOTHING, 66),
    ("client", "tun", NOTHING, 66),
    ("client", "print-routes", NOTHING, 66),
    ("client", "up", NOTHING, 66),
    ("client", "doctor", NOTHING, 66),
    ("client", "nc web1 22", NOTHING, 66),
    ("server", "admins", NOTHING, 66),
    ("server", f"add-admin new {OTHER}", NOTHING, 66),
    ("server", "rm-admin new", NOTHING, 66),
    ("server", "run", NOTHING, 66),
    ("server", "up", NOTHING, 66),
    ("server", "restart", NOTHING, 66),
    # 69: a server does not answer
    ("client", "nc web1 22", GOOD, 69),
    # 73: a file is in the way
    ("client", "init", GOOD, 73),
    ("client", "keygen -o admin.key", GOOD, 73),
    ("server", f"init --salt saltsalt --admin-key {KEY}", GOOD, 73),
    ("server", "keygen -o server.key", GOOD, 73),
    # 77: rights are missing, or the peer said no
    ("server", "confirm-firewall", NOTHING, 77),
    # 78: the configuration says something that cannot work
    ("client", "ls", NONSENSE, 78),
    ("client", f"add-server new h {KEY}", NONSENSE, 78),
    ("client", "rm-server web1", NONSENSE, 78),
    ("client", "ssh-config", NONSENSE, 78),
    ("client", "run", NONSENSE, 78),
    ("client", "tun", NONSENSE, 78),
    ("client", "print-routes", NONSENSE, 78),
    ("client", "up", NONSENSE, 78),
    ("client", "doctor", NONSENSE, 78),
    ("client", "nc web1 22", NONSENSE, 78),
    ("server", "admins", NONSENSE, 78),
    ("server", f"add-admin new {OTHER}", NONSENSE, 78),
    ("server", "rm-admin new", NONSENSE, 78),
    ("server", "run", NONSENSE, 78),
    ("server", "up", NONSENSE, 78),
    ("server", "restart", NONSENSE, 78),
    ("server", "print-firewall", NONSENSE, 78),
]

#: Every command is one of these. What reads has --json, what writes has --dry-run.
READS = {
    "hyperion-client": {
        *("ls", "status", "doctor", "ssh-config", "keygen", "init", "add-server", "rm-server", "print-routes"),
    },
    "hyperion-server": {
        *("status", "keygen", "init", "admins", "add-admin", "rm-admin"),
        *("print-firewall", "apply-firewall", "remove-firewall"),
    },
}
WRITES = {
    "hyperion-client": {"init", "add-server", "rm-server", "ssh-config", "keygen", "up", "down", "reload"},
    "hyperion-server": {
        *(
            "init",
            "keygen",
            "up",
            "down",
            "restart",
            "reload",
            "add-admin",
            "rm-admin",
            "apply-firewall",
            "remove-firewall",
        ),
    },
}
NEITHER = {
    "completion": "a script, as it is",
    "confirm-firewall": "one answer to apply-firewall",
    "nc": "its output is what the server sends",
    "run": "stays, and logs",
    "tun": "stays, and logs; print-routes shows what --apply does",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def furnish(home: Path, situation: str) -> None:
    if situation == NOTHING:
        return
    texts = {"hyperion.toml": client_text(home), "server.toml": server_text(home)}
    for host, address in (("127.0.0.1", "192.0.2.1:8443"), ("127.0.0.2", "db1.example.com:443")):
        texts["hyperion.toml"] = texts["hyperion.toml"].replace(address, f"{host}:{closed_port()}")
    for name, text in texts.items():
        (home / name).write_text("nonsense" if situation == NONSENSE else text)
        (home / name).chmod(0o600)
    if situation == NO_KEYS:
        for key in home.glob("*.key"):
            key.unlink()


@pytest.mark.parametrize(("program", "line", "situation", "code"), TABLE)
def test_exit_codes(
    home: Path, capsys: pytest.CaptureFixture[str], program: str, line: str, situation: str, code: int
) -> None:
    furnish(home, situation)
    name = f"hyperion-{program}"
    assert run_program(name, PROGRAMS[name], line.split()) == code
    out, err = capsys.readouterr()
    if code in (0, 1) or line == "status":
        assert out
        assert not err
    else:
        assert out == ""
        what, hint = [*err.splitlines(), ""][:2]
        assert what.startswith(f"{name}: error: ")
        assert hint.startswith("hint: ") or situation == NONSENSE


def commands() -> list[tuple[str, str]]:
    return [(name, command) for name, program in PROGRAMS.items() for command in group(program).commands]


def group(program: click.Command) -> click.Group:
    assert isinstance(program, click.Group)
    return program


@pytest.mark.parametrize(("name", "command"), commands())
def test_help_and_nonsense(capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    assert run_program(name, PROGRAMS[name], [command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {name} {command} ")
    assert run_program(name, PROGRAMS[name], [command, "--no-such-option"]) == 2


@pytest.mark.parametrize(("name", "command"), commands())
def test_each_command_has_its_rows_and_its_options(name: str, command: str) -> None:
    assert [row for row in TABLE if f"hyperion-{row[0]}" == name and row[1].split()[0] == command]
    options = {option for parameter in group(PROGRAMS[name]).commands[command].params for option in parameter.opts}
    assert ("--json" in options) == (command in READS[name])
    assert ("--dry-run" in options) == (command in WRITES[name])
    assert (command in READS[name] | WRITES[name]) != (command in NEITHER)
    assert "--debug" in options
