import os
from pathlib import Path

import pytest

from hyperion import log, privileges
from hyperion.capabilities import NONE, Capability, Rights
from hyperion.cli import rights
from hyperion.cli.rights import require, settler
from hyperion.errors import RefusedError
from hyperion.events import LogEvent
from hyperion.service_user import ServiceUser

BOTH = frozenset({Capability.NET_ADMIN, Capability.NET_RAW})


@pytest.mark.parametrize(
    ("held", "missing"),
    [(NONE, "CAP_NET_ADMIN and CAP_NET_RAW"), (frozenset({Capability.NET_ADMIN}), "CAP_NET_RAW")],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, held: Rights, missing: str) -> None:
    monkeypatch.setattr(privileges, "held", lambda rights: rights & held)
    with pytest.raises(RefusedError, match=f"^a gate needs {missing}$") as caught:
        require(BOTH, "a gate")
    assert "as root" in str(caught.value.hint)


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "held", lambda rights: rights)
    require(BOTH, "a gate")
    require(NONE, "nothing")


def test_the_log_has_no_thread_while_rights_go_and_then_says_who_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def event(_: LogEvent, *, message: str, level: str) -> None:
        seen.append((message, level))

    monkeypatch.setattr(log, "close", lambda: seen.append("closed"))
    monkeypatch.setattr(log, "event", event)
    monkeypatch.setattr(privileges, "drop_to", lambda user, keep: seen.append((user, keep)))
    user = ServiceUser("nobody", 1, 1, (1,), "nobody serves")
    settler(user, lambda: seen.append("started"))(BOTH)
    assert seen == ["closed", (user, BOTH), "started", ("nobody serves", "warning")]
    seen.clear()
    settler(None, lambda: seen.append("started"))(NONE)
    assert seen == ["closed", (None, NONE), "started"]


def test_a_refusal_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(privileges, "drop_to", refuse)
    with pytest.raises(RefusedError, match="rights cannot be given up: Operation not permitted"):
        settler(None, lambda: None)(NONE)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Nothing is given up, and what would be given away is told: its name and the user."""
    told: list[tuple[str, int]] = []

    def fchown(fd: int, uid: int, _: int) -> None:
        told.append((Path(f"/proc/self/fd/{fd}").resolve().name, uid))

    def chown(path: Path, uid: int, _: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        told.append((path.name, uid))

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(log, "close", lambda: None)
    monkeypatch.setattr(privileges, "drop_to", lambda *_: None)
    return told


def test_the_log_is_given_to_who_serves(tmp_path: Path, given: list[tuple[str, int]]) -> None:
    file = tmp_path / "a.log"
    file.touch()
    settler(ServiceUser("nobody", 7, 7, (7,)), lambda: None, str(file))(NONE)
    assert given == [("a.log", 7)]


@pytest.mark.parametrize("owns", [True, False])
def test_the_directory_of_logs_is_given_away_or_opened(
    tmp_path: Path, given: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, owns: bool
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o750)
    file = directory / "a.log"
    file.touch()
    monkeypatch.setattr(rights, "SYSTEM_LOG", directory)
    settler(ServiceUser("nobody", 7, 7, (7,)), lambda: None, str(file), owns_directory=owns)(NONE)
    assert given == [("a.log", 7), *([("logs", 7)] if owns else [])]
    assert directory.stat().st_mode & 0o777 == (0o750 if owns else 0o751)


@pytest.mark.parametrize("kind", ["link", "second name"])
def test_no_other_file_is_given_away(tmp_path: Path, given: list[tuple[str, int]], kind: str) -> None:
    """Whoever may write in that directory must not choose what becomes his."""
    other, file = tmp_path / "other", tmp_path / "a.log"
    other.touch()
    if kind == "link":
        file.symlink_to(other)
    else:
        file.hardlink_to(other)
    with pytest.raises(RefusedError):
        settler(ServiceUser("nobody", 7, 7, (7,)), lambda: None, str(file))(NONE)
    assert given == []
