"""Answers of our own; that they fit what was asked is shown in ``test_reflect``."""

from hyperion.tund.answer import HOST_UNREACHABLE, echo_reply, reset, unreachable
from tests.helpers.packets import ipv4
from tests.helpers.tun_frames import frame, read, tcp

OWN, SERVER = bytes((10, 99, 0, 1)), bytes((10, 99, 0, 10))
OWN6, SERVER6 = bytes(15) + b"\x01", bytes(15) + b"\x10"


def test_a_reset_counts_the_data_of_a_segment_that_was_not_cut_up_yet() -> None:
    given = tcp(OWN6, SERVER6, 5, 6, flags=0, sequence=7, data=bytes(50_000), partial=True, gso=4)
    size = reset(given, len(given))
    answer = read(bytes(given[:size]))
    assert (answer.acknowledged, answer.right, answer.ports) == (50_007, True, (6, 5))


def test_an_answer_needs_nothing_of_the_device() -> None:
    """It is whole: no checksum is left open, nothing is to be cut up."""
    for answer in (reset, lambda given, size: unreachable(given, size, HOST_UNREACHABLE)):
        given = tcp(OWN, SERVER, 5, 6, data=bytes(3000), partial=True, gso=1)
        assert answer(given, len(given))
        assert given[:10] == bytes(10)


def test_an_error_stays_small() -> None:
    given = tcp(OWN, SERVER, 5, 6, data=bytes(3000))
    assert unreachable(given, len(given), HOST_UNREACHABLE) == 10 + 576
    given = tcp(OWN6, SERVER6, 5, 6, data=bytes(3000))
    assert unreachable(given, len(given), HOST_UNREACHABLE) == 10 + 1280


def test_an_echo_of_odd_length() -> None:
    given = frame(ipv4(b"\x08\0\0\0abcde", OWN, SERVER, protocol=1))
    size = echo_reply(given, len(given))
    answer = read(bytes(given[:size]))
    assert (answer.body[:2], answer.body[4:], answer.right) == (b"\0\0", b"abcde", True)
