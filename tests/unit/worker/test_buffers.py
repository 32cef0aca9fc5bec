import socket
import sys

import pytest

from hyperion.proto.noise.record import LENGTH_BYTES, MAX_PLAINTEXT_BYTES, TAG_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker.buffers import (
    MAX_BODY_BYTES,
    SEGMENT_BYTES,
    TUNNEL_READ_BYTES,
    local_buffer,
    plain_buffer,
    record_buffer,
    tunnel_buffer,
)


def test_a_record_with_the_largest_body_is_one_segment_of_the_loopback_device() -> None:
    assert len(local_buffer) == HEADER_BYTES + MAX_BODY_BYTES <= MAX_PLAINTEXT_BYTES
    assert LENGTH_BYTES + len(local_buffer) + TAG_BYTES == SEGMENT_BYTES


def test_a_read_ends_where_a_record_ends() -> None:
    assert len(tunnel_buffer) == TUNNEL_READ_BYTES > LENGTH_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES
    assert TUNNEL_READ_BYTES % SEGMENT_BYTES == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other loopback devices have other segments")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_agrees_on_the_size_of_a_segment(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listener:
        near = socket.create_connection(listener.getsockname()[:2], 5)
        far, _ = listener.accept()
        with near, far:
            far.settimeout(5)
            for _ in range(8):  # a connection begins with smaller ones
                near.sendall(bytes(SEGMENT_BYTES // 2))
                far.recv(SEGMENT_BYTES // 2, socket.MSG_WAITALL)
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) >= SEGMENT_BYTES


def test_both_can_be_read_into_and_are_not_the_same_memory() -> None:
    assert not local_buffer.readonly
    assert not tunnel_buffer.readonly
    buffers = (local_buffer, tunnel_buffer, plain_buffer, record_buffer)
    assert len({id(buffer.obj) for buffer in buffers}) == len(buffers)


def test_one_read_and_one_record_fit() -> None:
    assert len(plain_buffer) == len(tunnel_buffer)
    assert len(record_buffer) == 2 + MAX_PLAINTEXT_BYTES + 16
