"""``proto.yamux.stream``: a fresh stream, and how small it is."""

import sys

import pytest

from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES, SYN
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.proto.yamux.window import ReceiveWindow, WindowBudget


def new_stream() -> YamuxStream:
    return YamuxStream(5, ReceiveWindow(WindowBudget()), first_flags=SYN, acknowledged=False)


def test_fresh() -> None:
    stream = new_stream()
    assert stream.send_window == stream.receive_window.available == INITIAL_WINDOW_BYTES
    assert (stream.id, stream.first_flags, stream.acknowledged) == (5, SYN, False)
    assert [stream.send_closed, stream.receive_closed, stream.gone] == [False] * 3
    assert (stream.bytes_sent, stream.bytes_received, stream.owner) == (0, 0, None)
    assert repr(stream) == "YamuxStream(5)"


def test_small() -> None:
    """8 KB an idle stream, on each side, is all that everything together may take."""
    stream = new_stream()
    assert sys.getsizeof(stream) + sys.getsizeof(stream.receive_window) < 400
    with pytest.raises(AttributeError):
        stream.more = 1  # type: ignore[attr-defined]
