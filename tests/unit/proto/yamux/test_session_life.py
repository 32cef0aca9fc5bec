"""``proto.yamux.session``: what ends it, and what keeps it alive."""

import pytest

from hyperion.proto.errors import RecordError
from hyperion.proto.yamux.events import (
    PeerWentAway,
    RoundTrip,
    SessionFailed,
)
from hyperion.proto.yamux.frame import (
    ACK,
    FIN,
    INITIAL_WINDOW_BYTES,
    MAX_U32,
    RST,
    SYN,
    GoAwayCode,
)
from tests.helpers.mux import DATA, GO_AWAY, NOW, PING, UPDATE, accepted, events, expect_failed, feed, frame, new, sent

# --- violations


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x01" + bytes(11), None),
        (b"\x00\x04" + bytes(10), None),
        (frame(DATA, SYN, 2), 1),
        (frame(DATA, SYN, 0), 1),
        (frame(DATA, SYN, 1) * 2, 1),
        (frame(DATA, SYN, 1, INITIAL_WINDOW_BYTES + 1), 1),
        (frame(DATA, SYN, 1) + frame(DATA, 0, 1, INITIAL_WINDOW_BYTES + 1), 1),
        (frame(DATA, SYN, 1) + frame(DATA, FIN, 1) + frame(DATA, 0, 1, 1), 1),
        (frame(DATA, 0, 9, 2**24 + 1), 1),
        (frame(UPDATE, SYN, 1, MAX_U32), 1),
        (frame(DATA, SYN, 1) + frame(UPDATE, 0, 1, MAX_U32 - INITIAL_WINDOW_BYTES) + frame(UPDATE, 0, 1, 1), 1),
        (b"".join(frame(DATA, SYN, number) for number in (1, 3, 5, 7, 9)), 2),
        (b"".join(frame(UPDATE, SYN, number) for number in (1, 3, 5, 7, 9)), 1),
        (frame(PING, ACK, 0, 1), 1),
    ],
)
def test_violations(wire: bytes, code: int | None) -> None:
    server = new(max_streams=4)
    server.receive_data(wire + frame(DATA, SYN, 101), NOW)
    expect_failed(server, code)
    assert feed(server, frame(DATA, SYN, 103), frame(PING, SYN, 0, 1), b"\xff") == []
    assert sent(server) == []
    assert server.stream_count == 0


@pytest.mark.parametrize("stream_id", [0, 1, 3])
def test_streams_that_a_server_may_not_even_try_to_open(stream_id: int) -> None:
    client = new(client=True)
    client.receive_data(frame(DATA, SYN, stream_id), NOW)
    expect_failed(client, 1)


def test_what_is_left_over_of_a_turn_was_said_when_it_came() -> None:
    """Violations are found all the same, and time that passed here is no time of the peer's."""
    wire = b"".join(frame(DATA, SYN, number) + frame(DATA, RST, number) for number in range(1, 41, 2))
    sessions = []
    for turn, frames in ((0.0, 40), (0.05, 4)):
        server = new(max_hasty_resets=10)
        server.frames_left = frames
        server.receive_data(wire, NOW)
        now = NOW
        while server.has_more:
            now += turn
            server.frames_left = frames
            server.receive_more(now)
        sessions.append([type(event) for event in events(server)])
        assert sessions[-1][-1] is SessionFailed
        assert server.next_timeout() is None
    assert sessions[0] == sessions[1]


def test_exact_credit_is_no_violation() -> None:
    server = new()
    stream = accepted(server)
    feed(server, frame(UPDATE, 0, 1, MAX_U32 - INITIAL_WINDOW_BYTES))
    assert stream.send_window == MAX_U32
    assert len(feed(server, frame(DATA, SYN, 3, body=bytes(INITIAL_WINDOW_BYTES)))) == 2
    assert feed(server, frame(DATA, 0, 99, 2**24)) == []


def test_pings() -> None:
    server = new(max_queued_pongs=3)
    accepted(server)
    pings = [frame(PING, SYN, 0, 7), frame(PING, 0, 1, 8), frame(PING, SYN, 99, 9)]
    assert feed(server, *pings) == []
    assert sent(server) == [(PING, ACK, 0, 7), (PING, ACK, 0, 8)]
    assert feed(server, *[frame(PING, SYN, 0, 7)] * 3) == []
    assert len(sent(server)) == 3
    server.receive_data(frame(PING, SYN, 0, 7) * 4, NOW)
    assert isinstance(events(server)[-1], SessionFailed)
    assert sent(server) == [(PING, ACK, 0, 7)] * 3 + [(GO_AWAY, 0, 0, 1)]


# --- the session's life


def test_timers() -> None:
    client = new(client=True)
    assert client.next_timeout() == 0.0
    client.handle_timeout(NOW)
    assert sent(client) == [(PING, SYN, 0, 1)]
    client.handle_timeout(NOW)
    assert sent(client) == []
    client.receive_data(frame(PING, ACK, 0, 1), NOW + 0.5)
    assert events(client) == [RoundTrip(0.5)]
    assert client.round_trip == 0.5
    due = client.next_timeout()
    assert due is not None
    for _ in range(2):
        client.handle_timeout(due)
        due = client.next_timeout()
        assert due is not None
    sent(client)
    client.handle_timeout(due)
    expect_failed(client, None)
    client.handle_timeout(due + 100)
    assert client.next_timeout() is None
    assert sent(client) == []


def test_the_peer_goes_away() -> None:
    for code in (0, 1, 2, 77, MAX_U32):
        client = new(client=True)
        stream = client.open_stream()
        assert feed(client, frame(GO_AWAY, 0, 0, code) + frame(PING, SYN, 0, 1)) == [PeerWentAway(code)]
        assert stream.gone
        assert not client.may_open
        client.fail(RecordError("later"))
        assert events(client) == []


def test_we_go_away() -> None:
    server = new()
    stream = accepted(server)
    server.send_go_away(GoAwayCode.NORMAL)
    server.send_go_away(GoAwayCode.NORMAL)
    assert sent(server) == [(GO_AWAY, 0, 0, 0)]
    assert feed(server, frame(DATA, SYN, 3)) == []
    assert stream.gone
    server.send_finish(stream)
    server.consumed(stream, 0, NOW)
    assert sent(server) == []


def test_failed_from_outside() -> None:
    server = new()
    error = RecordError("x")
    server.fail(error)
    server.fail(RecordError("y"))
    assert events(server) == [SessionFailed(error)]
    assert sent(server) == []
