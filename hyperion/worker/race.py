"""A TCP connection to one of a server's addresses: attempts that begin one after the other, and the first one wins.

Knows the schedule, and that every attempt but the winner is closed, whatever happens. Refuses to know names, the
tunnel, and why somebody wants to connect.

With a gate each attempt is a knock, a moment for the server's firewall, and a SYN. Both can be lost, and the firewall
can be late; the kernel repeats a lost SYN only after a second, and never the knock. So a new attempt, with a knock and
a socket of its own, begins while the others are under way. On a long path several of them reach the server: the first
to be answered wins, and the others are taken back before their handshake is complete, so the server's program never
sees them. A gate that lets in one connection for each knock is served by this, too.

Source: WIRE Q3, Q4; RFC 8305 (several addresses).
"""

import asyncio
import contextlib
import itertools
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from hyperion.worker.addresses import Address
from hyperion.worker.knocker import Knocks, MakeSocket
from hyperion.worker.local_socket import reset_at_close

#: Seconds between a knock and its SYN: what a server needs to hear the knock and to tell its firewall (1 to 6 ms).
GRAIN = 0.01
#: Seconds between the first attempts. A busy server is late by some of these, a lost knock costs one of them.
FIRST_INTERVALS = (0.02, 0.04, 0.09, 0.15, 0.2)
#: ... then: 23 knocks in 5 s, so that with every second one lost all dials but one in ten million get through.
INTERVAL = 0.25
#: ... and after ``QUICK_SECONDS``, for who waits longer than a dial of the pool.
LATE_INTERVAL = 1.0
QUICK_SECONDS = 5.0
#: Attempts under way at once. The oldest gives way: with 0.25 s between them a round trip may take 1.5 s.
MAX_IN_FLIGHT = 6
#: Seconds that the first address is alone before the others have their turns (RFC 8305 section 5).
ADDRESS_DELAY = 0.25

#: Seconds of a last look at the deadline: a loop that is late may hear of the clock before it hears of an answer.
LAST_LOOK = 0.02
#: Seconds behind a deadline that no loop is late by, unless its process was stopped or starved, or the machine slept.
STOOD_STILL_SECONDS = 0.5
#: Seconds for what is answered then: the kernel repeats what was lost within one.
SECOND_CHANCE = 1.0

#: Linux: bind to an address, and let ``connect`` choose the port.
_IP_BIND_ADDRESS_NO_PORT = 24

Attempt = asyncio.Task[socket.socket]


def moments(round_trip: float | None = None) -> Iterator[float]:
    """When the attempts with a knock begin, seconds from the first one.

    ``round_trip`` in seconds, if it is known: an answer that is still on its way is no reason to knock again, and a
    knock too many leaves a gate open that lets in one connection for each.
    """
    patience = 0.0 if round_trip is None else min(GRAIN + 1.5 * round_trip, LATE_INTERVAL)
    at = 0.0
    for interval in itertools.chain(FIRST_INTERVALS, itertools.repeat(INTERVAL)):
        yield at
        at += max(interval, patience) if at < QUICK_SECONDS else LATE_INTERVAL


class Deadline:
    """The end of a dial, ``at`` seconds of the loop. It is moved once: nobody is told that a server is silent because
    we did not listen."""

    def __init__(self, at: float) -> None:
        self.at = at
        self._moved = False

    def is_over(self, now: float) -> bool:
        """Whether it has come. At first for a last look, or a longer one, if we stood still."""
        if now < self.at or self._moved:
            return now >= self.at
        self._moved = True
        self.at = now + (SECOND_CHANCE if now - self.at >= STOOD_STILL_SECONDS else LAST_LOOK)
        return False


class Race:
    """One dial. ``knocks`` is None where there is no gate: then each address is tried once.

    ``round_trip``: seconds from a SYN to its answer; what is known of it before, and of the winner's after it.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        knocks: Knocks | None,
        make_socket: MakeSocket,
        round_trip: float | None = None,
    ) -> None:
        self.round_trip = round_trip
        self._alive = list(addresses)
        self._knocks = knocks
        self._make_socket = make_socket
        self._running: dict[Attempt, Address] = {}
        self._errors: list[OSError] = []
        self._turns = itertools.count()

    async def run(self, timeout: float) -> socket.socket:
        """The first connected socket, non-blocking, within ``timeout`` seconds.

        Raises the most telling ``OSError`` as soon as no address is left that could still answer, and ``TimeoutError``.
        The deadline is kept here, and not by whoever might cancel this: what was answered before anybody looked at the
        clock counts, also if this process, or the whole machine, stood still meanwhile.
        """
        winner: socket.socket | None = None
        starts = self._starts()
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = Deadline(began + timeout)
        following: float | None = next(starts)
        try:
            while winner is None:
                if following is not None and (not self._running or loop.time() >= began + following):
                    self._begin(following)
                    following = next(starts, None)
                until = deadline.at if following is None else min(deadline.at, began + following)
                wait = max(0.0, until - loop.time())
                done, _ = await asyncio.wait(list(self._running), timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                winner = self._judge(done)
                if winner is None and not self._alive and not self._running:
                    raise self._most_telling()
                if not self._alive:
                    following = None
                if winner is None and (now := loop.time()) >= deadline.at:
                    following = None  # nothing more begins; what is under way has a last chance
                    if deadline.is_over(now):
                        raise TimeoutError
                if winner is None and following is None and not self._running:
                    raise TimeoutError
        finally:
            await self._take_back(winner)
        return winner

    def _starts(self) -> Iterator[float]:
        if self._knocks is not None:
            return moments(self.round_trip)
        return iter([place * ADDRESS_DELAY for place in range(len(self._alive))])

    def _begin(self, at: float) -> None:
        if len(self._running) >= MAX_IN_FLIGHT:
            next(attempt for attempt in self._running if not attempt.cancelling()).cancel()
        if self._knocks is None:
            address = self._alive.pop(0)
        elif at < ADDRESS_DELAY:
            address = self._alive[0]
        else:
            address = self._alive[next(self._turns) % len(self._alive)]
        self._running[asyncio.create_task(self._attempt(address))] = address

    async def _attempt(self, address: Address) -> socket.socket:
        if self._knocks is not None:
            self._knocks.send(address)
            await asyncio.sleep(GRAIN)
        sock = self._make_socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            self._leave_from_where_we_knocked(sock, address)
            began = time.monotonic()
            await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
            self.round_trip = time.monotonic() - began
        except BaseException:
            sock.close()
            raise
        return sock

    def _leave_from_where_we_knocked(self, sock: socket.socket, address: Address) -> None:
        """The gate is open for one source address; a host with several must not change its mind in between."""
        source = None if self._knocks is None else self._knocks.source(address)
        if source is None:
            return
        with contextlib.suppress(OSError):  # the address has just gone, and we connect from another
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind(source)

    def _judge(self, done: set[Attempt]) -> socket.socket | None:
        """The winner, if there is one; an address that refused or cannot be reached is out of this dial."""
        for attempt in done:
            if not attempt.cancelled() and attempt.exception() is None:
                return attempt.result()
        for attempt in done:
            address = self._running.pop(attempt)
            if attempt.cancelled():
                continue
            error = attempt.exception()
            if not isinstance(error, OSError):
                assert error is not None
                raise error
            self._errors.append(error)
            if address in self._alive:
                self._alive.remove(address)
        return None

    def _most_telling(self) -> OSError:
        refused = [error for error in self._errors if isinstance(error, ConnectionRefusedError)]
        return (refused or self._errors)[0]

    async def _take_back(self, winner: socket.socket | None) -> None:
        for attempt in self._running:
            attempt.cancel()
        for outcome in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(outcome, socket.socket) and outcome is not winner:
                # It was answered at the same moment. A reset frees its place at the server without more ado.
                reset_at_close(outcome)
                outcome.close()
