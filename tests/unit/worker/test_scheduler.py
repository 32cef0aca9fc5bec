"""Whose turn it is; pure, so every case is spelled out."""

from collections import deque
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from hyperion.worker.scheduler import (
    BLOCKED_READ_BYTES,
    CONTENDED_READ_BYTES,
    FAST_BYTES,
    QUANTUM_BYTES,
    RECORD_SECONDS,
    RELEASED_PER_TURN,
    Scheduler,
)

MAX_BODY = 65_507


class Soon:
    """A loop that turns when it is told to."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()

    def __call__(self, function: Callable[[], None]) -> None:
        self.calls.append(function)

    def turn(self) -> None:
        for _ in range(len(self.calls)):
            self.calls.popleft()()


class Reader:
    """A stream whose local socket always has bytes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.quantum = QUANTUM_BYTES
        self.scheduler = scheduler
        self.reading = True
        self.sent = 0

    def hold(self) -> None:
        self.reading = False

    def release(self) -> None:
        self.reading = True

    def read(self) -> int:
        """What the loop does when the socket is readable."""
        size = self.scheduler.read_limit
        self.sent += size
        self.scheduler.sent(self, size)
        return size


def scheduler() -> tuple[Scheduler, Soon]:
    soon = Soon()
    return Scheduler(MAX_BODY, soon), soon


def test_alone_on_a_free_link_a_stream_is_never_held() -> None:
    turns, soon = scheduler()
    reader = Reader(turns)
    for _ in range(100):
        assert reader.read() == MAX_BODY
        assert reader.reading
    assert not soon.calls


def test_while_the_connection_takes_nothing_each_may_send_once_a_little() -> None:
    turns, soon = scheduler()
    readers = [Reader(turns) for _ in range(3)]
    turns.block(0.0)
    for reader in readers:
        assert reader.read() == BLOCKED_READ_BYTES
        assert not reader.reading
    assert turns.waiting == 3
    soon.turn()
    assert [reader.reading for reader in readers] == [False] * 3


def test_afterwards_they_go_on_in_the_order_in_which_they_came_to_wait() -> None:
    turns, soon = scheduler()
    readers = [Reader(turns) for _ in range(RELEASED_PER_TURN + 2)]
    turns.block(0.0)
    for reader in readers:
        reader.read()
    turns.unblock(10**9, 0.001)
    assert turns.read_limit == CONTENDED_READ_BYTES
    soon.turn()
    assert [reader.reading for reader in readers] == [True] * RELEASED_PER_TURN + [False] * 2
    soon.turn()
    assert all(reader.reading for reader in readers)
    assert turns.waiting == 0
    assert turns.read_limit == MAX_BODY


def test_blocked_again_before_the_turn_came_nobody_is_released() -> None:
    turns, soon = scheduler()
    reader = Reader(turns)
    turns.block(0.0)
    reader.read()
    turns.unblock(10**9, 0.001)
    turns.block(0.002)
    soon.turn()
    assert not reader.reading
    turns.unblock(10**9, 0.003)
    soon.turn()
    assert reader.reading


def test_while_others_wait_a_stream_is_held_after_its_quantum() -> None:
    turns, soon = scheduler()
    one, other = Reader(turns), Reader(turns)
    turns.block(0.0)
    one.read()
    turns.unblock(10**9, 0.001)
    while other.reading:
        assert other.read() == CONTENDED_READ_BYTES
    assert other.sent == QUANTUM_BYTES
    soon.turn()
    assert one.reading
    assert other.reading
    assert other.quantum == QUANTUM_BYTES


def test_a_slow_link_gets_records_that_take_no_longer_than_ten_milliseconds() -> None:
    turns, _ = scheduler()
    turns.block(0.0)
    turns.unblock(1_000_000, 1.0)  # a megabyte a second
    assert turns.read_limit == int(1_000_000 * RECORD_SECONDS)
    turns.block(2.0)
    turns.unblock(10, 3.0)  # ten bytes a second: still not less than a keystroke needs
    assert turns.read_limit == BLOCKED_READ_BYTES
    turns.block(3.0)
    turns.unblock(10**9, 3.0)  # a clock that did not move says nothing of the link
    assert turns.read_limit == BLOCKED_READ_BYTES
    turns.block(4.0)
    turns.unblock(10**9, 4.1)
    assert turns.read_limit == MAX_BODY


def test_a_stream_that_ended_is_not_waited_for() -> None:
    turns, soon = scheduler()
    gone, stays = Reader(turns), Reader(turns)
    turns.block(0.0)
    gone.read()
    stays.read()
    turns.forget(gone)
    turns.forget(gone)  # as often as one likes
    assert turns.waiting == 1
    turns.unblock(10**9, 0.1)
    soon.turn()
    assert not gone.reading
    assert stays.reading


def test_a_connection_that_takes_much_without_a_stop_is_no_slow_link() -> None:
    """It was this process that did not run, and the small records it would go on with cost it even more."""
    turns, _ = scheduler()
    turns.block(0.0)
    turns.unblock(1_000_000, 1.0)
    reader = Reader(turns)
    while reader.sent < FAST_BYTES:
        assert reader.read() == 10_000
    assert turns.read_limit == MAX_BODY


def test_a_slow_link_stays_one_while_it_stops_again_and_again() -> None:
    turns, soon = scheduler()
    reader = Reader(turns)
    for second in range(0, 40, 2):
        turns.block(second)
        turns.unblock(1_000_000, second + 1)
        soon.turn()
        for _ in range(26):  # what the kernel and we take
            assert reader.read() == 10_000
    assert reader.sent > 4 * FAST_BYTES


@given(st.lists(st.sampled_from(["block", "unblock", "turn", 0, 1, 2, 3]), max_size=200))
def test_nobody_waits_for_ever_and_all_get_the_same(actions: list[str | int]) -> None:
    turns, soon = scheduler()
    readers = [Reader(turns) for _ in range(4)]
    now = 0.0
    for action in actions:
        now += 0.01
        if action == "block" and not turns.blocked:
            turns.block(now)
        elif action == "unblock" and turns.blocked:
            turns.unblock(10**6, now)
        elif action == "turn":
            soon.turn()
        elif isinstance(action, int) and readers[action].reading:
            readers[action].read()
    if turns.blocked:
        turns.unblock(10**6, now + 1)
    for _ in range(4):
        soon.turn()
    assert all(reader.reading for reader in readers)
    assert turns.waiting == 0


def test_greedy_streams_share_a_full_link_evenly() -> None:
    turns, soon = scheduler()
    readers = [Reader(turns) for _ in range(10)]
    now, room = 0.0, 0
    while now < 20:
        now += 0.01
        room += 256 * 1024
        if turns.blocked:
            turns.unblock(256 * 1024, now)
        soon.turn()
        while room > 0 and (able := [reader for reader in readers if reader.reading]):
            for reader in able:
                room -= reader.read()
        if not turns.blocked:
            turns.block(now)
    shares = [reader.sent for reader in readers]
    assert min(shares) > 0.8 * max(shares)
