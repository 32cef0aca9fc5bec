import json
import os
from pathlib import Path

import pytest

from hyperion import running
from hyperion.cli import ls as ls_command
from hyperion.cli.border import run_program
from hyperion.cli.client import program
from hyperion.errors import RefusedError
from hyperion.running import Running
from tests.helpers.config_files import SERVER_SECRET, client_text, leaks


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "hyperion.toml").write_text(client_text(tmp_path))
    return tmp_path


def ls(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-client", program, ["ls", *arguments])
    return code, *capsys.readouterr()


def test_without_the_device_no_fake_address_is_promised(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ls_command, "DEVICE", home / "hyperion0")
    assert (
        ls(capsys)[1]
        == """\
hyperion: down
transparent mode: off
name  fake ip          reach it at
web1  10.99.0.10       hyperion-client nc web1 22   (192.0.2.1:8443)
db1   10.99.0.11       hyperion-client nc db1 22   (db1.example.com:443)
"""
    )


def test_the_table(capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "hyperion0").mkdir()
    monkeypatch.setattr(ls_command, "DEVICE", home / "hyperion0")
    assert ls(capsys) == (
        0,
        """\
hyperion: down
tun device hyperion0 at 10.99.0.1
name  fake ip          reach it at
web1  10.99.0.10       ssh user@10.99.0.10   (192.0.2.1:8443)
db1   10.99.0.11       ssh user@10.99.0.11   (db1.example.com:443)
""",
        "",
    )


def test_no_secret_is_needed_or_shown(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    os.unlink(home / "admin.key")
    for arguments in ((), ("--json",)):
        code, out, err = ls(capsys, *arguments)
        assert (code, leaks(out + err)) == (0, [])


def test_a_client_that_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "find", lambda program, config_file: Running(Path("/run"), 17))
    assert ls(capsys)[1].startswith("hyperion: UP (pid 17)\n")
    document = json.loads(ls(capsys, "--json")[1])
    assert (document["running"], document["pid"]) == (True, 17)


def test_a_client_that_we_may_not_see(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: str, config_file: Path | None) -> None:
        raise RefusedError("no")

    monkeypatch.setattr(running, "find", refuse)
    assert ls(capsys)[1].startswith("hyperion: unknown (another user's, perhaps: ask with sudo)\n")
    document = json.loads(ls(capsys, "--json")[1])
    assert (document["running"], document["pid"]) == (None, None)


def test_json(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    document = json.loads(ls(capsys, "--json")[1])
    public = SERVER_SECRET.public()
    assert document == {
        "schema": "hyperion.ls/1",
        "config": str(home / "hyperion.toml"),
        "running": False,
        "pid": None,
        "tun_addr": "10.99.0.1",
        "servers": [
            {
                "name": "web1",
                "addr": "192.0.2.1:8443",
                "virtual_ip": "10.99.0.10",
                "server_pubkey": str(public),
                "fingerprint": public.fingerprint,
                "pool_size": 2,
                "forwards": [{"local": "127.0.0.1:2201", "remote_port": 22}],
            },
            {
                "name": "db1",
                "addr": "db1.example.com:443",
                "virtual_ip": "10.99.0.11",
                "server_pubkey": str(public),
                "fingerprint": public.fingerprint,
                "pool_size": 2,
                "forwards": [],
            },
        ],
    }


def test_no_servers_and_no_file(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    text = (home / "hyperion.toml").read_text()
    (home / "hyperion.toml").write_text(text[: text.index("[[server]]")])
    assert ls(capsys)[1].splitlines()[2] == (
        "no servers yet; add one: hyperion-client add-server NAME HOST[:PORT] PUBKEY"
    )
    os.unlink(home / "hyperion.toml")
    code, out, err = ls(capsys)
    assert (code, out) == (66, "")
    assert err == (
        f"hyperion-client: error: no configuration file {home}/hyperion.toml\n"
        "hint: init makes one, --config FILE names another\n"
    )
