"""Each shared command does for its own program what it says. What it does is tested where it is done."""

from pathlib import Path
from typing import Any

import click
import pytest

from hyperion.cli import client, server, shared_commands
from hyperion.cli.border import run_program

SHARED = ("completion", "keygen", "status", "down", "reload")


def called(monkeypatch: pytest.MonkeyPatch, place: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What ``place`` is called with from now on; it answers 42."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(*positional: Any, **named: Any) -> int:
        calls.append((positional, named))
        return 42

    monkeypatch.setattr(place, record)
    return calls


@pytest.mark.parametrize("group", [client.program, server.program])
def test_both_programs_have_them(group: click.Group) -> None:
    assert set(SHARED) <= set(group.commands)


def test_status(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = called(monkeypatch, "hyperion.cli.status.run_status")
    assert run_program("x", client.program, ["status", "-c", "f", "web1", "db1", "--json"]) == 42
    assert run_program("x", server.program, ["status", "--watch", "--interval", "2", "-v"]) == 42
    usual = {"as_json": False, "as_lines": False, "watch": False, "interval": 1.0, "verbose": False}
    assert calls == [
        (("client", Path("f")), usual | {"as_json": True, "names": ("web1", "db1")}),
        (("server", None), usual | {"watch": True, "interval": 2.0, "verbose": True}),
    ]


def test_a_server_s_status_takes_no_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("x", server.program, ["status", "web1"]) == 2
    assert "unexpected extra argument" in capsys.readouterr().err


@pytest.mark.parametrize(("program", "group"), [("client", client.program), ("server", server.program)])
def test_down_and_reload(monkeypatch: pytest.MonkeyPatch, program: str, group: click.Group) -> None:
    stopped, reloaded = (
        called(monkeypatch, place) for place in ("hyperion.cli.down.run_down", "hyperion.cli.reload.run_reload")
    )
    forgotten = called(monkeypatch, "hyperion.cli.transparent_mode.forget_names")
    assert run_program("x", group, ["down", "--dry-run"]) == 42
    assert forgotten == []
    assert run_program("x", group, ["down", "--now", "-c", "f"]) == 42
    assert len(forgotten) == (program == "client")
    assert run_program("x", group, ["reload"]) == 42
    assert stopped == [
        ((program, None), {"now": False, "dry_run": True, "yes": False}),
        ((program, Path("f")), {"now": True, "dry_run": False, "yes": False}),
    ]
    if program == "server":
        assert run_program("x", group, ["down", "--yes"]) == 42
        assert stopped[-1] == ((program, None), {"now": False, "dry_run": False, "yes": True})
    assert reloaded == [((program, None), {"dry_run": False})]


def test_keygen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = called(monkeypatch, "hyperion.cli.keygen.run_keygen")
    assert run_program("x", client.program, ["keygen", "-o", "f", "--force"]) == 42
    assert calls == [
        ((Path("f"),), {"force": True, "as_json": False, "public_of": None, "dry_run": False}),
    ]
    assert "key pair of somebody" in (shared_commands.keygen("somebody").help or "")


def test_completion_is_of_its_own_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("x", server.program, ["completion", "bash"]) == 0
    assert "_HYPERION_SERVER_COMPLETE" in capsys.readouterr().out
    assert run_program("x", client.program, ["completion", "bash"]) == 0
    assert "_HYPERION_CLIENT_COMPLETE" in capsys.readouterr().out
