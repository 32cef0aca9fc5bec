"""Transcripts: what a person sees who types this, up to the point where the supervisor takes over."""

from pathlib import Path

import pytest

from hyperion.cli.border import run_program
from hyperion.cli.server import count_processors, program
from hyperion.config.keyfile import read_secret
from hyperion.proto.keys import PrivateKey
from tests.helpers.config_files import PASSPHRASE, PSK_TEXT, leaks, server_text


def hyperion_server(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-server", program, arguments)
    out, err = capsys.readouterr()
    assert not leaks(out + err)
    return code, out, err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hyperion_server(capsys, "--help")
    assert (code, err) == (0, "")
    for word in ("run", "keygen", "--version", "--debug"):
        assert word in out
    code, out, _ = hyperion_server(capsys, "run", "--help")
    for word in ("--config", "--workers", "--log-format", "--log-level", "--drain-timeout"):
        assert word in out


def test_no_config(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    hint = "hint: init makes one, --config FILE names another"
    expected = f"hyperion-server: error: no configuration file {tmp_path}/server.toml\n{hint}\n"
    assert hyperion_server(capsys, "run") == (66, "", expected)


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize(
    ("old", "new", "code", "expected"),
    [
        ("[egress]", "[egres]", 78, "server.toml: expected one of the keys listen, key, identity, admin, egress"),
        ("8443", "0", 78, "listen: expected HOST:PORT or [IPV6]:PORT, got"),
        (PSK_TEXT, PSK_TEXT[:-1], 78, "[key] value: expected a psk of 32 bytes in base64, got a text that is not one"),
        (PSK_TEXT, f"{PSK_TEXT}\n", 78, "line 5, column 54: expected valid TOML"),
        ('source = "value"', 'source = "vault"', 78, '[key] source: expected one of "env", "file", "passphrase"'),
        ('source = "value"', f'source = "{PSK_TEXT}"', 78, "[key] source: expected one of"),
        ('source = "value"', f'source = "env"\nenv_var = "{PASSPHRASE} "', 78, "[key] env_var: expected the name of a"),
        ("value =", "valeu =", 78, "[key]: expected one of the keys"),
        (f'"{PSK_TEXT}"', f'["{PSK_TEXT}"]', 78, "[key] value: expected a key of 32 bytes in base64, got a list"),
        ("server.key", "none.key", 65, "no key file"),
        (
            "admin_pubkeys = [",
            f'admin_pubkeys = ["{PSK_TEXT}A", ',
            78,
            "[identity] admin_pubkeys #1: expected a public",
        ),
        ("[egress]", "[knock]\nknock_port = 0\n[egress]", 78, "[knock] knock_port: expected a port from 1 to 65535"),
    ],
)
def test_bad_config(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, old: str, new: str, code: int, expected: str, debug: list[str]
) -> None:
    path = tmp_path / "server.toml"
    text = server_text(tmp_path)
    assert old in text
    path.write_text(text.replace(old, new))
    found, out, err = hyperion_server(capsys, "run", "--config", str(path), *debug)
    assert (found, out) == (code, "")
    assert expected in err
    if not debug:
        first, *hints = err.splitlines()
        assert first.startswith("hyperion-server: error: ")
        assert all(hint.startswith("hint: ") for hint in hints)
        assert len(hints) <= 1


def test_key_file_open_to_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(server_text(tmp_path))
    (tmp_path / "server.key").chmod(0o644)
    key = tmp_path / "server.key"
    expected = f"hyperion-server: error: key file {key} is open to others (mode 0644)\nhint: chmod 600 {key}\n"
    assert hyperion_server(capsys, "run", "-c", str(path)) == (65, "", expected)


def test_no_passphrase(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPERION_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", None)
    path = tmp_path / "server.toml"
    path.write_text(server_text(tmp_path).replace('source = "value"', 'source = "passphrase"\nsalt = "saltsalt"'))
    code, _, err = hyperion_server(capsys, "run", "-c", str(path))
    assert code == 65
    assert err.startswith("hyperion-server: error: no passphrase: variable HYPERION_PASSPHRASE is not set")


def test_keygen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    code, out, err = hyperion_server(capsys, "keygen", "--out", str(path))
    public = PrivateKey.parse(read_secret(path)).public()
    assert (code, out, err) == (0, f"public key:\n{public}\nprivate key written to {path}\n", "")


@pytest.mark.parametrize("workers", ["0", "257", "x"])
def test_number_of_workers(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    code, _, err = hyperion_server(capsys, "run", "--workers", workers)
    assert code == 2
    assert err.startswith("hyperion-server: error: invalid value for '--workers'")


def test_one_worker_for_each_processor() -> None:
    assert 1 <= count_processors() <= 256
