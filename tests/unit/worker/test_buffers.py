from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker.buffers import (
    MAX_BODY_BYTES,
    TUNNEL_READ_BYTES,
    local_buffer,
    plain_buffer,
    record_buffer,
    tunnel_buffer,
)


def test_header_and_largest_body_fill_one_record() -> None:
    assert HEADER_BYTES + MAX_BODY_BYTES == MAX_PLAINTEXT_BYTES == len(local_buffer)
    assert len(tunnel_buffer) == TUNNEL_READ_BYTES > MAX_PLAINTEXT_BYTES


def test_both_can_be_read_into_and_are_not_the_same_memory() -> None:
    assert not local_buffer.readonly
    assert not tunnel_buffer.readonly
    buffers = (local_buffer, tunnel_buffer, plain_buffer, record_buffer)
    assert len({id(buffer.obj) for buffer in buffers}) == len(buffers)


def test_one_read_and_one_record_fit() -> None:
    assert len(plain_buffer) == len(tunnel_buffer)
    assert len(record_buffer) == 2 + MAX_PLAINTEXT_BYTES + 16
