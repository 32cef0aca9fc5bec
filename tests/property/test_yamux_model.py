"""Two yamux sessions against a model of byte queues: nothing lost, reordered or doubled, no credit out of thin air.

The state machine orders both sides about at random and delivers the bytes between them in random pieces. The model
knows, for each stream and direction, what was sent and has not come out yet.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from hyperion.proto.yamux.events import (
    PeerWentAway,
    SessionFailed,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
)
from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES, MAX_U32
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.session import YamuxSession
from hyperion.proto.yamux.stream import YamuxStream

#: Small, so that the limits are met: three windows can double once.
BUDGET = 3 * INITIAL_WINDOW_BYTES
LIMITS = YamuxLimits(
    max_streams=6, max_opened=4, max_unacknowledged=3, window_budget=BUDGET, max_stream_window=4 * INITIAL_WINDOW_BYTES
)
PATTERN = bytes(range(251)) * 12_000


@dataclass
class Half:
    """One direction of one stream, as the model sees it."""

    sent: int = 0
    received: int = 0
    unread: int = 0
    finish_sent: bool = False
    finished: bool = False


@dataclass
class Side:
    session: YamuxSession
    wire: bytearray = field(default_factory=bytearray)  # on its way to this side
    streams: dict[int, YamuxStream] = field(default_factory=dict)
    heard: dict[int, Half] = field(default_factory=dict)  # towards this side
    reset: set[int] = field(default_factory=set)  # ids that this side, or its peer, has reset


class YamuxModel(RuleBasedStateMachine):
    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.now = 10.0
        self.sides = [Side(YamuxSession(client=client, limits=LIMITS)) for client in (True, False)]
        for side in self.sides:
            side.session.handle_timeout(self.now)

    # --- the driver's orders

    @precondition(lambda self: self.sides[0].session.may_open)
    @rule(target=streams, size=st.integers(1, 3_000))
    def open_stream(self, size: int) -> int:
        client = self.sides[0]
        stream = client.session.open_stream()
        assert stream.id not in client.streams
        client.streams[stream.id] = stream
        for side in self.sides:
            side.heard[stream.id] = Half()
        self.send(stream.id, 0, size)
        return stream.id

    @rule(stream_id=streams, where=st.sampled_from([0, 1]), size=st.integers(1, INITIAL_WINDOW_BYTES * 2))
    def send(self, stream_id: int, where: int, size: int) -> None:
        side, half = self.sides[where], self.sides[1 - where].heard[stream_id]
        stream = side.streams.get(stream_id)
        if stream is None or stream.gone or stream.send_closed or not stream.send_window:
            return
        size = min(size, stream.send_window)
        start = half.sent % 251  # what is sent is told apart by where it stands
        side.session.send_data(stream, PATTERN[start : start + size])
        half.sent += size

    @rule(stream_id=streams, where=st.sampled_from([0, 1]))
    def finish(self, stream_id: int, where: int) -> None:
        stream = self.sides[where].streams.get(stream_id)
        if stream is not None:
            if not stream.gone:
                self.sides[1 - where].heard[stream_id].finish_sent = True
            self.sides[where].session.send_finish(stream)
            assert stream.send_closed or stream.gone

    @rule(stream_id=consumes(streams), where=st.sampled_from([0, 1]))
    def reset(self, stream_id: int, where: int) -> None:
        stream = self.sides[where].streams.get(stream_id)
        if stream is not None:
            if not stream.gone:
                self.sides[where].reset.add(stream_id)
                self.sides[1 - where].reset.add(stream_id)
            self.sides[where].session.send_reset(stream)
            assert stream.gone

    @rule(stream_id=streams, where=st.sampled_from([0, 1]), size=st.integers(1, INITIAL_WINDOW_BYTES * 4))
    def consume(self, stream_id: int, where: int, size: int) -> None:
        side = self.sides[where]
        stream, half = side.streams.get(stream_id), side.heard[stream_id]
        if stream is not None and half.unread:
            size = min(size, half.unread)
            half.unread -= size
            side.session.consumed(stream, size, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.2, 6.0]))
    def pass_time(self, seconds: float) -> None:
        if seconds == 6.0:  # never so much silence that a ping goes missing: that is another test's business
            self.deliver_everything()
        self.now += seconds
        for side in self.sides:
            side.session.handle_timeout(self.now)

    # --- the wire

    @rule(where=st.sampled_from([0, 1]), size=st.one_of(st.integers(1, 40), st.integers(1, 300_000)))
    def deliver(self, where: int, size: int) -> None:
        self.collect()
        self.hand_over(self.sides[where], size)

    @rule()
    def deliver_everything(self) -> None:
        self.collect()
        while any(side.wire for side in self.sides):
            for side in self.sides:
                self.hand_over(side, len(side.wire))
            self.collect()
        for side in self.sides:
            for stream_id, half in side.heard.items():
                if stream_id not in side.reset:
                    assert half.received == half.sent
                    assert half.finished == half.finish_sent

    def collect(self) -> None:
        for side, other in zip(self.sides, reversed(self.sides), strict=True):
            other.wire += side.session.data_to_send()

    def hand_over(self, side: Side, size: int) -> None:
        data = bytes(side.wire[:size])
        del side.wire[: len(data)]
        side.session.receive_data(data, self.now)
        while (event := side.session.next_event()) is not None:
            assert not isinstance(event, SessionFailed | PeerWentAway), event
            if isinstance(event, StreamOpened):
                assert event.stream.id not in side.streams
                side.streams[event.stream.id] = event.stream
            elif isinstance(event, StreamData):
                self.on_data(side.heard[event.stream.id], bytes(event.data))
            elif isinstance(event, StreamFinished):
                half = side.heard[event.stream.id]
                assert half.finish_sent
                assert not half.finished
                assert half.received == half.sent
                half.finished = True
            elif isinstance(event, StreamReset):
                assert event.stream.id in side.reset

    @staticmethod
    def on_data(half: Half, data: bytes) -> None:
        start = half.received % 251
        assert data == PATTERN[start : start + len(data)]
        half.received += len(data)
        half.unread += len(data)
        assert half.received <= half.sent
        assert not half.finished

    # --- always

    @invariant()
    def windows_are_sound(self) -> None:
        for side in self.sides:
            lent = 0
            for stream in side.session.streams:
                window = stream.receive_window
                assert 0 <= stream.send_window <= MAX_U32
                assert window.available >= 0
                assert window.buffered >= 0
                assert window.available + window.buffered <= window.maximum <= LIMITS.max_stream_window
                lent += window.maximum - INITIAL_WINDOW_BYTES
            assert lent + side.session.budget.left == BUDGET

    @invariant()
    def nobody_has_more_credit_than_was_granted(self) -> None:
        for sender, receiver in ((0, 1), (1, 0)):
            for stream_id, near in self.sides[sender].streams.items():
                far = self.sides[receiver].streams.get(stream_id)
                if far is not None and not near.gone and not far.gone:
                    # what is on the wire, either way, makes the sender's view smaller, never larger
                    assert near.send_window <= far.receive_window.available

    @invariant()
    def limits_hold(self) -> None:
        client, server = (side.session for side in self.sides)
        assert client.stream_count <= LIMITS.max_opened
        assert server.stream_count <= LIMITS.max_streams
        unacknowledged = sum(not stream.acknowledged for stream in client.streams)
        assert unacknowledged == client._unacknowledged <= LIMITS.max_unacknowledged

    def teardown(self) -> None:
        self.deliver_everything()
        for side in self.sides:
            for stream in side.session.streams:
                side.session.send_reset(stream)
        self.collect()
        for side in self.sides:
            side.session.receive_data(bytes(side.wire), self.now)
            assert side.session.stream_count == 0
            assert side.session.budget.left == BUDGET
            assert side.session._unacknowledged == 0


YamuxModelTest = YamuxModel.TestCase
YamuxModelTest.settings = settings(max_examples=60, stateful_step_count=60)
