"""``proto.connect``: two bytes there, one byte back."""

import pytest

from hyperion.proto.connect import (
    REQUEST_BYTES,
    RESPONSE_BYTES,
    ConnectError,
    ConnectStatus,
    decode_request,
    decode_response,
    encode_request,
)
from hyperion.proto.errors import RemoteProtocolError


@pytest.mark.parametrize(("port", "wire"), [(1, "0001"), (22, "0016"), (8443, "20fb"), (65_535, "ffff")])
def test_request(port: int, wire: str) -> None:
    assert encode_request(port).hex() == wire
    assert decode_request(bytearray.fromhex(wire)) == port
    assert len(encode_request(port)) == REQUEST_BYTES


@pytest.mark.parametrize("port", [-1, 65_536])
def test_no_such_port(port: int) -> None:
    with pytest.raises(OverflowError):
        encode_request(port)


def test_response() -> None:
    assert [decode_response(value) for value in range(3)] == [
        ConnectStatus.OK,
        ConnectStatus.DENIED,
        ConnectStatus.UNREACHABLE,
    ]
    assert RESPONSE_BYTES == 1


@pytest.mark.parametrize("value", range(3, 256))
def test_unknown_response(value: int) -> None:
    with pytest.raises(ConnectError) as caught:
        decode_response(value)
    assert isinstance(caught.value, RemoteProtocolError)
    assert caught.value.reason == "bad-response"
