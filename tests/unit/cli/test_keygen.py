import json
import os
import resource
import stat
from pathlib import Path

import pytest

from hyperion.cli.border import run_program
from hyperion.cli.client import program as client
from hyperion.config.keyfile import read_secret
from hyperion.proto.keys import PrivateKey, PublicKey


def keygen(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("prog", client, ["keygen", *arguments])
    return code, *capsys.readouterr()


def test_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = keygen(capsys)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0::2] == ["public key:", "private key:"]
    assert PrivateKey.parse(lines[3]).public() == PublicKey.parse(lines[1])


@pytest.mark.parametrize("option", ["-o", "--out"])
def test_in_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    path = tmp_path / "a.key"
    before = os.umask(0)
    try:
        code, out, err = keygen(capsys, option, str(path))
    finally:
        os.umask(before)
    key = PrivateKey.parse(read_secret(path))
    assert (code, err) == (0, "")
    assert out == f"public key:\n{key.public()}\nprivate key written to {path}\n"
    assert path.read_text() == key.format() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_kept_unless_forced(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_text("precious")
    code, out, err = keygen(capsys, "-o", str(path))
    assert (code, out) == (73, "")
    assert err.splitlines()[0] == f"prog: error: {path} exists already"
    assert path.read_text() == "precious"
    code, out, _ = keygen(capsys, "-o", str(path), "--force")
    assert code == 0
    assert PrivateKey.parse(read_secret(path)).format() not in out


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--force",), ("--json",)])
def test_a_directory_that_is_not_there_is_not_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path / "home"))
    for path in (tmp_path / "slip" / "a.key", tmp_path / "home" / "slip" / "a.key"):
        code, out, err = keygen(capsys, "-o", str(path), *more)
        assert (code, out) == (73, "")
        assert err == (
            f"prog: error: {path} cannot be written: there is no directory {path.parent}\nhint: make it first\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_the_directory_of_the_configuration_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path / "home"))
    assert keygen(capsys, "-o", str(tmp_path / "home" / "admin.key"))[0] == 0
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = keygen(capsys, "--json")
    document = json.loads(out)
    key = PrivateKey.parse(document.pop("private_key"))
    assert code == 0
    expected = {"schema": "hyperion.keygen/1", "public_key": str(key.public()), "fingerprint": key.public().fingerprint}
    assert document == expected
    path = tmp_path / "a.key"
    code, out, _ = keygen(capsys, "--json", "-o", str(path))
    key = PrivateKey.parse(read_secret(path))
    document = json.loads(out)
    assert (document["file"], document["public_key"]) == (str(path), str(key.public()))
    assert "private_key" not in document
    assert key.format() not in out


def test_no_core_dump_holds_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    keygen(capsys)
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def test_no_two_keys_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({keygen(capsys)[1] for _ in range(20)}) == 20


def test_the_public_half_of_a_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    keygen(capsys, "-o", str(path))
    key = PrivateKey.parse(read_secret(path))
    assert keygen(capsys, "-y", str(path)) == (0, f"public key:\n{key.public()}\n", "")
    document = json.loads(keygen(capsys, "-y", str(path), "--json")[1])
    assert document == {
        "schema": "hyperion.keygen/1",
        "public_key": str(key.public()),
        "fingerprint": key.public().fingerprint,
    }
    assert keygen(capsys, "-y", str(path), "-o", "x")[0] == 2
    path.chmod(0o644)
    assert keygen(capsys, "-y", str(path))[0] == 65
    path.chmod(0o600)
    path.write_text("no key\n")
    assert keygen(capsys, "-y", str(path))[2].startswith(f"prog: error: key file {path}: not canonical base64")


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    assert keygen(capsys, "-o", str(path), "--dry-run") == (0, f"would write {path}: a new secret key\n", "")
    assert not path.exists()
    path.write_text("precious")
    assert keygen(capsys, "-o", str(path), "--dry-run")[0] == 73
    assert keygen(capsys, "-o", str(path), "--dry-run", "--force")[0] == 0
    assert path.read_text() == "precious"
    assert keygen(capsys, "--dry-run") == (0, "would print a new key pair, and write nothing\n", "")
