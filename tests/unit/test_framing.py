"""Framing, its limits, hostile bytes."""

import itertools
import random
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Fault, Heartbeat, Ready, TunnelState, WorkerToSupervisor

SAID = [Ready(1), Heartbeat(1, 2, 3, 4, 5, 6), TunnelState(1, 4, None, 0.2), Fault("x", 78)]


def reader() -> FrameReader[WorkerToSupervisor]:
    return FrameReader(msgspec.msgpack.Decoder(WorkerToSupervisor))


BODIES = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "no map": msgspec.msgpack.encode([1, 2]),
    "no tag": msgspec.msgpack.encode({"pid": 1}),
    "unknown tag": msgspec.msgpack.encode({"t": "admit", "pid": 1}),
    "unknown field": msgspec.msgpack.encode({"t": "ready", "pid": 1, "more": 1}),
    "field missing": msgspec.msgpack.encode({"t": "ready"}),
    "wrong type": msgspec.msgpack.encode({"t": "ready", "pid": "1"}),
    "trailing bytes": msgspec.msgpack.encode(Ready(1)) + b"\x00",
    "two messages in one frame": msgspec.msgpack.encode(Ready(1)) * 2,
    "deep nesting": b"\x91" * 60_000 + b"\x00",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_wrong_body_is_refused_without_quoting_it(body: bytes) -> None:
    machine = reader()
    good = encode(Ready(7))
    assert machine.receive_data(good + struct.pack(">I", len(body)) + body + good) == [Ready(7)]
    assert "refused" in str(machine.error)
    assert "admit" not in str(machine.error)
    assert machine.receive_data(good) == []


@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_in_any_pieces_give_the_same_answer(data: bytes, cuts: list[int]) -> None:
    whole, pieces = reader(), reader()
    expected = whole.receive_data(data)
    bounds = [0, *sorted(cuts), len(data)]
    got = [message for one, two in itertools.pairwise(bounds) for message in pieces.receive_data(data[one:two])]
    assert got == expected
    assert (whole.error is None) is (pieces.error is None)


def test_a_hundred_thousand_hostile_streams_never_raise() -> None:
    rng = random.Random(7)
    good = [encode(message) for message in SAID]
    refused = 0
    for _ in range(100_000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        machine = reader()
        machine.receive_data(bytes(data))
        refused += machine.error is not None
    assert refused > 50_000
