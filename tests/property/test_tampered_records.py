"""Records on their way: dropped, doubled, swapped, inserted, cut, flipped (Terrapin, CVE-2023-48795).

The tunnel ends every time, and not one altered byte comes out.
"""

import random
from collections.abc import Callable

import pytest

from hyperion.proto.tunnel import TunnelFailed, TunnelState
from hyperion.proto.yamux.events import StreamData
from hyperion.proto.yamux.frame import encode_header
from tests.helpers.pair import (
    START,
    framed,
    names,
    raw_client,
    raw_server,
    take_events,
)

DATA, PING = 0, 2

BODIES = [b"body %d " % number * 5 for number in range(53)]


def drop(records: list[bytes], at: int) -> None:
    del records[at]


def double(records: list[bytes], at: int) -> None:
    records.insert(at, records[at])


def swap(records: list[bytes], at: int) -> None:
    records[at], records[at + 1] = records[at + 1], records[at]


def insert(records: list[bytes], at: int) -> None:
    records.insert(at, framed(random.Random(at).randbytes(40)))


def insert_older(records: list[bytes], at: int) -> None:
    records.insert(at, records[0] if at else records[-1])


def truncate(records: list[bytes], at: int) -> None:
    records[at] = records[at][: len(records[at]) // 2]


def end_early(records: list[bytes], at: int) -> None:
    records[at:] = [records[at][:-1]]


def flip(records: list[bytes], at: int) -> None:
    bad = bytearray(records[at])
    bad[2 + at % (len(bad) - 2)] ^= 1 << at % 8
    records[at] = bytes(bad)


TAMPERS = [drop, double, swap, insert, insert_older, truncate, end_early, flip]


def expect_no_altered_byte(tamper: Callable[[list[bytes], int], None], at: int, *, to_server: bool) -> None:
    if to_server:
        peer = raw_client()
    else:
        peer = raw_server()
        peer.side.tunnel.mux.send_data(peer.side.tunnel.mux.open_stream(), b"\x00\x16")
    # the record of index 0 is the client's proof; the first body opens the stream there
    records = [peer.records(encode_header(PING, 1, 0, 9))]
    for number, body in enumerate(BODIES):
        flags = 1 if to_server and number == 0 else 0
        records.append(peer.records(encode_header(DATA, flags, 1, len(body)) + body))
    tamper(records, at)
    tunnel = peer.side.tunnel
    tunnel.receive_data(memoryview(b"".join(records)), START)
    tunnel.receive_eof()
    events = take_events(tunnel)
    delivered = b"".join(bytes(event.data) for event in events if isinstance(event, StreamData))
    intact = at if tamper is not double else at + 1  # the first copy is the real one
    assert delivered == b"".join(BODIES[: max(0, intact - 1)])
    assert tunnel.state is TunnelState.FAILED
    assert isinstance(events[-1], TunnelFailed)
    if at == 0 and to_server and tamper is not double:
        assert "TunnelOpened" not in names(events)


@pytest.mark.parametrize("to_server", [True, False])
@pytest.mark.parametrize("tamper", TAMPERS)
def test_tampered_records(tamper: Callable[[list[bytes], int], None], to_server: bool) -> None:
    for at in (0, 1, 2, 17, 50):
        expect_no_altered_byte(tamper, at, to_server=to_server)


@pytest.mark.long
@pytest.mark.parametrize("to_server", [True, False])
@pytest.mark.parametrize("tamper", TAMPERS)
def test_tampered_records_everywhere(tamper: Callable[[list[bytes], int], None], to_server: bool) -> None:
    for at in range(51):
        expect_no_altered_byte(tamper, at, to_server=to_server)
