"""``proto.yamux.session``: what the driver may order, what it is told, and what it asks.

What the *peer* may do wrong, case by case, is the conformance table's business (``tests/conformance``); here is the
driver's side, and every branch of the module.
"""

import pytest

from hyperion.proto.errors import StreamLimitError, StreamStateError
from hyperion.proto.yamux.events import (
    RoundTrip,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from hyperion.proto.yamux.frame import (
    ACK,
    FIN,
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    MAX_U32,
    RST,
    SYN,
    GoAwayCode,
)
from tests.helpers.mux import DATA, NOW, PING, UPDATE, accepted, events, expect_failed, feed, frame, new, sent

# --- opening


def test_ids_are_odd_and_nothing_is_sent_before_data() -> None:
    client = new(client=True)
    streams = [client.open_stream() for _ in range(3)]
    assert [stream.id for stream in streams] == [1, 3, 5]
    assert not client.pending
    client.send_data(streams[1], b"xy")
    client.send_data(streams[1], b"z")
    assert sent(client) == [(DATA, SYN, 3, 2), (DATA, 0, 3, 1)]
    assert client.streams == streams
    assert client.stream_count == 3


def test_a_server_opens_none() -> None:
    server = new()
    assert not server.may_open
    with pytest.raises(StreamLimitError):
        server.open_stream()


def test_limit_of_open_streams() -> None:
    client = new(client=True, max_opened=2)
    first, _ = client.open_stream(), client.open_stream()
    assert not client.may_open
    client.send_reset(first)
    assert client.may_open


def test_limit_of_unacknowledged_streams() -> None:
    client = new(client=True, max_unacknowledged=2)
    first, second = client.open_stream(), client.open_stream()
    for stream in (first, second):
        client.send_data(stream, b"x")
    assert not client.may_open
    assert feed(client, frame(UPDATE, ACK, 1), frame(UPDATE, ACK, 1)) == []
    assert client.may_open
    client.open_stream()
    assert not client.may_open
    assert feed(client, frame(DATA, RST, 3)) == [StreamReset(second)]
    assert client.may_open


def test_a_stream_given_up_before_its_ack_counts_no_longer() -> None:
    client = new(client=True, max_unacknowledged=1)
    for _ in range(5):
        stream = client.open_stream()
        client.send_data(stream, b"x")
        client.send_reset(stream)
        assert feed(client, frame(UPDATE, ACK, stream.id)) == []
    assert client.may_open


def test_ids_run_out() -> None:
    client = new(client=True)
    client._next_id = MAX_U32
    last = client.open_stream()
    assert last.id == MAX_U32
    assert not client.may_open
    with pytest.raises(StreamLimitError):
        client.open_stream()
    client.send_data(last, b"x")
    assert sent(client) == [(DATA, SYN, MAX_U32, 1)]


# --- sending


def test_credit_is_used_up() -> None:
    client = new(client=True)
    stream = client.open_stream()
    client.send_data(stream, bytes(INITIAL_WINDOW_BYTES))
    assert (stream.send_window, stream.bytes_sent) == (0, INITIAL_WINDOW_BYTES)
    with pytest.raises(StreamStateError):
        client.send_data(stream, b"x")
    assert feed(client, frame(UPDATE, ACK, 1, 0)) == []
    assert feed(client, frame(UPDATE, 0, 1, 5), frame(UPDATE, 0, 1, 5)) == [WindowOpened(stream)]
    client.send_data(stream, bytes(10))
    assert stream.send_window == 0


def test_no_word_of_credit_to_who_has_finished() -> None:
    client = new(client=True)
    stream = client.open_stream()
    client.send_data(stream, bytes(INITIAL_WINDOW_BYTES))
    client.send_finish(stream)
    assert feed(client, frame(UPDATE, 0, 1, 5)) == []


@pytest.mark.parametrize("size", [0, -1, INITIAL_WINDOW_BYTES + 1])
def test_sizes_that_cannot_be_sent(size: int) -> None:
    client = new(client=True)
    stream = client.open_stream()
    with pytest.raises(StreamStateError):
        client.put_data_header(stream, size, memoryview(bytearray(HEADER_BYTES)))
    assert stream.send_window == INITIAL_WINDOW_BYTES
    assert stream.first_flags == SYN


def test_the_ack_goes_with_the_first_frame() -> None:
    for order in ("data", "finish", "credit"):
        server = new()
        stream = accepted(server)
        if order == "data":
            server.send_data(stream, b"x")
        elif order == "finish":
            server.send_finish(stream)
        else:
            feed(server, frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW_BYTES)))
            server.consumed(stream, INITIAL_WINDOW_BYTES, NOW)
        ((kind, flags, _, _),) = sent(server)
        assert flags & ACK
        assert (kind == UPDATE) == (order == "credit")
        server.send_finish(stream)
        assert all(not flags & ACK for _, flags, _, _ in sent(server))


# --- ending streams


def test_half_close_in_both_orders() -> None:
    server = new()
    one, two = accepted(server, 1), accepted(server, 3)
    server.send_finish(one)
    server.send_finish(one)
    assert feed(server, frame(DATA, FIN, 3)) == [StreamFinished(two)]
    assert [one.gone, two.gone] == [False, False]
    with pytest.raises(StreamStateError):
        server.send_data(one, b"x")
    server.send_data(two, b"still")
    assert feed(server, frame(DATA, 0, 1, body=b"still")) == [StreamData(one, memoryview(b"still"))]
    assert feed(server, frame(UPDATE, FIN, 1)) == [StreamFinished(one)]
    server.send_finish(two)
    assert [one.gone, two.gone] == [True, True]
    assert server.stream_count == 0
    assert sent(server) == [(DATA, ACK | FIN, 1, 0), (DATA, ACK, 3, 5), (DATA, FIN, 3, 0)]


def test_finish_on_a_body() -> None:
    server = new()
    stream = accepted(server)
    assert feed(server, frame(DATA, FIN, 1, 4, b"ab")) == [StreamData(stream, memoryview(b"ab"))]
    assert feed(server, b"cd") == [StreamData(stream, memoryview(b"cd")), StreamFinished(stream)]


def test_finish_twice_is_told_once() -> None:
    server = new()
    stream = accepted(server)
    assert feed(server, frame(DATA, FIN, 1), frame(DATA, FIN, 1)) == [StreamFinished(stream)]


def test_reset_of_a_stream_nobody_heard_of() -> None:
    client = new(client=True)
    stream = client.open_stream()
    client.send_reset(stream)
    client.send_reset(stream)
    client.send_finish(stream)
    assert stream.gone
    assert sent(client) == []


def test_reset_by_us_in_the_middle_of_a_body() -> None:
    server = new()
    stream = accepted(server)
    feed(server, frame(DATA, FIN, 1, 10, b"12345"))
    server.send_reset(stream)
    other = feed(server, b"67890" + frame(DATA, SYN, 3))
    assert [type(event) for event in other] == [StreamOpened]
    assert sent(server) == [(DATA, RST, 1, 0)]
    with pytest.raises(StreamStateError):
        server.send_data(stream, b"x")


def test_reset_by_the_peer() -> None:
    server = new()
    stream = accepted(server)
    assert feed(server, frame(DATA, 0, 1, body=b"last"), frame(DATA, RST, 1)) == [
        StreamData(stream, memoryview(b"last")),
        StreamReset(stream),
    ]
    assert feed(server, frame(DATA, 0, 1, body=b"late"), frame(UPDATE, 0, 1, 9)) == []


def test_opened_and_reset_in_one_frame() -> None:
    server = new()
    assert feed(server, frame(DATA, SYN | RST, 1), frame(UPDATE, SYN | RST, 3)) == []
    assert server.stream_count == 0


def test_streams_that_wait_for_no_answer_are_counted() -> None:
    server = new(max_hasty_resets=3)
    for stream_id in range(1, 21, 2):  # answered ones are not
        server.send_data(accepted(server, stream_id), b"\0")
        assert [type(event) for event in feed(server, frame(DATA, RST, stream_id))] == [StreamReset]
    server.data_to_send()
    for stream_id in (31, 33, 35):
        accepted(server, stream_id)
        assert [type(event) for event in feed(server, frame(DATA, RST, stream_id))] == [StreamReset]
    accepted(server, 37)
    server.receive_data(frame(DATA, RST, 37), NOW)
    expect_failed(server, GoAwayCode.PROTOCOL_ERROR)


def test_a_server_that_refuses_many_is_no_flood() -> None:
    client = new(client=True, max_hasty_resets=3)
    for _ in range(10):
        stream = client.open_stream()
        client.send_data(stream, b"\0\1")
        assert [type(event) for event in feed(client, frame(DATA, RST, stream.id))] == [StreamReset]


def test_a_client_takes_no_streams() -> None:
    client = new(client=True)
    assert feed(client, frame(DATA, SYN, 2, body=b"hello"), frame(UPDATE, SYN, 4)) == []
    assert sent(client) == [(DATA, RST, 2, 0), (DATA, RST, 4, 0)]


# --- credit


def test_credit_for_what_was_consumed() -> None:
    server = new()
    stream = accepted(server)
    feed(server, frame(DATA, 0, 1, body=bytes(100_000)))
    assert not server.consumed(stream, 60_000, NOW)
    assert sent(server) == []
    assert server.consumed(stream, 40_000, NOW)
    assert sent(server) == [(UPDATE, ACK, 1, 100_000)]
    assert stream.bytes_received == 100_000


def test_no_credit_after_the_end_of_a_stream() -> None:
    server = new()
    finished, reset = accepted(server, 1), accepted(server, 3)
    feed(server, *(frame(DATA, 0, number, body=bytes(200_000)) for number in (1, 3)), frame(DATA, FIN, 1))
    server.send_reset(reset)
    sent(server)
    server.consumed(finished, 200_000, NOW)
    server.consumed(reset, 200_000, NOW)
    assert sent(server) == []


def test_a_grown_window_gives_its_budget_back() -> None:
    server = new(window_budget=INITIAL_WINDOW_BYTES)
    server.handle_timeout(NOW)
    server.receive_data(frame(PING, ACK, 0, 1), NOW + 1)
    assert events(server) == [RoundTrip(1.0)]
    for stream_id in (1, 3, 5):
        stream = accepted(server, stream_id)
        for _ in range(3):
            size = stream.receive_window.available
            feed(server, frame(DATA, 0, stream_id, body=bytes(size)))
            server.consumed(stream, size, NOW)
        assert stream.receive_window.maximum == 2 * INITIAL_WINDOW_BYTES
        server.send_reset(stream)
