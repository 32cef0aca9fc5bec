from pathlib import Path

import pytest

from hyperion.cli import up_client as module
from hyperion.cli.launch import Launched
from hyperion.cli.up import UpOptions
from hyperion.cli.up_client import banner, is_settled, run_up_client, show_start
from hyperion.config import Secrets, load_client
from hyperion.errors import ConfigError, UsageError
from hyperion.proto.operator import ClientStatus, TransparentLine, TunnelLine
from tests.helpers.config_files import client_text


def line(name: str, state: str, up: int = 0) -> TunnelLine:
    reason = "refused" if state == "down" else None
    return TunnelLine(
        name=name, address="x:1", state=state, reason=reason, pool_up=up, pool_size=2, round_trip_ms=3.0 if up else None
    )


def status(*lines: TunnelLine, state: str = "up") -> ClientStatus:
    return ClientStatus(state=state, pid=17, servers=list(lines), servers_total=len(lines))


def test_the_next_commands_name_the_configuration_that_was_named(tmp_path: Path) -> None:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    config = load_client(path, Secrets(None, {}))
    for file, words in ((None, ""), (path, f" -c {path}")):
        lines = banner(config, Launched(17, []), Path("/l"), None, UpOptions(program="client", config_file=file).naming)
        assert lines[-2:] == [f"  status:  hyperion-client status{words}", f"  stop:    hyperion-client down{words}"]


def test_settled() -> None:
    assert is_settled(status(line("a", "up", 2), line("b", "degraded", 1), line("c", "down"), line("d", "failed")))
    assert not is_settled(status(line("a", "up", 2), line("b", "connecting")))
    assert not is_settled(status(line("a", "starting")))
    assert not is_settled(status(state="starting"))
    assert is_settled(ClientStatus())


def test_each_server_is_told_once_and_the_rest_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    looks = iter(
        [
            status(line("a", "connecting"), line("b", "connecting")),
            status(line("a", "up", 1), line("b", "connecting")),
            status(line("a", "up", 2), line("b", "connecting")),
            status(line("a", "up", 2), line("b", "down")),
        ]
    )
    assert show_start(lambda: next(looks)) == 4
    assert capsys.readouterr().out.splitlines() == ["a: up (3.0 ms)", "b: down, refused", "1 up, 1 down (refused: b)"]
    assert show_start(lambda: status(line("a", "up", 2))) == 0


def test_how_to_use_it_is_told_where_there_is_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    server = TunnelLine(name="a", address="x:1", state="up", fake_ip="10.99.0.10", pool_up=1, pool_size=1)
    device = TransparentLine(state="up", device="hyperion0", address="10.99.0.1/24")
    running = ClientStatus(state="up", pid=17, servers=[server], transparent=device)
    assert show_start(lambda: running) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a: up at 10.99.0.10 (-)",
        "1 up",
        "reach a server by its fake ip: ssh user@10.99.0.10",
    ]


def test_it_does_not_wait_for_ever(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    assert show_start(lambda: status(line("a", "connecting"))) == 4
    assert capsys.readouterr().out == "0 up, 1 down (connecting: a)\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "hyperion.toml").write_text(client_text(tmp_path))
    return tmp_path / "hyperion.toml"


def test_the_banner_and_no_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "start_daemon", lambda *_: (Launched(17, ["127.0.0.1:2201"]), Path("/l")))
    assert run_up_client(UpOptions(program="client", config_file=None), [], wait=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "hyperion up (pid 17).",
        "  servers: 2, 1 forward",
        "  log:     /l",
        "  status:  hyperion-client status",
        "  stop:    hyperion-client down",
    ]
    launched = Launched(17, [], "nobody", "make a user")
    monkeypatch.setattr(module, "start_daemon", lambda *_: (launched, Path("/l")))
    assert run_up_client(UpOptions(program="client", config_file=None), [], wait=False) == 0
    assert capsys.readouterr().out.splitlines()[2:5] == ["  user:    nobody", "  warning: make a user", "  log:     /l"]
    monkeypatch.setattr(module, "start_daemon", lambda *_: (Launched(17, ["127.0.0.1:2201"]), Path("/l")))
    assert run_up_client(UpOptions(program="client", config_file=None), ["db1"], wait=False) == 0
    assert "  servers: 1, 1 forward" in capsys.readouterr().out


def test_faults_are_found_before_anything_is_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "start_daemon", lambda *_: pytest.fail("it was started"))
    options = UpOptions(program="client", config_file=None)
    with pytest.raises(UsageError, match="no server web2"):
        run_up_client(options, ["web2"])
    text = path.read_text()
    path.write_text(text[: text.index("[[server]]")])
    with pytest.raises(ConfigError, match="no server to reach") as failure:
        run_up_client(options, [])
    assert failure.value.hint == "add one: hyperion-client add-server NAME HOST[:PORT] PUBKEY"


def test_an_unknown_server_is_told_before_anybody_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text()
    path.write_text(text.replace('source = "value"', 'source = "passphrase"\nsalt = "salt-salt-salt"'))
    monkeypatch.delenv("HYPERION_PASSPHRASE", raising=False)
    monkeypatch.setattr(module, "terminal_prompt", lambda: lambda question: pytest.fail(f"it asked: {question}"))
    with pytest.raises(UsageError, match="no server web2"):
        run_up_client(UpOptions(program="client", config_file=None), ["db1", "web2"])


def test_how_to_use_it_without_a_device(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    server = TunnelLine(name="a", address="x:1", state="up", fake_ip="10.99.0.10", pool_up=1, pool_size=1)
    running = ClientStatus(state="up", pid=17, servers=[server], socks=["127.0.0.1:1080"])
    assert module._examples(running) == []
    monkeypatch.setattr(module, "is_terminal", lambda: True)
    assert module._examples(running) == [
        "reach a server: hyperion-client ssh-config --write, then ssh a",
        "through SOCKS: curl --proxy socks5h://127.0.0.1:1080 http://a:PORT/",
    ]
    assert module._examples(status(line("a", "down"))) == []
