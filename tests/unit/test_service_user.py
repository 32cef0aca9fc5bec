import os
import pwd
from pathlib import Path

import pytest

from hyperion import service_user
from hyperion.errors import UsageError
from hyperion.service_user import find_service_user

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.touch()
    return path


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def owned_by(monkeypatch: pytest.MonkeyPatch, config: Path) -> "Owner":
    return Owner(monkeypatch, config)


class Owner:
    """Lets the configuration belong to somebody."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self._monkeypatch = monkeypatch
        self._real = path.stat()

    def __call__(self, uid: int) -> None:
        fields = list(self._real)
        fields[4] = uid
        self._monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result(fields))


@pytest.mark.usefixtures("as_root")
def test_who_was_asked_for_comes_first(config: Path) -> None:
    user = find_service_user("nobody", "root", config)
    assert user is not None
    assert (user.name, user.uid, user.gid, user.warning) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid, None)
    assert user.gid in user.groups


@pytest.mark.usefixtures("as_root")
def test_then_the_programs_own_user(config: Path) -> None:
    user = find_service_user(None, "nobody", config)
    assert user is not None
    assert (user.name, user.warning) == ("nobody", None)


@pytest.mark.usefixtures("as_root")
def test_then_the_owner_of_the_configuration(config: Path, owned_by: Owner) -> None:
    daemon = pwd.getpwnam("daemon")
    owned_by(daemon.pw_uid)
    user = find_service_user(None, "no-such-user", config)
    assert user is not None
    assert (user.name, user.uid, user.gid, user.warning) == ("daemon", daemon.pw_uid, daemon.pw_gid, None)


@pytest.mark.usefixtures("as_root")
def test_an_owner_without_a_name(config: Path, owned_by: Owner) -> None:
    owned_by(4_000_000)
    user = find_service_user(None, "no-such-user", config)
    assert user is not None
    assert (user.uid, user.gid, user.groups) == (4_000_000, 4_000_000, (4_000_000,))


@pytest.mark.usefixtures("as_root")
def test_then_nobody_with_a_warning(config: Path, owned_by: Owner) -> None:
    owned_by(0)
    user = find_service_user(None, "no-such-user", config)
    assert user is not None
    assert user.name == "nobody"
    assert user.warning is not None
    assert "no user no-such-user" in user.warning
    assert "--user" in user.warning


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["no-such-user", "a\0b"])
def test_a_user_that_does_not_exist(config: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there is no user") as caught:
        find_service_user(name, "nobody", config)
    assert caught.value.hint is not None


def test_an_ordinary_user_stays_who_he_is(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    assert find_service_user(None, "root", config) is None
    assert find_service_user("nobody", "root", config) is None
    with pytest.raises(UsageError, match="only root can become user root"):
        find_service_user("root", "root", config)


def test_a_system_without_users(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.setattr(service_user, "pwd", None)
    assert find_service_user(None, "root", config) is None
    with pytest.raises(UsageError):
        find_service_user("root", "root", config)
