import dataclasses
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hyperion.cli import ssh_config
from hyperion.cli.border import run_program
from hyperion.cli.client import program
from hyperion.cli.ssh_config import Wish, make_hosts, proxy_command, user_file
from tests.helpers.config_files import client_text, leaks

MINE = "Compression yes\n\nHost *\n    User bob\n    ProxyCommand none"

PLAIN = Wish(write=False, remove=False, file=None, prefix="", port=2222, fdpass=False, dry_run=False, as_json=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose name needs quoting, and a program whose path is known."""
    home = tmp_path / "a b%h"
    home.mkdir()
    monkeypatch.setenv("HYPERION_HOME", str(home))
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/h/bin/hyperion-client")
    monkeypatch.setattr(ssh_config, "user_file", lambda: tmp_path / ".ssh" / "config")
    (home / "hyperion.toml").write_text(client_text(home))
    return home


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-client", program, ["ssh-config", *arguments])
    out, err = capsys.readouterr()
    assert not leaks(out + err)
    return code, out, err


def test_the_blocks(capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPERION_HOME")
    assert run(capsys, "--config", "/x", "--port", "2222")[0] == 66
    config = home / "hyperion.toml"
    code, out, err = run(capsys, "--config", str(config), "--port", "2222", "--prefix", "hyp-")
    quoted = str(config).replace("%", "%%")
    assert (code, err) == (0, "")
    assert (
        out
        == f"""\
Host hyp-web1
    HostKeyAlias hyperion-web1
    Port 2222
    ProxyCommand /opt/h/bin/hyperion-client nc --config '{quoted}' web1 %p

Host hyp-db1
    HostKeyAlias hyperion-db1
    Port 2222
    ProxyCommand /opt/h/bin/hyperion-client nc --config '{quoted}' db1 %p
"""
    )


def test_the_usual_configuration_needs_no_option() -> None:
    assert proxy_command(None, {}) == ["/opt/h/bin/hyperion-client", "nc"]
    assert proxy_command(None, {"HYPERION_HOME": "/h"})[0] == "env HYPERION_HOME=/h"


@pytest.mark.needs("ssh")
def test_ssh_understands_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path) -> None:
    file = tmp_path / ".ssh" / "config"
    file.parent.mkdir(mode=0o700)
    file.write_text(MINE)
    assert run(capsys, "--write")[0] == 0

    def asked(host: str) -> dict[str, str]:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(file), host], capture_output=True, text=True, timeout=20, check=True
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    web1, other = asked("web1"), asked("other.example.com")
    quoted = str(home).replace("%", "%%")
    assert web1["proxycommand"] == f"env HYPERION_HOME='{quoted}' /opt/h/bin/hyperion-client nc web1 %p"
    assert (web1["hostkeyalias"], web1["port"], web1["user"]) == ("hyperion-web1", "22", "bob")
    # What was written for all holds for all, and nothing of ours for anybody else.
    assert web1["compression"] == other["compression"] == "yes"
    assert other["user"] == "bob"
    assert "hostkeyalias" not in other


@pytest.mark.needs("ssh")
def test_the_shell_of_ssh_gets_the_words_as_they_were(home: Path, tmp_path: Path) -> None:
    """Through ssh's own expansion and the user's shell, to a program that says what it was given."""
    told = tmp_path / "told"
    file = tmp_path / "config"
    script = f"import json, os, sys; json.dump([os.environ['HYPERION_HOME'], sys.argv[1:]], open({str(told)!r}, 'w'))"
    (tmp_path / "program.py").write_text(script)
    command = [
        *proxy_command(None, {"HYPERION_HOME": str(home)})[:1],
        sys.executable,
        str(tmp_path / "program.py"),
        "nc",
    ]
    host = make_hosts(["web1"], command, PLAIN)[0]
    file.write_text(ssh_config.blocks([host]))
    subprocess.run(
        ["ssh", "-F", str(file), "-o", "BatchMode=yes", "web1"], capture_output=True, timeout=20, check=False
    )
    assert json.loads(told.read_text()) == [str(home), ["nc", "web1", "2222"]]


def test_a_connection_that_is_handed_over(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPERION_HOME")
    host = make_hosts(["web1"], proxy_command(None, {}), dataclasses.replace(PLAIN, fdpass=True))[0]
    assert ssh_config.blocks([host]).splitlines()[3:5] == [
        "    ProxyCommand /opt/h/bin/hyperion-client nc -F web1 %p",
        "    ProxyUseFdpass yes",
    ]


def test_write_is_idempotent_and_can_be_undone(capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path) -> None:
    file = tmp_path / ".ssh" / "config"
    code, out, _ = run(capsys, "--write")
    assert (code, out) == (0, f"2 hosts in {file}; try: ssh web1\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.write_text(file.read_text() + MINE)
    before = file.read_bytes(), file.stat().st_ino
    assert run(capsys, "--write")[1] == f"2 hosts in {file}, as before\n"
    assert (file.read_bytes(), file.stat().st_ino) == before
    assert run(capsys, "--remove")[1] == f"removed from {file}\n"
    assert file.read_text() == MINE
    assert run(capsys, "--remove")[1] == f"there was nothing of hyperion in {file}\n"


def test_another_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.d" / "hyperion"
    assert run(capsys, "--write", "--file", str(file))[0] == 0
    assert "Host web1" in file.read_text()
    assert not (tmp_path / ".ssh").exists()


def test_bytes_that_are_no_text_survive(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"# caf\xe9\n")
    file.chmod(0o644)
    run(capsys, "--write", "--file", str(file))
    assert file.read_bytes().endswith(b"\n# caf\xe9\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    run(capsys, "--remove", "--file", str(file))
    assert file.read_bytes() == b"# caf\xe9\n"


def test_dry_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--write", "--dry-run")
    assert code == 0
    assert "+Host web1" in out.splitlines()
    assert not (tmp_path / ".ssh").exists()
    assert run(capsys, "--remove", "--dry-run")[1] == f"{tmp_path}/.ssh/config stays as it is\n"


def test_names_that_ssh_cannot_take(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    config = home / "hyperion.toml"
    config.write_text(config.read_text().replace('"db1"', '"!ProxyCommand=x"'))
    code, out, err = run(capsys)
    assert code == 0
    assert "ProxyCommand=x" not in out
    assert err == "hyperion-client: warning: !ProxyCommand=x is left out: ssh cannot take this name\n"
    for name in ("a*", "!a", "a,b", "a;b", "$a", "a'b", 'a"b', "h\u00f6st", "a%h", "a`b"):
        assert make_hosts([name], ["x"], PLAIN) == []


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = json.loads(run(capsys, "--json")[1])
    assert (document["schema"], document["file"], document["skipped"]) == ("hyperion.ssh-config/1", None, [])
    assert [(host["host"], host["server"], host["port"], host["alias"]) for host in document["hosts"]] == [
        ("web1", "web1", 22, "hyperion-web1"),
        ("db1", "db1", 22, "hyperion-db1"),
    ]
    assert json.loads(run(capsys, "--write", "--json")[1])["file"] == str(tmp_path / ".ssh" / "config")


@pytest.mark.parametrize(
    "arguments", [("--write", "--remove"), ("--file", "x"), ("--dry-run",), ("--prefix", "-x"), ("--prefix", "a b")]
)
def test_what_makes_no_sense(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert run(capsys, *arguments)[0] == 2


def test_a_spoilt_fence_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("# >>> hyperion >>>\n")
    assert run(capsys, "--write", "--file", str(file))[0] == 73
    assert file.read_text() == "# >>> hyperion >>>\n"


def test_the_users_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/elsewhere")  # ssh does not ask it
    assert user_file().parts[-2:] == (".ssh", "config")
    assert not str(user_file()).startswith("/elsewhere")
    assert user_file().is_absolute()
