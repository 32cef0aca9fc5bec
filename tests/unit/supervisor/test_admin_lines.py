from hyperion.config import Admin
from hyperion.proto.keys import PrivateKey
from hyperion.supervisor.admin_lines import admin_lines

ALICE = Admin("alice", PrivateKey(b"\x11" * 32).public(), frozenset({5432, 22}), 1_800_000_000.0)
BOB = Admin("bob", PrivateKey(b"\x22" * 32).public(), frozenset())


def test_who_is_connected_comes_first() -> None:
    lines = admin_lines([ALICE, BOB], {"bob": 2, "carol": 1})
    assert [(line.name, line.sessions) for line in lines] == [("bob", 2), ("alice", 0)]


def test_what_is_said_of_each() -> None:
    (line,) = admin_lines([ALICE])
    assert (line.fingerprint, line.ports, line.expires_at) == (ALICE.key.fingerprint, [22, 5432], 1_800_000_000.0)
