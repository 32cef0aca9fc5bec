import json
import os
import shlex
import socket
import stat
from pathlib import Path

import pytest

from hyperion.cli import own_address
from hyperion.cli.border import run_program
from hyperion.cli.init_server import parse_ports
from hyperion.cli.server import program
from hyperion.config import Secrets, load_server
from hyperion.config.keyfile import read_secret
from hyperion.config.name import NAME_RULE
from hyperion.errors import UsageError
from hyperion.proto.keys import PrivateKey
from tests.helpers.config_files import ADMIN_SECRET

ADMIN = str(ADMIN_SECRET.public())
ORDER = ("--salt", "saltsalt", "--admin-key", ADMIN)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(socket, "gethostname", lambda: "web1.example.com")
    monkeypatch.setattr(own_address, "_source_towards", lambda family, far: "9.9.9.9")
    return tmp_path / "home"


def init(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-server", program, ["init", *arguments])
    return code, *capsys.readouterr()


def test_what_it_writes_and_says(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = os.umask(0)
    try:
        code, out, err = init(capsys, *ORDER, "--allow", "22,5432")
    finally:
        os.umask(before)
    assert (code, err) == (0, "")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {
        "server.key": 0o600,
        "server.toml": 0o600,
    }
    public = PrivateKey.parse(read_secret(home / "server.key")).public()
    config = load_server(home / "server.toml", Secrets(None, {"HYPERION_PASSPHRASE": "x" * 20}))
    assert config.identity.public() == public
    assert [str(admin.key) for admin in config.admins] == [ADMIN]
    assert (str(config.listen), config.egress, config.knock.enabled) == ("0.0.0.0:8443", frozenset({22, 5432}), True)
    assert (
        out
        == f"""\
hyperion-server initialized.
config: {home}/server.toml

server public key:
    {public}

next, here:
    sudo hyperion-server up
    sudo hyperion-server apply-firewall --confirm-within 90
    (drops all other inbound traffic, and puts back what was there unless
    somebody gets in within 90 s; --keep-port 22 leaves ssh open to all)
next, on the admin's machine, while the server waits for that:
    hyperion-client add-server web1 9.9.9.9:8443 {public}

where nobody can be locked out, at the console, the same rules without a trial:
    hyperion-server print-firewall --tunnel-port 8443 | sudo nft -f -
"""
    )


def test_without_a_port_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "note: nobody reaches any port yet; list them in [egress] allow\n" in init(capsys, *ORDER)[1]


def test_an_address_that_only_this_network_knows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_address, "_source_towards", lambda family, far: "192.168.1.5")
    lines = [line.strip() for line in init(capsys, *ORDER)[1].splitlines()]
    at = lines.index("next, on the admin's machine, while the server waits for that:") + 2
    assert lines[at : at + 2] == [
        "(192.168.1.5:8443 is what this machine knows of itself;",
        "use the address that the admin reaches it by)",
    ]


def test_a_named_admin(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert init(capsys, *ORDER, "--admin-name", "alice")[0] == 0
    config = load_server(home / "server.toml", Secrets(None, {"HYPERION_PASSPHRASE": "x" * 20}))
    assert [(admin.name, str(admin.key)) for admin in config.admins] == [("alice", ADMIN)]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--salt", "short", "--admin-key", ADMIN), 2, "--salt: expected at least 8 bytes"),
        (("--salt", "change-me-shared-salt", "--admin-key", ADMIN), 2, "--salt: expected at least 8 bytes"),
        (("--salt", "salt\nsalt", "--admin-key", ADMIN), 2, "--salt: expected printable characters"),
        (("--salt", "saltsalt", "--admin-key", "x"), 65, "--admin-key: not canonical base64"),
        (("--salt", "saltsalt", "--admin-key", "AAAA"), 65, "--admin-key: key must be 32 bytes"),
        (
            (*ORDER, "--admin-name", "a b"),
            2,
            f"--admin-name: expected {NAME_RULE}",
        ),
        ((*ORDER, "--allow", "22,0"), 2, "--allow: 0 is not a port from 1 to 65535"),
        ((*ORDER, "--allow", "22,,80"), 2, "--allow: nothing is not a port from 1 to 65535"),
        ((*ORDER, "--listen", "8443"), 2, "--listen: expected ADDRESS:PORT: there is no port"),
        (("--admin-key", ADMIN), 2, "missing option '--salt'"),
        (("--salt", "saltsalt"), 2, "missing option '--admin-key'"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], home: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    found, out, err = init(capsys, *arguments)
    assert (found, out, err.splitlines()[0]) == (code, "", f"hyperion-server: error: {error}")
    assert err.splitlines()[-1].startswith("hint: ")
    assert not home.exists()


def test_what_exists_is_kept_unless_forced(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    init(capsys, *ORDER)
    key = read_secret(home / "server.key")
    code, out, err = init(capsys, *ORDER)
    assert (code, out) == (73, "")
    assert err == (
        f"hyperion-server: error: {home}/server.toml exists already\n"
        "hint: --force starts over with a new key, and keeps the old files\n"
    )
    code, out, _ = init(capsys, *ORDER, "--force")
    assert code == 0
    kept = [line.removeprefix("kept:   ") for line in out.splitlines() if line.startswith("kept:")]
    assert [read_secret(Path(path)) for path in kept if "server.key" in path] == [key]
    assert read_secret(home / "server.key") != key


def test_json(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = init(capsys, *ORDER, "--json", "--listen", "[2001:db8::1]:443", "--allow", "22")
    document = json.loads(out)
    key = PrivateKey.parse(read_secret(home / "server.key"))
    assert code == 0
    assert document["schema"] == "hyperion.server-init/1"
    assert document["allow"] == [22]
    # First the server, so that the trial has somebody who sees the proof; no step of it without a way back.
    assert document["next_here"] == [
        "sudo hyperion-server up",
        "sudo hyperion-server apply-firewall --confirm-within 90",
    ]
    assert shlex.split(document["next_client"]) == [
        *("hyperion-client", "add-server", "web1", "[2001:db8::1]:443", str(key.public())),
    ]
    assert key.format() not in out


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = init(capsys, *ORDER, "--dry-run")
    assert code == 0
    assert out.startswith(f"would write {home}/server.key: a new secret key\nwould write {home}/server.toml:\n\n#")
    assert not home.exists()


def test_ports() -> None:
    assert parse_ports("") == parse_ports(" ") == []
    assert parse_ports("5432, 22,5432") == [5432, 22]
    for text in (",", "x", "-1", "70000", "1.5", "\u0662"):
        with pytest.raises(UsageError):
            parse_ports(text)
