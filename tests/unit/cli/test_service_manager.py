"""systemd, as far as ``up`` and ``down`` ask it: a ``systemctl`` of the test's own stands in for it."""

from pathlib import Path

import pytest

from hyperion.cli import service_manager
from hyperion.cli.service_manager import Unit, could_keep_it, managed
from hyperion.errors import ChildError


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where systemd runs and knows our server; gives what ``systemctl`` was asked."""
    calls = tmp_path / "calls"
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "hyperion-server.service").write_text("")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" != stop ] || {{ echo "no way" >&2; exit 5; }}\n')
    program.chmod(0o755)
    monkeypatch.setattr(service_manager, "BOOTED", tmp_path)
    monkeypatch.setattr(service_manager, "UNIT_DIRECTORIES", (tmp_path / "none", tmp_path / "units"))
    monkeypatch.setattr(service_manager, "is_root", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.delenv("HYPERION_HOME", raising=False)
    return calls


def test_who_is_responsible(systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert managed("server", None) == Unit("hyperion-server.service", str(tmp_path / "bin" / "systemctl"))
    assert managed("server", Path("/etc/hyperion/server.toml")) is not None
    assert managed("server", tmp_path / "server.toml") is None  # another configuration
    assert managed("client", None) is None  # no unit
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    assert managed("server", None) is None
    monkeypatch.delenv("HYPERION_HOME")
    monkeypatch.setattr(service_manager, "is_root", lambda: False)
    assert managed("server", None) is None
    monkeypatch.setattr(service_manager, "is_root", lambda: True)
    monkeypatch.setattr(service_manager, "BOOTED", tmp_path / "nowhere")
    assert managed("server", None) is None


def test_a_daemon_of_root_ends_with_the_next_boot(
    systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert could_keep_it()
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    assert not could_keep_it()
    monkeypatch.delenv("HYPERION_HOME")
    monkeypatch.setattr(service_manager, "BOOTED", tmp_path / "nowhere")
    assert not could_keep_it()
    monkeypatch.setattr(service_manager, "BOOTED", tmp_path)
    monkeypatch.setattr(service_manager, "is_root", lambda: False)
    assert not could_keep_it()


def test_orders(systemd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = managed("server", None)
    assert unit is not None
    assert unit.is_active()
    assert unit.start(dry_run=True) == 0
    assert unit.start(dry_run=False) == 0
    with pytest.raises(ChildError, match=r"systemctl stop hyperion-server\.service failed: no way"):
        unit.stop(dry_run=False)
    assert unit.restart(dry_run=False) == 0
    assert systemd.read_text().splitlines() == [
        "is-active --quiet hyperion-server.service",
        "start hyperion-server.service",
        "stop hyperion-server.service",
        "restart hyperion-server.service",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "would run: systemctl start hyperion-server.service",
        "systemctl start hyperion-server.service",
        "systemctl stop hyperion-server.service",
        "systemctl restart hyperion-server.service",
    ]
