import pytest

from hyperion import log, privileges
from hyperion.capabilities import NONE, Capability, Rights
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
