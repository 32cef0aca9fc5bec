import json
from pathlib import Path

import pytest

from hyperion.cli import print_firewall
from hyperion.cli.border import run_program
from hyperion.cli.server import program
from hyperion.errors import RefusedError
from hyperion.firewall.nft import NftMissingError, NotPermittedError
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.running import Running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-server", program, ["print-firewall", *arguments])
    return code, *capsys.readouterr()


def expect_nft(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[str]:
    """nft as it would answer; what it was asked."""
    asked: list[str] = []

    class Fake:
        def check(self, commands: str) -> None:
            asked.append(commands)
            if error is not None:
                raise error

    monkeypatch.setattr(print_firewall, "NftProgram", Fake)
    return asked


def test_the_ruleset_and_nothing_else(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = expect_nft(monkeypatch, NftMissingError())
    rules = Ruleset(8443, set="knock_allow", keep_ports=(22,))
    assert printed(capsys, "--tunnel-port", "8443", "--keep-port", "22") == (0, ruleset_text(rules), "")
    assert asked == []  # a printer needs no nft


def test_a_running_server_is_told_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its guard would take a change of the table back, and only the log would say so."""
    found: list[Running | None] = [Running(Path("/r"), 17), Running(Path("/r"), None), None]
    monkeypatch.setattr(print_firewall, "find", lambda program, config_file: found.pop(0))
    text = ruleset_text(Ruleset(8443, set="knock_allow"))
    note = "a table that it guards already it puts back; apply-firewall changes that one\n"
    for said in (f"note: a server runs (pid 17): {note}", f"note: a server runs: {note}", ""):
        assert printed(capsys, "--tunnel-port", "8443") == (0, text, said)

    def closed(*_: object) -> None:
        raise RefusedError("closed to you")

    monkeypatch.setattr(print_firewall, "find", closed)
    assert printed(capsys, "--tunnel-port", "8443") == (0, text, "")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = printed(capsys, "--tunnel-port", "8443", "--one-shot", "--json")
    assert (code, err) == (0, "")
    text = ruleset_text(Ruleset(8443, set="knock_allow", one_shot=True))
    assert json.loads(out) == {
        "schema": "hyperion.print-firewall/1",
        "tunnel_port": 8443,
        "table": "hyperion",
        "set": "knock_allow",
        "keep_ports": [],
        "one_shot": True,
        "ruleset": text,
    }


def test_check_asks_nft_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = expect_nft(monkeypatch)
    code, out, err = printed(capsys, "--tunnel-port", "8443", "--check")
    assert (code, asked) == (0, [out])
    assert "nothing was loaded" in err


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [(NftMissingError(), 69, "install nftables"), (NotPermittedError("no right", hint="it takes root"), 77, "root")],
)
def test_what_nft_refuses_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, hint: str
) -> None:
    expect_nft(monkeypatch, error)
    found, out, err = printed(capsys, "--tunnel-port", "8443", "--check")
    assert (found, out) == (code, "")
    assert f"hint: {hint}" in err or hint in err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys)[0] == 2
    assert printed(capsys, "--tunnel-port", "22", "--keep-port", "22")[0] == 2
    code, out, err = printed(capsys, "--tunnel-port", "1", "--table", "a;b")
    assert (code, out) == (2, "")
    assert err.startswith("hyperion-server: error: firewall table: expected")


def test_a_name_in_the_configuration_that_breaks_out(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    text = 'listen = "0.0.0.0:1"\n[key]\nsource = "env"\n[identity]\nstatic_key_file = "k"\n[firewall]\ntable = "a;b"\n'
    (home / "server.toml").write_text(text)
    code, out, err = printed(capsys, "--tunnel-port", "8443")
    assert (code, out) == (78, "")
    assert "[firewall] table: expected a letter or _" in err
