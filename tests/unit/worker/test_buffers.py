from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker.buffers import MAX_BODY_BYTES, TUNNEL_READ_BYTES, local_buffer, tunnel_buffer


def test_header_and_largest_body_fill_one_record() -> None:
    assert HEADER_BYTES + MAX_BODY_BYTES == MAX_PLAINTEXT_BYTES == len(local_buffer)
    assert len(tunnel_buffer) == TUNNEL_READ_BYTES > MAX_PLAINTEXT_BYTES


def test_both_can_be_read_into_and_are_not_the_same_memory() -> None:
    assert not local_buffer.readonly
    assert not tunnel_buffer.readonly
    assert local_buffer.obj is not tunnel_buffer.obj
