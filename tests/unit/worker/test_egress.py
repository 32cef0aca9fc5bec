import pytest

from hyperion.proto.admins import AdminRule
from hyperion.proto.fingerprint import fingerprint
from hyperion.worker.egress import Admins, allowed, refusal, user_fields

ALICE = AdminRule(b"a" * 32, "alice", (22, 5432))
BOB = AdminRule(b"b" * 32, "bob", ())


def test_only_listed_keys_are_found() -> None:
    admins = Admins((ALICE, BOB))
    assert admins.find(b"a" * 32) is ALICE
    assert admins.find(b"b" * 32) is BOB
    for other in (b"", b"a" * 31, b"a" * 33, b"a" * 31 + b"b", b"\0" * 32):
        assert admins.find(other) is None
    assert Admins(()).find(b"a" * 32) is None


@pytest.mark.parametrize("rule", [ALICE, BOB, None])
def test_nothing_is_allowed_that_is_not_listed(rule: AdminRule | None) -> None:
    listed = rule.allow if rule else ()
    assert tuple(port for port in range(65_536) if allowed(rule, port)) == listed


def test_who_does_not_come_in() -> None:
    brief = AdminRule(b"a" * 32, "alice", (22,), expires=100.0)
    assert refusal(None, 0.0) == "unknown-static-key"
    assert refusal(ALICE, 1e18) is None
    assert refusal(brief, 99.0) is None
    assert refusal(brief, 100.0) == "admin-expired"


def test_how_the_log_names_an_admin() -> None:
    key = fingerprint(b"a" * 32)
    assert user_fields(ALICE) == {"user.id": key, "user.name": "alice"}
    assert user_fields(AdminRule(b"a" * 32, key, ())) == {"user.id": key}
