import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hyperion import capabilities, service_user
from hyperion.capabilities import Sets
from hyperion.errors import RefusedError, UsageError
from hyperion.service_user import (
    OWN_NUMBERS,
    Hindrance,
    ServiceUser,
    find_service_user,
    hindrance_of,
    service_uids,
)

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
    monkeypatch.setattr(service_user, "hindrance_of", lambda *_: None)


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
    assert (user.name, user.uid, user.gid) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    assert user.gid in user.groups


@pytest.mark.usefixtures("as_root")
def test_then_the_programs_own_user(config: Path) -> None:
    user = find_service_user(None, "daemon", config)
    assert user is not None
    assert (user.name, user.warning) == ("daemon", None)


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
@pytest.mark.parametrize("program", ["hyperion", "hyperion-client"])
def test_then_a_number_that_is_no_other_s(
    config: Path, owned_by: Owner, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Not nobody, whom others are, too; and not the other program's."""
    owned_by(0)
    monkeypatch.setattr(service_user, "_find", lambda _: None)
    numbers = OWN_NUMBERS[program]
    user = find_service_user(None, program, config)
    assert user is not None
    assert (user.name, user.uid, user.gid, user.groups) == (f"uid {numbers[0]}", numbers[0], numbers[0], (numbers[0],))
    assert f"there is no user {program}, so uid {numbers[0]} serves" in str(user.warning)
    assert f"it cannot read {config} again" in str(user.warning)
    assert f"useradd --system {program}, " in str(user.warning)
    assert not {*OWN_NUMBERS["hyperion"]} & {*OWN_NUMBERS["hyperion-client"]}


@pytest.mark.usefixtures("as_root")
def test_a_number_that_has_a_name_is_left_alone(config: Path, owned_by: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owned_by(0)
    for numbers, expected in (((NOBODY.pw_uid, 0, 60_803), 60_803), ((NOBODY.pw_uid, 0), 0)):
        monkeypatch.setitem(OWN_NUMBERS, "no-such-user", numbers)
        user = find_service_user(None, "no-such-user", config)
        assert user is not None
        assert user.uid == expected
        assert ("root serves, without root's rights: useradd" in str(user.warning)) == (expected == 0)


@pytest.mark.usefixtures("as_root")
def test_what_nobody_costs_is_said_unless_all_is_his_anyway(config: Path, owned_by: Owner) -> None:
    owned_by(0)
    user = find_service_user("nobody", "hyperion-client", config)
    assert user is not None
    assert "each process of nobody on this machine may use this program's tunnels" in str(user.warning)
    assert "useradd --system hyperion-client" in str(user.warning)
    owned_by(NOBODY.pw_uid)
    assert replace(user, warning=None) == find_service_user("nobody", "hyperion-client", config)


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
    hindrance = Hindrance("cannot run it", "install it")
    monkeypatch.setattr(service_user, "hindrance_of", lambda *_: hindrance)
    for asked, default in (("nobody", "no-such-user"), (None, "nobody")):
        with pytest.raises(RefusedError, match="user nobody cannot run it") as caught:
            find_service_user(asked, default, config)
        assert caught.value.hint == "install it, or choose another with --user"
    owned_by(0)
    monkeypatch.setitem(OWN_NUMBERS, "no-such-user", range(60_800, 60_801))
    user = find_service_user(None, "no-such-user", config)
    assert user is not None
    assert (user.name, user.uid) == ("root", 0)
    why = "root serves, without root's rights, because uid 60800 cannot run it: install it, and useradd"
    assert why in str(user.warning)
    owned_by(NOBODY.pw_uid)
    user = find_service_user(None, "daemon", config, owner_first=True)
    assert user is not None
    assert user.uid == 0
    assert str(user.warning).endswith("because nobody cannot run it: install it, or choose a user with --user")


@pytest.mark.usefixtures("as_root")
def test_the_owner_may_come_before_the_programs_own_user(config: Path, owned_by: Owner) -> None:
    owned_by(NOBODY.pw_uid)
    user = find_service_user(None, "daemon", config, owner_first=True)
    assert user is not None
    assert (user.name, user.warning) == ("nobody", None)
    owned_by(0)
    user = find_service_user(None, "daemon", config, owner_first=True)
    assert user is not None
    assert (user.name, user.warning) == ("daemon", None)
    user = find_service_user("nobody", "daemon", config, owner_first=True)
    assert user is not None
    assert user.name == "nobody"


@pytest.mark.root
def test_who_can_run_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = ServiceUser("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))
    assert hindrance_of(ServiceUser("root", 0, 0, (0,)), [Path("/nonexistent")]) is None
    monkeypatch.setattr(service_user, "_TRIAL", ("/bin/sh", "-c", 'test "$(id -u) $(id -g)" = "65534 65534"'))
    assert hindrance_of(nobody) is None
    for trial in (("/bin/sh", "-c", "exit 1"), ("/nonexistent",), ("/bin/sleep", "9")):
        monkeypatch.setattr(service_user, "_TRIAL", trial)
        monkeypatch.setattr(service_user, "TRIAL_SECONDS", 0.2)
        found = hindrance_of(nobody)
        assert found is not None
        assert found.why.startswith("cannot run /")


@pytest.mark.root
@pytest.mark.parametrize(
    ("closed", "help_"),
    [("/srv/run", "open the way to /srv/run"), ("/dev/net/tun", "chmod 666 /dev/net/tun, as udev does")],
)
def test_places_that_are_closed_to_a_user(monkeypatch: pytest.MonkeyPatch, closed: str, help_: str) -> None:
    nobody = ServiceUser("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))
    monkeypatch.setattr(service_user, "_TRIAL", ("/bin/echo",))
    assert hindrance_of(nobody, [Path(closed)]) == Hindrance(f"cannot use {closed}", help_)


def test_the_trial_names_what_is_closed(tmp_path: Path) -> None:
    """As whoever runs this; what is not there is closed to root, too."""
    file = tmp_path / "file"
    file.touch()
    words = [str(tmp_path), str(file), str(tmp_path / "none")]
    done = subprocess.run([*service_user._TRIAL, *words], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"{tmp_path / 'none'}\n"


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
