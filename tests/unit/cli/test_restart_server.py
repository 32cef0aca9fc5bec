import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperion.cli import restart_server as module
from hyperion.cli import up_server
from hyperion.cli.launch import Launched
from hyperion.cli.restart_server import run_restart_server
from hyperion.cli.up import UpOptions
from hyperion.errors import BadKeyError, CannotCreateError, ConfigError
from hyperion.proto.operator import ServerAnswer, ServerStatus
from hyperion.running import Running
from tests.helpers.config_files import server_text
from tests.unit.cli.test_last_way import INSIDE, OUTSIDE

OPTIONS = UpOptions(program="server", config_file=None)
RUNNING = Running(Path("/run/x"), 17)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A server runs; gives how its successor was started."""
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "server.toml").write_text(server_text(tmp_path))
    calls: list[dict[str, Any]] = []

    def start(_options: UpOptions, _path: Path, _secrets: object, **given: Any) -> tuple[Launched, Path]:
        calls.append(given)
        return Launched(18, ["127.0.0.1:8443"]), Path("/l")

    monkeypatch.setattr(module, "start_daemon", start)
    monkeypatch.setattr(module, "find", lambda *_: RUNNING)
    monkeypatch.setattr(module, "login_connection", lambda _: OUTSIDE)
    return calls


def test_the_new_one_ends_the_old_one(started: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_restart_server(OPTIONS, now=False) == 0
    assert run_restart_server(OPTIONS, now=True) == 0
    assert started == [
        {"replaces": Path("/run/x"), "at_once": False},
        {"replaces": Path("/run/x"), "at_once": True},
    ]
    shown = capsys.readouterr()
    assert "stopping pid 17; its streams may finish" in shown.out
    assert "\nstopping pid 17\nhyperion-server up (pid 18).\n" in shown.out
    assert shown.err == ""


def test_a_login_that_will_be_cut_is_told_so(
    started: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "login_connection", lambda _: INSIDE)
    assert run_restart_server(OPTIONS, now=False) == 0
    assert capsys.readouterr().err == (
        "note: this login is cut with them; the start goes on without it: connect again\n"
    )


def test_none_runs(
    started: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find", lambda *_: None)
    assert run_restart_server(OPTIONS, now=False) == 0
    assert started == [{"replaces": None, "at_once": False}]
    assert capsys.readouterr().out.startswith("hyperion-server was not running\nhyperion-server up (pid 18).\n")


def test_nothing_is_stopped_for_a_configuration_that_is_wrong(started: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(BadKeyError):
        run_restart_server(OPTIONS, now=False)
    assert started == []


@pytest.mark.parametrize("runs", [True, False])
def test_a_passphrase_is_asked_for_twice_where_one_serves(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, *, runs: bool
) -> None:
    asked = []
    read = up_server.read_all

    def read_all(options: UpOptions, *, twice: bool) -> tuple[Path, Any, Any]:
        asked.append(twice)
        return read(options, twice=twice)

    monkeypatch.setattr(module, "read_all", read_all)
    monkeypatch.setattr(module, "find", lambda *_: RUNNING if runs else None)
    assert run_restart_server(OPTIONS, now=False) == 0
    assert (asked, len(started)) == ([runs], 1)


@pytest.mark.parametrize("runs", [True, False])
def test_whoever_interrupts_is_told_what_goes_on(
    started: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    runs: bool,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "start_daemon", interrupt)
    monkeypatch.setattr(module, "find", lambda *_: RUNNING if runs else None)
    with pytest.raises(KeyboardInterrupt):
        run_restart_server(OPTIONS, now=False)
    assert ("goes on by itself" in capsys.readouterr().err) == runs
    assert started == []


def test_dry_run(started: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_restart_server(replace(OPTIONS, dry_run=True), now=False) == 0
    assert capsys.readouterr().out.startswith("would stop hyperion-server (pid 17)\nwould start hyperion-server run ")
    assert started == []


def test_a_unit_is_restarted_by_systemd_if_it_would_start(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    class Unit:
        def restart(self, *, dry_run: bool) -> int:
            asked.append(dry_run)
            return 0

    monkeypatch.setattr(module, "responsible_unit", lambda _: Unit())
    file = tmp_path / "server.toml"
    monkeypatch.setattr(module, "system_config", lambda _: file)
    only_the_unit_knows = '[key]\nsource = "env"\nenv_var = "NOBODY_HAS_IT"\n\n[identity]'
    text = file.read_text()
    good = text[: text.index("[key]")] + only_the_unit_knows + text.partition("[identity]")[2]
    file.write_text(good)
    assert run_restart_server(OPTIONS, now=False) == 0
    assert (asked, started) == ([False], [])
    # systemd would find the fault only behind the end of the old one.
    file.write_text(good.replace("listen", "lisen"))
    with pytest.raises(ConfigError):
        run_restart_server(OPTIONS, now=False)
    file.write_text(good.replace("127.0.0.1:8443", "192.0.2.1:8443"))
    with pytest.raises(CannotCreateError):
        run_restart_server(OPTIONS, now=False)
    assert asked == [False]
    # Nothing to lose, or another file than ours.
    monkeypatch.setattr(module, "find", lambda *_: None)
    assert run_restart_server(OPTIONS, now=False) == 0
    monkeypatch.setattr(module, "find", lambda *_: RUNNING)
    file.unlink()
    assert run_restart_server(OPTIONS, now=False) == 0
    assert asked == [False] * 3


def test_the_port_of_the_old_one_is_free_for_its_successor(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        file = tmp_path / "server.toml"
        file.write_text(file.read_text().replace("127.0.0.1:8443", f"127.0.0.1:{port}"))
        monkeypatch.setattr(module, "demand", lambda *_: listening("127.0.0.1:1"))
        with pytest.raises(CannotCreateError, match="in use"):
            run_restart_server(OPTIONS, now=False)
        assert started == []
        monkeypatch.setattr(module, "demand", lambda *_: listening(f"[::]:{port}"))
        assert run_restart_server(OPTIONS, now=False) == 0


def listening(address: str) -> ServerAnswer:
    return ServerAnswer(ServerStatus(state="up", pid=17, listen=address))
