import io
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperion.cli import last_way
from hyperion.cli.last_way import RULES_STAY, THROUGH_THE_TUNNEL, comes_through_the_tunnel, warn_of_the_end
from hyperion.errors import NotRunningError, RefusedError, UsageError
from hyperion.proto.operator import GateLine, ServerAnswer, ServerStatus
from hyperion.running import Running
from hyperion.trial.connections import Connection, parse_address

RUNNING = Running(Path("/run/x"), 17)
INSIDE = Connection(parse_address("127.0.0.1"), 40_000, parse_address("127.0.0.1"), 22)
OUTSIDE = Connection(parse_address("198.51.100.7"), 40_000, parse_address("203.0.113.10"), 22)

Arrange = Callable[..., None]


@pytest.fixture
def arrange(monkeypatch: pytest.MonkeyPatch) -> Arrange:
    """A server with such a gate, a caller with such a login, and what he types (``None``: there is no terminal)."""

    def make(gate: GateLine | None, login: Connection | None, typed: str | None = None) -> None:
        answer = ServerAnswer(ServerStatus(state="up", pid=17, gate=gate))
        monkeypatch.setattr(last_way, "demand", lambda *_: answer)
        monkeypatch.setattr(last_way, "login_connection", lambda _: login)
        stream = io.StringIO(typed or "")
        monkeypatch.setattr(stream, "isatty", lambda: typed is not None)
        monkeypatch.setattr("sys.stdin", stream)

    return make


@pytest.mark.parametrize("gate", [None, GateLine(state="off"), GateLine(state="shut", reason="table: table-missing")])
def test_without_rules_in_force_nothing_is_lost(
    arrange: Arrange, capsys: pytest.CaptureFixture[str], gate: GateLine | None
) -> None:
    arrange(gate, INSIDE)
    warn_of_the_end(RUNNING, yes=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("login", [OUTSIDE, None])
def test_a_login_of_another_way_is_told_only(
    arrange: Arrange, capsys: pytest.CaptureFixture[str], login: Connection | None
) -> None:
    arrange(GateLine(state="ok"), login)
    warn_of_the_end(RUNNING, yes=False)
    assert capsys.readouterr().err == f"note: {RULES_STAY}\n"


def test_a_login_through_the_tunnel_is_asked(arrange: Arrange, capsys: pytest.CaptureFixture[str]) -> None:
    arrange(GateLine(state="ok"), INSIDE, typed="n\n")
    with pytest.raises(RefusedError, match="nothing was stopped"):
        warn_of_the_end(RUNNING, yes=False)
    assert capsys.readouterr().err.startswith(f"warning: {THROUGH_THE_TUNNEL}\nStop it?")
    arrange(GateLine(state="ok"), INSIDE, typed="y\n")
    warn_of_the_end(RUNNING, yes=False)
    arrange(GateLine(state="ok"), INSIDE)
    with pytest.raises(UsageError) as failure:
        warn_of_the_end(RUNNING, yes=False)
    assert failure.value.hint == "say --yes, or use: hyperion-server restart"
    warn_of_the_end(RUNNING, yes=True)
    assert THROUGH_THE_TUNNEL in capsys.readouterr().err


def test_without_standard_input_nobody_is_there(arrange: Arrange, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``<&-``: Python has no such file then."""
    arrange(GateLine(state="ok"), INSIDE)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError):
        warn_of_the_end(RUNNING, yes=False)


def test_a_server_that_does_not_answer_may_be_stopped(arrange: Arrange, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotRunningError("nobody answers")

    arrange(None, INSIDE)
    monkeypatch.setattr(last_way, "demand", refuse)
    warn_of_the_end(RUNNING, yes=False)


def test_which_logins_come_through_a_tunnel() -> None:
    """A worker connects to 127.0.0.1; nothing is known of a login inside tmux."""
    assert comes_through_the_tunnel(INSIDE)
    assert not comes_through_the_tunnel(OUTSIDE)
    assert not comes_through_the_tunnel(None)
