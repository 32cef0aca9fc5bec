"""Which knock opened for a source."""

import pytest

from hyperion.knockd import admission
from hyperion.worker import knocks
from hyperion.worker.knocks import LastKnocks


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:0db8:0::1"),
        ("fe80::1", "fe80::1%eth0"),
    ],
)
def test_a_source_is_found_as_a_socket_writes_it(told: str, asked: str) -> None:
    last = LastKnocks()
    last.note(told, "first")
    last.note(told, "second")
    assert last.of(asked) == "second"
    assert len(last) == 1


@pytest.mark.parametrize("asked", ["192.0.2.2", "2001:db8::2", "", "nonsense"])
def test_a_source_that_nobody_told_of_has_none(asked: str) -> None:
    last = LastKnocks()
    last.note("192.0.2.1", "first")
    assert last.of(asked) is None


def test_who_knocked_longest_ago_is_forgotten_first() -> None:
    last = LastKnocks(limit=2)
    for source, knock in (("192.0.2.1", "a"), ("192.0.2.2", "b"), ("192.0.2.1", "c"), ("192.0.2.3", "d")):
        last.note(source, knock)
    assert [last.of(f"192.0.2.{number}") for number in (1, 2, 3)] == ["c", None, "d"]


def test_as_many_as_the_gate_lets_in() -> None:
    assert knocks.MAX_SOURCES == admission.MAX_SOURCES
