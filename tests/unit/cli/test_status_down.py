from pathlib import Path

import pytest

from hyperion.cli.status_down import down
from hyperion.proto.operator import ClientStatus, ServerStatus
from tests.helpers.config_files import client_text, leaks, server_text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


def test_what_a_server_would_do(home: Path) -> None:
    (home / "server.toml").write_text(server_text(home).replace("[key]", "[knock]\nenabled = true\n[key]"))
    status, advice = down("server", None)
    assert isinstance(status, ServerStatus)
    assert (status.state, status.listen, status.egress) == ("down", "127.0.0.1:8443", [22, 5432])
    assert status.gate is not None
    assert (status.gate.state, status.gate.port) == ("enabled", 8443)
    assert [admin.ports for admin in status.admins] == [[22, 5432]]
    assert advice == "start it with: hyperion-server up"
    assert leaks(f"{status}") == []


def test_what_a_client_would_do(home: Path) -> None:
    (home / "hyperion.toml").write_text(client_text(home))
    status, advice = down("client", None)
    assert isinstance(status, ClientStatus)
    assert (status.state, status.servers_total) == ("down", 2)
    assert advice == "start it with: hyperion-client up"
    text = client_text(home)
    (home / "other.toml").write_text(text[: text.index("[[server]]")])
    status, advice = down("client", home / "other.toml")
    assert advice == "no servers yet; add one with: hyperion-client add-server NAME HOST[:PORT] PUBKEY"


@pytest.mark.parametrize("program", ["server", "client"])
def test_nothing_to_start(home: Path, program: str) -> None:
    name = "server.toml" if program == "server" else "hyperion.toml"
    kind = "server" if program == "server" else "client"
    status, advice = down(kind, None)  # type: ignore[arg-type]
    assert status.state == "down"
    assert advice == f"no configuration file {home}/{name}; make one with: hyperion-{program} init"
    (home / name).write_text("= nonsense")
    status, advice = down(kind, None)  # type: ignore[arg-type]
    assert advice.startswith(f"its configuration has a fault: {home}/{name}: line 1, column 1")
    assert status.reason is not None


def test_a_fault_that_the_start_would_find_is_named_now(home: Path) -> None:
    (home / "server.toml").write_text(server_text(home).replace('listen = "127.0.0.1:8443"', 'listen = "127.0.0.1"'))
    status, advice = down("server", None)
    assert status.state == "down"
    assert advice.startswith(f"its configuration has a fault: {home}/server.toml: listen: expected HOST:PORT")
    (home / "hyperion.toml").write_text(client_text(home).replace('name = "db1"', 'name = "web1"'))
    status, advice = down("client", None)
    assert "a name of its own" in advice


def test_admins_are_called_as_a_server_that_runs_calls_them(home: Path) -> None:
    (home / "server.toml").write_text(server_text(home))
    status, _ = down("server", None)
    assert isinstance(status, ServerStatus)
    assert [(admin.name, admin.fingerprint[:7]) for admin in status.admins] == [
        (status.admins[0].fingerprint, "SHA256:")
    ]
