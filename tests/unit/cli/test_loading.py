import io
import sys
from pathlib import Path

import pytest

from hyperion.cli import loading
from hyperion.cli.loading import client_path, load_client_config, load_server_config, server_path, terminal_prompt
from hyperion.config import Secrets
from hyperion.errors import BadKeyError, ConfigError
from tests.helpers.config_files import client_text, server_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("not a person\n"))
    assert terminal_prompt() is None
    monkeypatch.setattr(sys, "stdin", None)
    assert terminal_prompt() is None


def test_a_person_is_asked_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(loading, "getpass", lambda question: f"answer to {question}")
    prompt = terminal_prompt()
    assert prompt is not None
    assert prompt("passphrase: ") == "answer to passphrase: "


@pytest.mark.parametrize(("second", "same"), [("correct horse", True), ("correct hores", False)])
def test_a_slip_that_would_lock_out_is_noticed(monkeypatch: pytest.MonkeyPatch, second: str, *, same: bool) -> None:
    answers = {"passphrase: ": "correct horse", "once more: ": second}
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(loading, "getpass", answers.__getitem__)
    prompt = terminal_prompt(twice=True)
    assert prompt is not None
    if same:
        assert prompt("passphrase: ") == "correct horse"
    else:
        with pytest.raises(BadKeyError, match="differ"):
            prompt("passphrase: ")


def test_end_of_file_instead_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(question: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(loading, "getpass", hang_up)
    prompt = terminal_prompt()
    assert prompt is not None
    with pytest.raises(BadKeyError, match="no passphrase was given"):
        prompt("passphrase: ")


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", "/h")
    assert (server_path(None), client_path(None)) == (Path("/h/server.toml"), Path("/h/hyperion.toml"))
    assert server_path(Path("a")) == client_path(Path("a")) == Path("a")


def test_a_gate_that_cannot_be_provided_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the operator believes in a closed port that is open."""
    path = tmp_path / "c.toml"
    path.write_text(server_text(tmp_path).replace("[key]", "[knock]\nenabled = true\n[key]"))
    assert load_server_config(path, Secrets(None, {})).knock.enabled
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"\[knock\] enabled: expected false, got true \(the gate needs Linux\)"):
        load_server_config(path, Secrets(None, {}))


def test_a_client_knocks_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.toml"
    path.write_text(client_text(tmp_path).replace("[key]", "[knock]\nenabled = true\nport = 5353\n[key]"))
    monkeypatch.setattr(sys, "platform", "darwin")
    knock = load_client_config(path, Secrets(None, {})).knock
    assert (knock.enabled, knock.port) == (True, 5353)
