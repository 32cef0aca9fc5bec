from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperion.cli import restart_server as module
from hyperion.cli.launch import Launched
from hyperion.cli.restart_server import run_restart_server
from hyperion.cli.up import UpOptions
from hyperion.errors import BadKeyError
from hyperion.running import Running
from tests.helpers.config_files import server_text
from tests.unit.cli.test_last_way import INSIDE, OUTSIDE

OPTIONS = UpOptions(program="server", config_file=None)


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
    monkeypatch.setattr(module, "find", lambda *_: Running(Path("/run/x"), 17))
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


def test_dry_run(started: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_restart_server(replace(OPTIONS, dry_run=True), now=False) == 0
    assert capsys.readouterr().out.startswith("would stop hyperion-server (pid 17)\nwould start hyperion-server run ")
    assert started == []


def test_a_unit_is_restarted_by_systemd(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Unit:
        def restart(self, *, dry_run: bool) -> int:
            asked.append(dry_run)
            return 0

    monkeypatch.setattr(module, "responsible_unit", lambda _: Unit())
    assert run_restart_server(OPTIONS, now=False) == 0
    assert (asked, started) == ([False], [])
