import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.knockd import watch
from hyperion.knockd.watch import TableWatch, touches_rules

NEWTABLE, DELCHAIN, NEWRULE, NEWSET = 0, 5, 6, 9
OTHER_SUBSYSTEM = 1 << 8


def attribute(number: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), number) + value + padding


def message(kind: int, *attributes: bytes, subsystem: int = watch.NFNL_SUBSYS_NFTABLES << 8) -> bytes:
    body = bytes((1, 0, 0, 0)) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), subsystem | kind, 0, 7, 99) + body


OURS, THEIRS = attribute(1, b"hyperion\0"), attribute(1, b"hyperion2\0")
HANDLE = attribute(4, bytes(8))


@pytest.mark.parametrize("kind", [NEWTABLE, 2, 3, DELCHAIN, NEWRULE, 8, NEWSET, 11, 18, 22])
def test_whatever_happens_to_the_table_counts(kind: int) -> None:
    assert touches_rules(message(kind, OURS), b"hyperion")
    assert touches_rules(message(kind, HANDLE, OURS), b"hyperion")
    assert touches_rules(message(kind, attribute(0x8000 | 1, b"hyperion\0")), b"hyperion")
    assert not touches_rules(message(kind, THEIRS), b"hyperion")
    assert not touches_rules(message(kind, HANDLE), b"hyperion")


def test_grants_the_end_of_a_transaction_and_other_subsystems_do_not() -> None:
    for kind in (watch.NFT_MSG_NEWSETELEM, watch.NFT_MSG_DELSETELEM, watch.NFT_MSG_NEWGEN):
        assert not touches_rules(message(kind, OURS), b"hyperion")
    assert not touches_rules(message(NEWRULE, OURS, subsystem=OTHER_SUBSYSTEM), b"hyperion")
    assert not touches_rules(b"", b"hyperion")


def test_one_of_many_is_enough() -> None:
    others = message(NEWRULE, THEIRS) + message(watch.NFT_MSG_NEWSETELEM, OURS)
    assert not touches_rules(others, b"hyperion")
    assert touches_rules(others + message(NEWRULE, OURS) + others, b"hyperion")


@pytest.mark.parametrize(
    "broken",
    [b"x", bytes(16), message(NEWRULE, b"\0\0\0\0"), message(NEWRULE, b"\1"), struct.pack("=IHHII", 15, 0, 0, 0, 0)],
)
def test_what_looks_wrong_counts(broken: bytes) -> None:
    assert touches_rules(broken, b"hyperion")


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_make_it_fail_or_loop(junk: bytes, more: bytes) -> None:
    assert touches_rules(junk, b"hyperion") in (True, False)
    assert touches_rules(message(NEWRULE, more), b"hyperion") in (True, False)


def test_reading_never_waits_and_an_overrun_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | OSError] = []

    class FakeSocket:
        def __init__(self, *_: object) -> None: ...
        def bind(self, _: object) -> None: ...
        def setsockopt(self, *_: object) -> None: ...
        def setblocking(self, _: bool) -> None: ...
        def close(self) -> None: ...
        def fileno(self) -> int:
            return 42

        def recv(self, _: int) -> bytes:
            answer = answers.pop(0) if answers else BlockingIOError()
            if isinstance(answer, OSError):
                raise answer
            return answer

    monkeypatch.setattr(socket, "socket", FakeSocket)
    table_watch = TableWatch("hyperion")
    assert table_watch.fileno() == 42
    assert not table_watch.changed()
    answers[:] = [message(NEWRULE, THEIRS), message(NEWRULE, OURS), message(NEWRULE, THEIRS)]
    assert table_watch.changed()
    assert answers == []
    answers[:] = [OSError(105, "ENOBUFS"), message(NEWRULE, THEIRS)]
    assert table_watch.changed()
    answers[:] = [message(NEWRULE, THEIRS)] * (watch.MAX_DATAGRAMS + 3)
    assert not table_watch.changed()
    assert len(answers) == 3
    table_watch.close()
