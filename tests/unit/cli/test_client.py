"""Transcripts: what a person sees who types this, up to the point where the supervisor or a probe takes over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperion.cli.border import run_program
from hyperion.cli.client import program
from tests.helpers.config_files import PASSPHRASE, PSK_TEXT, client_text, leaks


def hyperion_client(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-client", program, arguments)
    out, err = capsys.readouterr()
    assert not leaks(out + err)
    return code, out, err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    return path


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hyperion_client(capsys, "--help")
    assert (code, err) == (0, "")
    for word in ("run", "doctor", "keygen", "--version", "--debug"):
        assert word in out
    code, out, _ = hyperion_client(capsys, "run", "--help")
    for word in ("--config", "-L", "--log-format", "--log-level", "--drain-timeout"):
        assert word in out
    code, out, _ = hyperion_client(capsys, "doctor", "--help")
    for word in ("--config", "--json", "--timeout"):
        assert word in out


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_no_config(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    hint = "hint: init makes one, --config FILE names another"
    expected = f"hyperion-client: error: no configuration file {tmp_path}/hyperion.toml\n{hint}\n"
    assert hyperion_client(capsys, command) == (66, "", expected)


@pytest.mark.parametrize("command", ["run", "doctor"])
@pytest.mark.parametrize(
    ("old", "new", "code", "expected"),
    [
        (
            'source = "value"',
            'source = "vault"',
            78,
            '[key] source: expected one of "env", "file", "passphrase", "value", got',
        ),
        ("db1.example.com:443", "db1.example.com", 78, "[[server]] #2 addr: expected HOST:PORT or [IPV6]:PORT, got"),
        (PSK_TEXT, PSK_TEXT[:-2], 78, "[key] value: expected a psk of 32 bytes in base64, got a text that is not one"),
        ('name = "db1"', f'name = "{PSK_TEXT}/"', 78, "[[server]] #2 name: expected 1 to 64 printable characters"),
        ('name = "db1"', f'name = "db1"\nkey_value = "{PSK_TEXT}="', 78, "[[server]] #2 key_value: expected a psk"),
        ('name = "db1"', f'name = "db1"\nkey_env = "{PSK_TEXT}"', 78, "[[server]] #2 key_env: expected the name of"),
        ("admin.key", "none.key", 65, "no key file"),
        ("[key]", "[knock]\nport = 0\n[key]", 78, "[knock] port: expected a port from 1 to 65535, got 0"),
    ],
)
def test_bad_config(
    capsys: pytest.CaptureFixture[str], config: Path, command: str, old: str, new: str, code: int, expected: str
) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    found, out, err = hyperion_client(capsys, command, "-c", str(config))
    assert (found, out) == (code, "")
    assert expected in err
    assert err.startswith("hyperion-client: error: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-L", "wbe1:22"], "no server wbe1 in {config}\nhint: did you mean web1?\n"),
        (["-L", "2201:web1:22"], "-L: 127.0.0.1:2201 is used by two forwards\nhint: leave out the local port"),
        (["-L", "2201"], "-L 2201: expected LPORT:SERVER:RPORT or SERVER:RPORT\nhint: like -L 8080:web1:80\n"),
        (["-L", "70000:web1:22"], "-L 70000:web1:22: 70000 is not a port from 0 to 65535\n"),
    ],
)
def test_bad_forwards(capsys: pytest.CaptureFixture[str], config: Path, arguments: list[str], expected: str) -> None:
    code, out, err = hyperion_client(capsys, "run", "-c", str(config), *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"hyperion-client: error: {expected.format(config=config)}")


def test_nothing_to_forward(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    text = config.read_text()
    config.write_text(text[: text.index("[[forward]]")])
    code, _, err = hyperion_client(capsys, "run", "-c", str(config))
    assert code == 2
    assert err.startswith("hyperion-client: error: nothing to forward\nhint: add a [[forward]] to ")


def test_doctor_of_an_unknown_server(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, _, err = hyperion_client(capsys, "doctor", "-c", str(config), "web2")
    assert (code, err) == (2, f"hyperion-client: error: no server web2 in {config}\nhint: did you mean web1?\n")


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "601", "x"])
def test_doctor_needs_a_sensible_timeout(capsys: pytest.CaptureFixture[str], config: Path, timeout: str) -> None:
    code, _, err = hyperion_client(capsys, "doctor", "-c", str(config), "--timeout", timeout)
    assert code == 2
    assert err.startswith("hyperion-client: error: invalid value for '--timeout'")


def test_a_secret_is_gone_from_the_environment(config: Path) -> None:
    """In a process of its own, with what its children would inherit."""
    text = config.read_text().replace('source = "value"', 'source = "passphrase"\nsalt = "saltsalt"')
    config.write_text(text)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from hyperion.cli.loading import load_client_config\n"
        "from hyperion.config import Secrets\n"
        "load_client_config(Path(sys.argv[1]), Secrets(None))\n"
        "print(sorted(os.environ))\n"
    )
    environ = {**os.environ, "HYPERION_PASSPHRASE": PASSPHRASE}
    done = subprocess.run(
        [sys.executable, "-c", code, config], env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert "PATH" in done.stdout
    assert "HYPERION_PASSPHRASE" not in done.stdout


def test_the_command_line_is_quick_to_load() -> None:
    """Help and keygen load neither the supervisor nor the tunnel, neither a log nor a loop."""
    code = (
        "import sys\n"
        "from hyperion.cli.border import run_program\n"
        "from hyperion.cli.client import program\n"
        "run_program('prog', program, sys.argv[1:])\n"
        "print('loaded', *sys.modules)\n"
    )

    def modules(*arguments: str) -> set[str]:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return set(done.stdout.splitlines()[-1].split())

    slow = {"structlog", "uvloop", "asyncio", "multiprocessing", "noise", "rich", "logging"}
    assert not modules("--help") & (slow | {"cryptography", "msgspec", "argon2"})
    assert not modules("keygen") & slow
