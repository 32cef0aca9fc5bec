import pytest

from hyperion.trial.witness import Judgement, Knock, Session, judge
from tests.unit.trial.test_connections import one

SINCE = 1_000.0
OLD = [one("192.0.2.9", 40_000, "198.51.100.1", 8_443), one("192.0.2.1", 50_000, "198.51.100.1", 22)]
KNOCK = Knock("192.0.2.1", 1_001.0)


def session(source: str = "192.0.2.1", port: int = 40_000, at: float = 1_002.0) -> Session:
    return Session(source, port, at)


def test_a_knock_and_then_a_session_of_one_source_prove_it() -> None:
    assert judge([KNOCK], [session()], SINCE, OLD).proven_by == "192.0.2.1"
    assert judge([KNOCK, Knock("192.0.2.1", 1_050.0)], [session()], SINCE, OLD).proven_by == "192.0.2.1"
    mapped = judge([KNOCK], [session("::ffff:192.0.2.1")], SINCE, OLD)
    assert mapped.proven_by == "192.0.2.1"
    sixth = judge([Knock("2001:db8::1", 1_001.0)], [session("2001:db8::1")], SINCE, OLD)
    assert sixth.proven_by == "2001:db8::1"


@pytest.mark.parametrize(
    ("knocks", "sessions", "half"),
    [
        ([], [], set()),
        ([KNOCK], [], {("192.0.2.1", "knock")}),
        # A grant from before lets it in, but nobody hears knocks.
        ([], [session()], {("192.0.2.1", "session")}),
        ([KNOCK], [session("192.0.2.2")], {("192.0.2.1", "knock"), ("192.0.2.2", "session")}),
        # Before the rules, or a knock after it.
        ([Knock("192.0.2.1", 999.0)], [session()], {("192.0.2.1", "session")}),
        ([KNOCK], [session(at=999.0)], {("192.0.2.1", "knock")}),
        ([KNOCK], [session(at=1_000.5)], {("192.0.2.1", "knock"), ("192.0.2.1", "session")}),
        # Over a connection that was there already; from this host itself.
        ([Knock("192.0.2.9", 1_001.0)], [session("192.0.2.9")], {("192.0.2.9", "knock")}),
        ([Knock("127.0.0.1", 1_001.0)], [session("127.0.0.1")], {("127.0.0.1", "knock")}),
        ([Knock("198.51.100.1", 1_001.0)], [session("198.51.100.1")], {("198.51.100.1", "knock")}),
    ],
)
def test_anything_less_does_not(knocks: list[Knock], sessions: list[Session], half: set[tuple[str, str]]) -> None:
    assert judge(knocks, sessions, SINCE, OLD) == Judgement(None, frozenset(half))
