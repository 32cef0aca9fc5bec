import json
import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from hyperion.cli import init_client
from hyperion.cli.border import run_program
from hyperion.cli.client import program
from hyperion.cli.init_client import make_salt
from hyperion.config import Secrets, load_client
from hyperion.config.keyfile import read_secret
from hyperion.proto.keys import PrivateKey


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def init(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-client", program, ["init", *arguments])
    return code, *capsys.readouterr()


def test_what_it_writes_and_says(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_client, "guess_admin", lambda _: "alice@laptop")
    before = os.umask(0)
    try:
        code, out, err = init(capsys)
    finally:
        os.umask(before)
    assert (code, err) == (0, "")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {
        "admin.key": 0o600,
        "hyperion.toml": 0o600,
    }
    public = PrivateKey.parse(read_secret(home / "admin.key")).public()
    config = load_client(home / "hyperion.toml", Secrets(None, {"HYPERION_PASSPHRASE": "x" * 20}))
    assert config.identity.public() == public
    assert (config.servers, config.knock.enabled) == ((), True)
    salt = re.findall(r'salt = "(.*)"', (home / "hyperion.toml").read_text())[0]
    assert (
        out
        == f"""\
hyperion initialized.
config: {home}/hyperion.toml

admin public key:
    {public}
shared salt:
    {salt}

next, on each server (--allow: the ports you want to reach there):
    hyperion-server init --salt {salt} --admin-key {public} --admin-name alice@laptop --allow 22
next, here (each server prints its first line ready to paste):
    hyperion-client add-server NAME HOST PUBKEY
    sudo hyperion-client up
    (without root: hyperion-client up, and for ssh NAME:
    hyperion-client ssh-config --write)
"""
    )


@pytest.mark.parametrize("name", ["admin.key", "hyperion.toml"])
def test_what_exists_is_kept(capsys: pytest.CaptureFixture[str], home: Path, name: str) -> None:
    home.mkdir()
    (home / name).write_text("precious")
    code, out, err = init(capsys)
    assert (code, out) == (73, "")
    assert err == (
        f"hyperion-client: error: {home}/{name} exists already\n"
        f"hint: hyperion-client keygen -y {home}/admin.key shows its public key; --force starts over\n"
    )
    assert {path.name: path.read_text() for path in home.iterdir()} == {name: "precious"}


def test_force_starts_over_and_loses_nothing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    init(capsys)
    key = read_secret(home / "admin.key")
    code, out, _ = init(capsys, "--force", "--json")
    document = json.loads(out)
    assert code == 0
    assert read_secret(home / "admin.key") != key
    assert [read_secret(Path(path)) for path in document["kept"] if "admin.key" in path] == [key]
    assert len(document["kept"]) == 2


def test_json(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = init(capsys, "--json")
    document = json.loads(out)
    public = PrivateKey.parse(read_secret(home / "admin.key")).public()
    assert code == 0
    assert document["schema"] == "hyperion.client-init/1"
    assert (document["public_key"], document["fingerprint"]) == (str(public), public.fingerprint)
    assert shlex.split(document["next_server"])[2:6] == ["--salt", document["salt"], "--admin-key", str(public)]
    assert PrivateKey.parse(read_secret(home / "admin.key")).format() not in out


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = init(capsys, "--dry-run")
    assert code == 0
    assert out.startswith(
        f"would write {home}/admin.key: a new secret key\nwould write {home}/hyperion.toml:\n\n# Conf"
    )
    assert not home.exists()


def test_salts() -> None:
    salts = {make_salt(os.urandom) for _ in range(200)}
    assert len(salts) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9]{22}", salt) for salt in salts)
    # An unlucky draw: 0xff gives only "/".
    draws = iter([b"\xff" * 32, bytes(32)])
    assert make_salt(lambda _: next(draws)) == "8" + "A" * 21
