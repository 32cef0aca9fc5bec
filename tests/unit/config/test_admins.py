import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.config import Admin, Secrets, ServerConfig, load_server
from hyperion.config.admins import admin_changes
from hyperion.config.name import NAME_RULE
from hyperion.errors import ConfigError
from hyperion.proto.keys import PrivateKey
from tests.helpers.config_files import ADMIN_SECRET, leaks, server_text

ALICE = PrivateKey(b"\x44" * 32).public()
BOB = PrivateKey(b"\x55" * 32).public()
ADMIN = ADMIN_SECRET.public()
BARE = f'admin_pubkeys = ["{ADMIN}"]'


@pytest.fixture(autouse=True)
def nairobi(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is three hours ahead, all year."""
    monkeypatch.setenv("TZ", "EAT-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def load(directory: Path, sections: str, bare: str = BARE) -> ServerConfig:
    path = directory / "server.toml"
    path.write_text(server_text(directory).replace(BARE, bare) + sections)
    return load_server(path, Secrets(None, {}))


def refusal(directory: Path, sections: str, bare: str = BARE) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, sections, bare)
    assert not leaks(str(caught.value))
    return str(caught.value).removeprefix(f"{directory / 'server.toml'}: ")


def section(name: str = "alice", key: object = ALICE, more: str = "") -> str:
    return f'\n[[admin]]\nname = "{name}"\npubkey = "{key}"\n{more}\n'


def test_bare_keys_and_names_side_by_side(tmp_path: Path) -> None:
    everywhere = frozenset({22, 5432})
    assert load(tmp_path, section() + section("bob", BOB, "allow = [80]\nexpires = 2027-01-31T18:00:00Z")).admins == (
        Admin(ADMIN.fingerprint, ADMIN, everywhere, None),
        Admin("alice", ALICE, everywhere, None),
        Admin("bob", BOB, frozenset({80}), 1801418400.0),
    )


def test_names_only(tmp_path: Path) -> None:
    assert [admin.name for admin in load(tmp_path, section(), bare="").admins] == ["alice"]


def test_an_empty_list_of_ports_is_a_list(tmp_path: Path) -> None:
    assert load(tmp_path, section(more="allow = []"), bare="").admins[0].allow == frozenset()


def test_nobody_at_all(tmp_path: Path) -> None:
    expected = "[identity] admin_pubkeys: expected at least one public key, got an empty list"
    assert refusal(tmp_path, "", bare="") == expected


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00+00:00"),
        ("2027-01-31T18:00:00.5+05:30", "2027-01-31T12:30:00.500+00:00"),
        ("2027-01-31 18:00:00", "2027-01-31T15:00:00+00:00"),
        ("2027-01-31", "2027-01-30T21:00:00+00:00"),
        ("1999-01-01", "1998-12-31T21:00:00+00:00"),
    ],
)
def test_the_end(tmp_path: Path, written: str, moment: str) -> None:
    admin = load(tmp_path, section(more=f"expires = {written}"), bare="").admins[0]
    assert admin.expires == datetime.datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize(
    ("written", "found"),
    [('"2027-01-31"', '"2027-01-31"'), ("18:00:00", "a date or time"), ("5", "5"), ("true", "true"), ("[]", "a list")],
)
def test_no_end(tmp_path: Path, written: str, found: str) -> None:
    expected = f"[[admin]] #1 expires: expected a date, or a date and a time, got {found}"
    assert refusal(tmp_path, section(more=f"expires = {written}")) == expected


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            section("a b"),
            f'[[admin]] #1 name: expected {NAME_RULE}, got "a b"',
        ),
        (
            section(ALICE.fingerprint),
            f'[[admin]] #1 name: expected {NAME_RULE}, got "{ALICE.fingerprint}"',
        ),
        (
            section() + section("alice", BOB),
            '[[admin]] #2 name: expected a name of its own, got "alice" a second time',
        ),
        (section() + section("bob"), '[[admin]] #2 pubkey: expected a key of its own, got that of "alice"'),
        (
            section("alice", ADMIN),
            "[[admin]] #1 pubkey: expected a key of its own, got one that is in admin_pubkeys as well",
        ),
        (section("alice", "<KEY>"), "[[admin]] #1 pubkey: expected a public key, got the placeholder of the example"),
        (section(more="allow = [0]"), "[[admin]] #1 allow #1: expected a port from 1 to 65535, got 0"),
        ('[[admin]]\nname = "a"\n', "[[admin]] #1 pubkey: expected a key of 32 bytes in base64, got nothing"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, sections: str, expected: str) -> None:
    assert refusal(tmp_path, sections) == expected


def test_the_zone_of_the_tests_is_in_force() -> None:
    assert os.environ["TZ"] == "EAT-3"
    assert time.localtime(0).tm_hour == 3


def test_what_a_reload_says_of_admins() -> None:
    """By the key, which is who it is: another name, list of ports or end is a change of the same admin."""
    ports = frozenset({22})
    alice, bob = Admin("alice", ALICE, ports), Admin("bob", BOB, ports)
    assert admin_changes([alice], [alice]) == {}
    assert admin_changes([alice], [bob, alice]) == {"hyperion.config.admins_added": ["bob"]}
    assert admin_changes([alice, bob], [alice]) == {"hyperion.config.admins_removed": ["bob"]}
    for other in (Admin("al", ALICE, ports), Admin("al", ALICE, frozenset()), Admin("al", ALICE, ports, 1.0)):
        assert admin_changes([alice], [other]) == {"hyperion.config.admins_changed": ["al"]}
    # The name is given to another key: one went, one came.
    assert admin_changes([alice], [Admin("alice", BOB, ports)]) == {
        "hyperion.config.admins_added": ["alice"],
        "hyperion.config.admins_removed": ["alice"],
    }
