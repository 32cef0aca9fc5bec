import os
import pwd
from pathlib import Path

import pytest

from hyperion import capabilities, service_user
from hyperion.capabilities import Sets
from hyperion.errors import RefusedError, UsageError
from hyperion.service_user import ServiceUser, can_run, find_service_user, service_uids

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.touch()
    return path


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """And everybody can run the program."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service_user, "_may_change", lambda: True)
    monkeypatch.setattr(service_user, "can_run", lambda _: True)


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


@pytest.mark.usefixtures("as_root")
def test_a_user_who_cannot_run_the_program(config: Path, owned_by: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_user, "can_run", lambda user: user.uid == 0)
    for asked, default in (("nobody", "no-such-user"), (None, "nobody")):
        with pytest.raises(RefusedError, match="user nobody cannot run") as caught:
            find_service_user(asked, default, config)
        assert "--user" in str(caught.value.hint)
    owned_by(0)
    user = find_service_user(None, "no-such-user", config)
    assert user is not None
    assert (user.name, user.uid) == ("root", 0)
    assert "root serves, without root's rights, because nobody cannot run" in str(user.warning)


@pytest.mark.root
def test_who_can_run_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = ServiceUser("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))
    assert can_run(ServiceUser("root", 0, 0, (0,)))
    monkeypatch.setattr(service_user, "_TRIAL", ("/bin/sh", "-c", 'test "$(id -u) $(id -g)" = "65534 65534"'))
    assert can_run(nobody)
    monkeypatch.setattr(service_user, "_TRIAL", ("/bin/sh", "-c", "exit 1"))
    assert not can_run(nobody)
    monkeypatch.setattr(service_user, "_TRIAL", ("/nonexistent",))
    assert not can_run(nobody)
    monkeypatch.setattr(service_user, "_TRIAL", ("/bin/sleep", "9"))
    monkeypatch.setattr(service_user, "TRIAL_SECONDS", 0.05)
    assert not can_run(nobody)


def test_the_users_made_for_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_user, "SERVICE_USERS", ("no-such-user", "nobody"))
    assert service_uids() == {NOBODY.pw_uid}
    monkeypatch.setattr(service_user, "pwd", None)
    assert service_uids() == frozenset()


def test_root_without_the_right_to_become_another_stays(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that took root's capabilities away."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(capabilities, "read", Sets)
    assert find_service_user(None, "nobody", config) is None
    assert find_service_user("root", "nobody", config) is None
    with pytest.raises(UsageError):
        find_service_user("nobody", "nobody", config)
