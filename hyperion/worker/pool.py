"""The tunnels to one server: some connections, each replaced as soon as it is gone, and the streams waiting for one.

Knows: when to connect again, which connection takes a new stream. Refuses to know: local listeners and what a stream
carries.

Source: DESIGN section 4; WIRE section 10.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from hyperion import log
from hyperion.backoff import Backoff
from hyperion.events import CLOCK_SKEWED, INTERNAL_ERROR, TUNNEL_DOWN, TUNNEL_UP
from hyperion.proto.control import TunnelState
from hyperion.proto.errors import RecordError
from hyperion.proto.extensions import Parameters
from hyperion.proto.skew import is_far
from hyperion.worker.connection import TunnelConnection, reason_of
from hyperion.worker.connector import ConnectFailed, Connector, TunnelSession
from hyperion.worker.deadlines import Deadlines

#: Back-off between attempts, seconds: the first quick, for a worker that was just restarted; the last short enough that
#: a server which is back is found before its user asks.
FIRST_DELAY = 0.25
LAST_DELAY = 15.0
#: Seconds until a slot that ended by a bug of ours starts again.
REVIVE_SECONDS = 15.0
#: A connection must live so long, seconds, before its end counts as news and the back-off starts anew.
STABLE_SECONDS = 5.0
#: Seconds after which a connection is replaced by a new one with new keys; its streams may finish.
MAX_AGE_SECONDS = 24 * 3600.0
#: Seconds that a new stream waits for a tunnel, and then again for the server's answer.
OPEN_TIMEOUT = 10.0

#: Streams that may wait for a tunnel at once; with a server down each costs a local socket for at most ten seconds.
MAX_WAITING = 1024


class WaitingStream(Protocol):
    """Somebody who wants a stream."""

    def carry(self, connection: TunnelConnection) -> None:
        """Open it, here and now; the connection has room."""

    def end(self, reason: str) -> None:
        """There is none."""

    def __hash__(self) -> int: ...


class Member:
    """One connection of the pool."""

    def __init__(self, connection: TunnelConnection, session: TunnelSession) -> None:
        self.connection = connection
        self.session = session
        self.opened_at = time.monotonic()
        self.retiring = False

    @property
    def load(self) -> tuple[int, int] | None:
        """Smaller is emptier: streams that wait for their turn, then streams at all. None: no room for one more."""
        connection = self.connection
        mux = connection.tunnel.mux
        if self.retiring or not mux.may_open or not connection.alive:
            return None
        return connection.scheduler.waiting, mux.stream_count


class Pool:
    """Keeps ``size`` connections to one target. ``changed`` is told whenever one comes or goes."""

    def __init__(self, connector: Connector, size: int, changed: Callable[[TunnelState], None]) -> None:
        self._connector = connector
        self._size = size
        self._changed = changed
        self._members: list[Member] = []
        self._slots: set[asyncio.Task[None]] = set()
        self._waiting: Deadlines[WaitingStream] = Deadlines(OPEN_TIMEOUT, self._waited_too_long)
        self._reason: str | None = "connecting"
        self._failure: ConnectFailed | None = None
        self._skew_told = False
        self._failed_at: float | None = None
        self._since = time.time()
        self._was_up = False
        #: The last one that stood: whose words hold until another says otherwise.
        self._last: Member | None = None
        self._attempts_at: dict[object, float] = {}
        self._closing = False
        # Keeps many clients, and the members of one pool, from doing things in step. Not made at import: workers are
        # forked from one process that has imported this, and all would have the same.
        self._chance = random.Random()  # noqa: S311 - no secret hangs on it
        self._hurried = False
        self._gone = asyncio.Event()  # nobody is waited for any more

    @property
    def connections(self) -> list[TunnelConnection]:
        """Those that live, retiring ones included."""
        return [member.connection for member in self._members]

    @property
    def reason(self) -> str | None:
        """The last reason for a connection that is missing, a short stable word."""
        return self._reason

    def start(self) -> None:
        """Begin to connect."""
        for _ in range(self._size):
            self._start_slot()

    async def close(self, reason: str) -> None:
        """End everything, politely unless ``hurry`` was said: what was sent still arrives, if the server takes it."""
        self._closing = True
        slots = list(self._slots)
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        for stream in self._waiting.take_all():
            stream.end(reason)
        for member in list(self._members):
            self._dismiss(member, reason)
        if self._members and not self._hurried:
            await self._gone.wait()

    def hurry(self) -> None:
        """The end waits for nobody."""
        self._hurried = True
        self._gone.set()
        for member in list(self._members):
            if not member.connection.alive:
                self._dismiss(member, "stop")

    def open_stream(self, stream: WaitingStream) -> None:
        """Give ``stream`` the emptiest connection, now or as soon as there is one; else end it after ten seconds."""
        if not self._carry(stream):
            if self._closing or len(self._waiting) >= MAX_WAITING:
                stream.end("no-tunnel")
            else:
                self._waiting.add(stream)

    def stream_gone(self, stream: WaitingStream) -> None:
        """A stream ended or lost interest: somebody else may have its place."""
        self._waiting.remove(stream)
        self.serve_waiting()
        for member in self._members:
            if member.retiring and not member.connection.owners:
                self._dismiss(member, "replaced")

    def serve_waiting(self) -> None:
        """There may be room: a connection came, a stream ended, or one more was acknowledged by the server."""
        while (stream := self._waiting.first()) is not None and (best := self._emptiest()) is not None:
            self._waiting.remove(stream)
            stream.carry(best.connection)

    # --- streams

    def _carry(self, stream: WaitingStream) -> bool:
        best = self._emptiest()
        if best is None:
            return False
        stream.carry(best.connection)
        return True

    def _emptiest(self) -> Member | None:
        best, least = None, None
        for member in self._members:
            load = member.load
            if load is not None and (least is None or load < least):
                best, least = member, load
        return best

    def _waited_too_long(self, stream: WaitingStream) -> None:
        stream.end("no-tunnel")

    # --- connections

    def _start_slot(self) -> None:
        slot = asyncio.get_running_loop().create_task(self._keep_slot())
        self._slots.add(slot)
        slot.add_done_callback(self._slot_ended)

    def _slot_ended(self, slot: asyncio.Task[None]) -> None:
        """Only a bug gets here, or the end. A bug is told, and costs one pause, not the slot."""
        self._slots.discard(slot)
        if slot.cancelled() or self._closing:
            return
        if (error := slot.exception()) is not None:
            log.event(INTERNAL_ERROR, log.error_fields(error))
        asyncio.get_running_loop().call_later(REVIVE_SECONDS, self._revive_slot)

    def _revive_slot(self) -> None:
        if not self._closing:
            self._start_slot()

    async def _keep_slot(self) -> None:
        """Keep one connection up, for ever. It is replaced before it is too old, and after it was lost.

        Make before break: an old one goes on until a new one is there, however many attempts that takes.
        """
        backoff = Backoff(FIRST_DELAY, LAST_DELAY)
        attempt = 0
        current: Member | None = None
        while True:
            fresh = await self._connect_once()
            if fresh is None:
                pause = backoff.delay(attempt, self._chance)
                attempt += 1
            else:
                pause = MAX_AGE_SECONDS * self._chance.uniform(0.9, 1.0)  # not all members at once
                if current is not None:
                    self._retire(current)
                    attempt = 0
                current = fresh
            if current is None:
                await self._pause(pause)
                continue
            done, _ = await asyncio.wait([current.session.closed], timeout=pause)
            if done:
                self._report_down(reason_of(current.session.closed.result()))
                attempt = 0 if time.monotonic() - current.opened_at >= STABLE_SECONDS else attempt
                current = None
                await self._pause(backoff.delay(attempt, self._chance))
                attempt += 1

    async def _pause(self, seconds: float) -> None:
        """Until the next attempt of this slot; told before, so that an operator sees that one is coming."""
        slot = object()
        self._attempts_at[slot] = time.time() + seconds
        try:
            self.tell()
            await asyncio.sleep(seconds)
        finally:
            del self._attempts_at[slot]

    async def _connect_once(self) -> Member | None:
        session = TunnelSession()
        try:
            connection, _ = await self._connector.connect(session)
        except ConnectFailed as error:
            self._report_down(error.reason, error)
            return None
        member = Member(connection, session)
        self._members.append(member)
        session.closed.add_done_callback(lambda _: self._remove(member))
        self._report_up(member)
        # Its first round trip is news, too.
        session.proven.add_done_callback(lambda _: self.tell())
        self.serve_waiting()
        return member

    def _retire(self, member: Member) -> None:
        """No new streams; those that run may finish."""
        member.retiring = True
        if not member.connection.owners:
            self._dismiss(member, "replaced")

    def _dismiss(self, member: Member, reason: str) -> None:
        error = RecordError(f"the connection was ended ({reason})")
        error.reason = reason
        if self._hurried:
            member.connection.go_away(error)
        else:
            member.connection.part(error)

    def _remove(self, member: Member) -> None:
        self._members.remove(member)
        if self._closing and not self._members:
            self._gone.set()

    # --- reports

    def _up_count(self) -> int:
        return sum(member.connection.alive and not member.retiring for member in self._members)

    def _fields(self) -> dict[str, object]:
        target = self._connector.target
        return {
            "hyperion.server.name": target.name,
            "destination.address": target.host,
            "destination.port": target.port,
            "hyperion.pool.up": self._up_count(),
            "hyperion.pool.size": self._size,
        }

    def _report_up(self, member: Member) -> None:
        self._reason = self._failure = None
        self._last = member
        self.tell()
        log.event(TUNNEL_UP, self._fields() | {"hyperion.peer.agent": member.session.parameters.agent})
        self._warn_of_skew(self._connector.clock.skew_ms or 0)

    def _warn_of_skew(self, skew_ms: int) -> None:
        """Once, until the clocks agree again."""
        if is_far(skew_ms) and not self._skew_told:
            log.event(CLOCK_SKEWED, self._fields() | {"hyperion.knock.skew_ms": skew_ms})
        self._skew_told = is_far(skew_ms)

    def _report_down(self, reason: str, failure: ConnectFailed | None = None) -> None:
        news = reason != self._reason
        self._reason, self._failure, self._failed_at = reason, failure, time.time()
        self.tell()
        # an unreachable server is said once for each reason, not at every attempt
        log.event(TUNNEL_DOWN, self._fields(), reason=reason, level=None if news else "debug")

    def tell(self) -> None:
        """The state of now, to whoever wanted to hear of changes."""
        up = self._up_count()
        if (up > 0) is not self._was_up:
            self._was_up, self._since = up > 0, time.time()
        trips = [m.connection.tunnel.mux.round_trip for m in self._members if m.connection.alive]
        known = [trip for trip in trips if trip is not None]
        down = up < self._size
        failure = self._failure if down else None
        last = self._last
        said = Parameters() if last is None else last.session.parameters
        self._changed(
            TunnelState(
                up=up,
                size=self._size,
                reason=self._reason if down else None,
                round_trip=min(known, default=None),
                message=None if failure is None else failure.message,
                hint=None if failure is None else failure.hint,
                since=self._since,
                last_error_at=self._failed_at,
                next_attempt_at=min(self._attempts_at.values(), default=None),
                agent=said.agent,
                server_name=said.name,
                skew_ms=self._connector.clock.skew_ms,
                ports=said.ports,
            )
        )
