"""``proto.yamux.frame``: twelve bytes, big-endian."""

import struct

import pytest

from hyperion.proto.yamux.frame import (
    ACK,
    FIN,
    HEADER,
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    MAX_U32,
    RST,
    SYN,
    FrameType,
    GoAwayCode,
    encode_header,
)


@pytest.mark.parametrize(
    ("fields", "wire"),
    [
        ((FrameType.DATA, SYN, 1, 2), "000000010000000100000002"),
        ((FrameType.WINDOW_UPDATE, ACK, 3, 262_144), "000100020000000300040000"),
        ((FrameType.PING, SYN, 0, 0xDEADBEEF), "0002000100000000deadbeef"),
        ((FrameType.GO_AWAY, 0, 0, GoAwayCode.INTERNAL_ERROR), "000300000000000000000002"),
        ((FrameType.DATA, FIN | RST, MAX_U32, MAX_U32), "0000000cffffffffffffffff"),
    ],
)
def test_encode(fields: tuple[int, int, int, int], wire: str) -> None:
    assert encode_header(*fields).hex() == wire
    assert HEADER.unpack(bytes.fromhex(wire)) == (0, *fields)


def test_numbers_of_the_specification() -> None:
    assert HEADER_BYTES == HEADER.size == 12
    assert INITIAL_WINDOW_BYTES == 262_144
    assert [*FrameType] == [0, 1, 2, 3]
    assert [*GoAwayCode] == [0, 1, 2]


@pytest.mark.parametrize("fields", [(0, 0, MAX_U32 + 1, 0), (0, 0, 0, MAX_U32 + 1), (0, 0, 0, -1), (0, 2**16, 0, 0)])
def test_numbers_that_do_not_fit(fields: tuple[int, int, int, int]) -> None:
    with pytest.raises(struct.error):
        encode_header(*fields)
