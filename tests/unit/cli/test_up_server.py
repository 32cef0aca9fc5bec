from dataclasses import replace
from pathlib import Path

import pytest

from hyperion.cli import up_server as module
from hyperion.cli.launch import Launched
from hyperion.cli.up import UpOptions
from hyperion.cli.up_server import banner, run_up_server, show_gate, show_up
from hyperion.config import KnockSettings, Secrets, ServerConfig, load_server
from hyperion.errors import BadKeyError, ConfigMissingError
from hyperion.proto.operator import GateLine, ServerStatus
from tests.helpers.config_files import server_text


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "server.toml").write_text(server_text(tmp_path))
    return tmp_path / "server.toml"


def config(path: Path) -> ServerConfig:
    return load_server(path, Secrets(None, {}))


def test_the_banner(path: Path) -> None:
    assert banner(config(path), Launched(17, ["127.0.0.1:8443"]), Path("/l")) == [
        "hyperion-server up (pid 17).",
        "  listen: 127.0.0.1:8443",
        "  knock:  off; the tunnel port answers whoever the firewall lets in",
        "  egress: 22, 5432",
        "  log:    /l",
        "  status: hyperion-server status",
        "  stop:   hyperion-server down",
    ]
    gated = replace(config(path), knock=KnockSettings(True, None, 30), egress=frozenset())
    lines = banner(gated, Launched(17, []), Path("/l"))
    assert "  knock:  enabled on udp/8443; the tunnel port answers only who has knocked" in lines
    assert "  egress: deny-all (no ports allowed yet)" in lines
    lines = banner(gated, Launched(17, [], "nobody", "make a user"), Path("/l"))
    assert lines[5:8] == ["  user:   nobody", "  warning: make a user", "  log:    /l"]
    named = UpOptions(program="server", config_file=Path("my server.toml"))
    assert banner(gated, Launched(17, []), Path("/l"), named.naming)[-2:] == [
        "  status: hyperion-server status -c 'my server.toml'",
        "  stop:   hyperion-server down -c 'my server.toml'",
    ]


def test_faults_are_found_before_anything_is_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "start_daemon", lambda *_: pytest.fail("it was started"))
    options = UpOptions(program="server", config_file=None)
    assert run_up_server(replace(options, dry_run=True)) == 0
    (path.parent / "server.key").chmod(0o644)
    with pytest.raises(BadKeyError):
        run_up_server(options)
    path.unlink()
    with pytest.raises(ConfigMissingError):
        run_up_server(options)


def test_where_systemd_would_keep_it_that_is_said(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = UpOptions(program="server", config_file=None)
    for keeps in (False, True):
        monkeypatch.setattr(module, "could_keep_it", lambda keeps=keeps: keeps)
        assert show_up(options, config(path), Launched(17, []), Path("/l")) == 0
        assert ("\n  boot:   it ends with the next boot; " in capsys.readouterr().out) is keeps


def test_a_server_whose_gate_is_shut_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    shut = GateLine(state="shut", reason="table: table-missing", port=8443)
    looks = iter(
        [ServerStatus(state="degraded", pid=1, gate=shut), ServerStatus(state="up", pid=1, gate=GateLine(state="ok"))]
    )
    assert show_gate(lambda: next(looks)) == 0  # knockd was just starting
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(module, "GATE_SECONDS", 0.01)
    assert show_gate(lambda: ServerStatus(state="degraded", pid=1, gate=shut)) == 4
    assert capsys.readouterr().out.splitlines() == [
        "the gate is shut: table: table-missing",
        "    the firewall's rules are not loaded, and without them the port answers nobody",
        "    next: sudo hyperion-server apply-firewall",
    ]
    other = GateLine(state="shut", reason="knockd is not running")
    assert show_gate(lambda: ServerStatus(state="degraded", pid=1, gate=other)) == 4
    assert "next: look for HYP11" in capsys.readouterr().out
