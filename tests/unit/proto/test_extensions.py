"""``proto.extensions``: what two newer peers say, and that nothing else gets through."""

from typing import Any

import msgspec
import pytest

from hyperion.proto.errors import HandshakeError
from hyperion.proto.extensions import (
    MAX_PAYLOAD_BYTES,
    MAX_PORTS,
    PLAIN,
    Parameters,
    decode_parameters,
    encode_parameters,
)

FULL = Parameters(x=1, frame=65_519, agent="hyperion/1.0", time=1_700_000_000_000, ports=(22, 443, 65_535), name="web1")


def test_an_empty_payload_is_plain_version_1() -> None:
    assert decode_parameters(b"") == PLAIN
    assert PLAIN.frame == 16_384
    assert PLAIN.x == 0
    assert PLAIN.ports is None


@pytest.mark.parametrize("parameters", [PLAIN, FULL, Parameters(ports=()), Parameters(agent="", x=2**31)])
def test_round_trip(parameters: Parameters) -> None:
    assert decode_parameters(encode_parameters(parameters)) == parameters


def test_unknown_keys_are_ignored() -> None:
    payload = msgspec.msgpack.encode({"x": 1, "later": {"deep": [1, None, b"\xff"]}, "name": "web1"})
    assert decode_parameters(payload) == Parameters(x=1, name="web1")


def test_a_deep_unknown_value() -> None:
    nested = b"\x91" * 900 + b"\x00"
    assert decode_parameters(b"\x82\xa1x\x01\xa1z" + nested) == Parameters(x=1)


@pytest.mark.parametrize(
    "value",
    [
        {"x": -1},
        {"x": 2**31 + 1},
        {"x": 2**64 - 1},
        {"x": "1"},
        {"x": True},
        {"x": 1.0},
        {"frame": 16_383},
        {"frame": 65_520},
        {"frame": None},
        {"agent": "x" * 65},
        {"agent": "line\n"},
        {"agent": "\x1b[31m"},
        {"agent": "käse"},
        {"agent": b"bytes"},
        {"name": "x" * 65},
        {"name": "trailing\n"},
        {"time": -1},
        {"time": 2**53 + 1},
        {"time": "now"},
        {"ports": [65_536]},
        {"ports": [-1]},
        {"ports": "22"},
        {"ports": {"22": 1}},
        [],
        [1, 65_519],
        "text",
        1,
        None,
    ],
    ids=repr,
)
def test_values_that_are_refused(value: Any) -> None:
    with pytest.raises(HandshakeError) as caught:
        decode_parameters(msgspec.msgpack.encode(value))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00",
        b"\xc1",
        b"\x81",
        b"\x81\xa1x",
        b"\x81\xa1x\xc1",
        b"\x81\xa1x\x01\x00",  # a byte too many
        b"\x81\x01\x01",  # a key that is no string
        b"\x81\xa5agent\xa2\xff\xfe",  # not UTF-8
        b"\x81\xa4name\xa1\x80",
        b"\x81\xa5agent\xdb\xff\xff\xff\xff",  # lengths that are not there
        b"\x81\xa5ports\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa4time\xd7\xff" + b"\xff" * 8,  # timestamp extension out of range
        b"\x81\xa5ports" + b"\x91" * 1_000,
    ],
    ids=lambda payload: payload[:12].hex(),
)
def test_bytes_that_are_refused(payload: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        decode_parameters(payload)
    assert caught.value.reason == "malformed"
    assert caught.value.__cause__ is None


def test_longest_payload() -> None:
    padding = MAX_PAYLOAD_BYTES - len(msgspec.msgpack.encode({"p": b"\0" * 900})) + 900
    payload = msgspec.msgpack.encode({"p": b"\0" * padding})
    assert len(payload) == MAX_PAYLOAD_BYTES
    assert decode_parameters(payload) == PLAIN
    with pytest.raises(HandshakeError, match="too long"):
        decode_parameters(msgspec.msgpack.encode({"p": b"\0" * (padding + 1)}))


def test_the_longest_that_we_encode_is_taken() -> None:
    longest = Parameters(
        x=2**31, frame=65_519, agent="a" * 64, time=2**53, ports=tuple(range(65_536 - MAX_PORTS, 65_536)), name="n" * 64
    )
    payload = encode_parameters(longest)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert decode_parameters(payload) == longest


def test_too_many_ports_are_left_out() -> None:
    said = decode_parameters(encode_parameters(Parameters(x=1, ports=tuple(range(MAX_PORTS + 1)))))
    assert said == Parameters(x=1)
