"""Whose turn is it to put bytes into one tunnel connection?

Bulk waits in the kernel buffer of its own local socket, never in our memory. A stream may send as long as the
connection takes bytes. When it does not, a stream that just sent waits in a queue; when it does again, the queue is
served in turn, one quantum each (deficit round robin). A stream that was idle may always send once, a little: a
keystroke never waits behind megabytes.

Knows: order, sizes and times that it is told. Refuses to know: sockets.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

#: Bytes that a stream may send in its turn while others wait.
QUANTUM_BYTES = 64 * 1024
#: Largest read while other streams wait: shorter records let the others in sooner.
CONTENDED_READ_BYTES = 16 * 1024
#: Largest read of a stream that was idle while the connection takes nothing: typing, not bulk. With 512 streams that is
#: 2 MiB.
BLOCKED_READ_BYTES = 4 * 1024
#: On a slow link one record takes no longer than this, seconds; it is what a keystroke may wait for.
RECORD_SECONDS = 0.01
#: A connection that takes so many bytes without a stop is no slow link, whatever its last stop looked like: four times
#: what waits unsent in our memory and in the kernel before it stops. Then it was we who had to wait for the processor.
FAST_BYTES = 1024 * 1024
#: Streams let loose in one turn of the loop.
RELEASED_PER_TURN = 4


class Turn(Protocol):
    """A reader of a local socket, as the scheduler sees it."""

    quantum: int

    def hold(self) -> None:
        """Read no more until ``release``."""

    def release(self) -> None:
        """Read again."""


class Scheduler:
    """The queue of one connection. ``call_soon`` runs a function in the next turn of the loop."""

    __slots__ = (
        "_blocked_at",
        "_call_soon",
        "_link_limit",
        "_max_body",
        "_pumping",
        "_taken",
        "_waiting",
        "blocked",
        "read_limit",
    )

    def __init__(self, max_body: int, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._max_body = max_body
        self._call_soon = call_soon
        self._waiting: deque[Turn] = deque()
        self._pumping = False
        self._blocked_at = 0.0
        self._link_limit = max_body
        self._taken = 0  # since the last stop
        #: the connection takes no more bytes now
        self.blocked = False
        #: most bytes to read from a local socket at once
        self.read_limit = max_body

    @property
    def waiting(self) -> int:
        """Streams that have bytes and wait."""
        return len(self._waiting)

    def sent(self, turn: Turn, size: int) -> None:
        """``turn`` just sent ``size`` bytes: may it go on, or is it held?"""
        if self._link_limit < self._max_body:
            self._measure(size)
        if self.blocked:
            self._hold(turn)
        elif self._waiting:
            turn.quantum -= size
            if turn.quantum <= 0:
                self._hold(turn)

    def forget(self, turn: Turn) -> None:
        """The stream ended; it may have been waiting."""
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._set_read_limit()

    def block(self, now: float) -> None:
        """The connection takes no more bytes."""
        self.blocked = True
        self._blocked_at = now
        self._taken = 0
        self._set_read_limit()

    def unblock(self, drained: int, now: float) -> None:
        """The connection takes bytes again, having written ``drained`` bytes meanwhile: so fast is the link."""
        self.blocked = False
        elapsed = now - self._blocked_at
        if elapsed > 0:
            fits = int(drained / elapsed * RECORD_SECONDS)
            self._link_limit = max(BLOCKED_READ_BYTES, min(self._max_body, fits))
        self._set_read_limit()
        self._start_pump()

    def _measure(self, size: int) -> None:
        """Another ``size`` bytes, at the pace of the last stop: is that still how fast the link is?"""
        self._taken += size
        if self._taken >= FAST_BYTES and not self.blocked:
            self._link_limit = self._max_body
            self._set_read_limit()

    def _hold(self, turn: Turn) -> None:
        turn.quantum = QUANTUM_BYTES
        turn.hold()
        self._waiting.append(turn)
        self._set_read_limit()
        if not self.blocked:
            self._start_pump()

    def _start_pump(self) -> None:
        if self._waiting and not self._pumping:
            self._pumping = True
            self._call_soon(self._pump)

    def _pump(self) -> None:
        """Let some waiting streams loose; next turn, more: one without bytes must not stop the queue."""
        self._pumping = False
        if self.blocked:
            return
        for _ in range(min(RELEASED_PER_TURN, len(self._waiting))):
            self._waiting.popleft().release()
            if self.blocked or not self._waiting:  # it sent what it had at once
                break
        self._set_read_limit()
        self._start_pump()

    def _set_read_limit(self) -> None:
        if self.blocked:
            self.read_limit = BLOCKED_READ_BYTES
        elif self._waiting:
            self.read_limit = min(CONTENDED_READ_BYTES, self._link_limit)
        else:
            self.read_limit = self._link_limit
