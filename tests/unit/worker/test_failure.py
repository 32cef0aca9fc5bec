"""How each way to fail is told."""

import errno
import socket
import time

import pytest

from hyperion.proto.errors import HandshakeError
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.worker.addresses import Address
from hyperion.worker.failure import Step, Tried, bad_key, connect_failed, handshake_failed, led_into_device
from hyperion.worker.knocker import Knocks

ADDRESS = Address(socket.AF_INET, ("192.0.2.1", 8443))


def tried(*, resolved: bool = True, knocks: int = 0) -> Tried:
    result = Tried("server.example", 8443)
    result.addresses = [ADDRESS] if resolved else []
    result.knocks = knocks
    return result


@pytest.mark.parametrize(
    ("error", "what", "reason", "words"),
    [
        (socket.gaierror(1, "x"), tried(resolved=False), "unresolved", "cannot resolve server.example"),
        (TimeoutError(), tried(resolved=False), "unresolved", "cannot resolve server.example in time"),
        (UnicodeError(), tried(resolved=False), "unresolved", "cannot resolve"),
        (TimeoutError(), tried(), "connect-timeout", "no answer from server.example:8443"),
        (TimeoutError(), tried(knocks=1), KNOCK_UNANSWERED, "a knock went out, and the port did not open"),
        (TimeoutError(), tried(knocks=24), KNOCK_UNANSWERED, "24 knocks went out"),
        (ConnectionRefusedError(), tried(), "refused", "connection refused by server.example:8443"),
        (ConnectionRefusedError(), tried(knocks=1), "refused", "connection refused"),
        (
            OSError(errno.ENETUNREACH, "Connect call failed ('192.0.2.1', 8443)"),
            tried(knocks=1),
            "unreachable",
            "cannot reach server.example:8443 (network is unreachable)",
        ),
        (OSError(), tried(), "unreachable", "(OSError)"),
    ],
)
def test_no_connection(error: OSError | UnicodeError, what: Tried, reason: str, words: str) -> None:
    failed = connect_failed(error, what)
    assert failed.reason == reason
    assert words in str(failed)
    assert failed.hint
    assert failed.knocks == what.knocks


def test_a_refusal_after_a_knock_says_what_it_means() -> None:
    assert "no closed gate" in (connect_failed(ConnectionRefusedError(), tried(knocks=1)).hint or "")


def test_silence_after_a_knock_says_what_to_look_for() -> None:
    """Each line of the server's log that there can be: also the one of a knock that was heard and right."""
    hint = connect_failed(TimeoutError(), tried(knocks=1)).hint or ""
    assert all(words in hint for words in ("HYP1002W", "HYP1103E", "nothing if it heard none"))


def test_a_way_into_the_device_is_named() -> None:
    failed = led_into_device(tried())
    assert (failed.reason, failed.steps[-1].name, failed.steps[-1].ok) == ("led-into-device", "connect", False)
    assert "the way to server.example:8443 leads into hyperion0" in str(failed)
    assert failed.hint


@pytest.mark.parametrize(
    ("told", "reason"),
    [("bad-psk", "bad-psk"), ("handshake-timeout", "handshake-timeout"), ("truncated", "handshake-refused")],
)
def test_no_tunnel(told: str, reason: str) -> None:
    steps = (Step("handshake", 1.0, False),)
    failed = handshake_failed(HandshakeError("x", reason=told), steps)
    assert (failed.reason, failed.steps) == (reason, steps)


def test_a_key_that_cannot_be_used() -> None:
    assert bad_key(HandshakeError("x", reason="bad-server-key")).reason == "bad-server-key"


def test_the_step_that_failed_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A knock that could not go out: then nobody connected, either."""
    what = tried()
    began = time.monotonic()
    what.step("resolve", began)
    knocks = Knocks(None)  # type: ignore[arg-type]
    what.note_knocks(knocks, began)
    what.step("connect", began, ok=False)
    assert [(step.name, step.ok) for step in what.steps] == [("resolve", True), ("knock", False)]
    knocks.sent, knocks.first_at = 3, began + 0.25
    what = tried()
    what.note_knocks(knocks, began)
    what.step("connect", began, ok=False)
    assert what.steps[0] == Step("knock", 250.0, True, 3)
    assert (what.steps[1].name, what.steps[1].ok) == ("connect", False)


def test_an_ipv6_address_is_written_with_brackets() -> None:
    assert Tried("2001:db8::1", 1).where == "[2001:db8::1]:1"
