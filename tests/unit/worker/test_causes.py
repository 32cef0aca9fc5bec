"""What is said about a gate that stayed shut."""

import ctypes
import errno

import pytest

from hyperion.worker.causes import MANY_KNOCKS, Evidence, causes_of_silence, clock_is_synchronised


def evidence(**changes: object) -> Evidence:
    fields: dict[str, object] = {"knock_port": 8443, "tunnel_port": 8443, "knocks": MANY_KNOCKS, "synchronised": True}
    return Evidence(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, "the passphrase, salt or PSK differs"),
        ({"synchronised": False}, "this machine's clock"),
        ({"rejected": errno.ECONNREFUSED}, "the machine at this address rejects UDP port 8443"),
        ({"rejected": errno.EHOSTUNREACH, "synchronised": False}, "a router on the way"),
    ],
)
def test_what_is_known_here_decides_the_order(changes: dict[str, object], first: str) -> None:
    assert causes_of_silence(evidence(**changes))[0].startswith(first)


def test_a_clock_that_is_kept_comes_last() -> None:
    assert "although a time service keeps this one" in causes_of_silence(evidence())[-1]


def test_few_knocks_may_be_lost() -> None:
    assert any("lost on the way" in cause for cause in causes_of_silence(evidence(knocks=MANY_KNOCKS - 1)))
    assert not any("lost on the way" in cause for cause in causes_of_silence(evidence()))


def test_both_ports_are_named_where_they_differ() -> None:
    text = "\n".join(causes_of_silence(evidence(knock_port=5353)))
    assert "UDP port 5353 or TCP port 8443 is blocked" in text
    assert "knock_port must be 5353" in text


@pytest.mark.parametrize(("state", "answer"), [(0, True), (5, False), (-1, None)])
def test_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, state: int, answer: bool | None) -> None:
    class Library:
        @staticmethod
        def adjtimex(buffer: object) -> int:
            return state

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    assert clock_is_synchronised() is answer


def test_where_it_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert clock_is_synchronised() is None
