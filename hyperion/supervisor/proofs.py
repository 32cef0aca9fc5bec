"""What a trial of the firewall asks of a running server: to let go of its table for a while, and who got in.

Knows the last knocks and sessions, with their times. How they prove anything is the trial's business: another program,
``hyperion.trial``. Knows messages, not processes: somebody calls ``heard`` and ``session_opened``, and ``tell`` reaches
the one knockd, where there is one.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from hyperion.errors import ConfigError, TemporaryError, UsageError
from hyperion.proto.control import Message, Ready, SessionOpened
from hyperion.proto.control_knockd import Admitted, Held, Hold
from hyperion.proto.operator import Done, HoldGuardRequest, Proof, ProofRequest

#: Knocks and sessions that are kept in mind, each. A trial asks four times a second.
MAX_REMEMBERED = 512
#: Seconds that knockd may take to say that it holds back. It may be in the middle of a call of nftables.
HOLD_TIMEOUT = 2.0
#: Longest time for which it may be told to, seconds (``knockd.guard.MAX_HOLD_SECONDS``).
MAX_HOLD_SECONDS = 600.0


class Proofs:
    """``tell`` sends to knockd; ``runs`` says whether there is one now; ``tell`` ``None``: the gate is off.

    ``let_go`` is called before an operator begins to change the table, and when he is done.
    """

    def __init__(
        self,
        tell: Callable[[Message], None] | None,
        runs: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        *,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._tell = tell
        self._let_go = let_go
        self._runs = runs
        self._clock = clock
        self._knocks: deque[tuple[str, float]] = deque(maxlen=MAX_REMEMBERED)
        self._sessions: deque[tuple[str, int, float]] = deque(maxlen=MAX_REMEMBERED)
        self._waiting: list[asyncio.Future[None]] = []
        self._held_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether the table is an operator's to change."""
        return self._clock() < self._held_until

    def heard(self, message: Message) -> None:
        """What knockd says."""
        match message:
            case Admitted(source=source):
                self._knocks.append((source, self._clock()))
            case Ready():
                # It has just started, maybe in the middle of a trial of which only its predecessor knew.
                left = self._held_until - self._clock()
                if self._tell is not None and 0 < left <= MAX_HOLD_SECONDS:
                    self._tell(Hold(left))
            case Held():
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_result(None)
            case _:
                pass

    def session_opened(self, session: SessionOpened) -> None:
        """A client has proven itself. By our own clock: its knock was noted by the same one."""
        self._sessions.append((session.source, session.source_port, self._clock()))

    async def hold(self, request: HoldGuardRequest) -> Done:
        """The handler of ``HoldGuardRequest``: done when knockd says so.

        Raises ``ConfigError`` where the gate is off, ``TemporaryError`` for a knockd that does not answer (its
        successor is not held then), ``UsageError`` for no time.
        """
        if self._tell is None:
            raise ConfigError("knocking is off here", hint="set [knock] enabled = true, and restart the server")
        if not (math.isfinite(request.seconds) and 0 <= request.seconds <= MAX_HOLD_SECONDS):
            raise UsageError(f"a guard is held for 0 to {MAX_HOLD_SECONDS:g} s")
        self._let_go()
        before, self._held_until = self._held_until, self._clock() + request.seconds
        if not self._runs():
            # Its successor is told as soon as it is there.
            return Done()
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            self._tell(Hold(request.seconds))
            async with asyncio.timeout(HOLD_TIMEOUT):
                await waiting
        except TimeoutError:
            # Whoever asked is refused, and changes nothing.
            self._held_until = min(before, self._held_until)
            raise TemporaryError("knockd does not answer", hint="see the server's log") from None
        finally:
            self._waiting.remove(waiting)
        return Done()

    async def proof(self, request: ProofRequest) -> Proof:
        """The handler of ``ProofRequest``."""
        return Proof(
            tuple(knock for knock in self._knocks if knock[1] >= request.since),
            tuple(session for session in self._sessions if session[2] >= request.since),
        )
