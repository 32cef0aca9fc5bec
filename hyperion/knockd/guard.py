"""Keeps the gate's table in force: when somebody flushes, deletes or edits it, it is put back at once.

Knows when to look (the kernel says so, and now and then anyway) and when to stop fighting. How the table is put back
stands in ``firewall``. Our own changes are seen, too, but then the table is as it should be, and nothing is said.

Somebody who changes the table again and again is another program, or an operator who means it: after a few times the
guard waits longer and longer, and says that the gate is not sure, so that no new connection is taken meanwhile. An
operator who says so before he changes it is let do it; what he leaves in the table is judged all the same.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hyperion import log
from hyperion.backoff import Backoff
from hyperion.events import FIREWALL_CAUTION, FIREWALL_DEGRADED, FIREWALL_RECOVERED, FIREWALL_RESTORED
from hyperion.firewall.nft import FirewallError
from hyperion.knockd.firewall import RESTORATIONS, Firewall, Outcome, TableMissingError
from hyperion.proto.control_knockd import GuardedTable, InheritedTable

#: The kernel loses no message unseen, but who knows: look so often without one, seconds.
POLL_SECONDS = 5.0
#: Restorations at once that are still help, and not a fight: a reload of the host's firewall is one or two.
FREE_RESTORATIONS = 5
#: They count for so long, seconds; after so much quiet all is forgotten.
FIGHT_SECONDS = 60.0
#: Waits between further restorations, seconds.
FIGHT_BACKOFF = Backoff(start=1.0, cap=60.0, jitter="none")
#: Waits between attempts while nftables fails, seconds.
FAULT_BACKOFF = Backoff(start=0.25, cap=5.0, jitter="none")
#: While all is not well it looks at most so often, whatever it hears, seconds.
PAUSE_SECONDS = 0.25
#: Longest time for which an operator may keep the guard from restoring anything, seconds.
MAX_HOLD_SECONDS = 600.0

#: A successor waits so long to be told what its predecessor guarded before it looks, seconds. It takes milliseconds.
INHERIT_SECONDS = 0.25

CONTESTED = "contested"


class Watch(Protocol):
    """What ``TableWatch`` gives."""

    def fileno(self) -> int: ...
    def changed(self) -> bool: ...


class Guard:
    """Guards the table of ``firewall``. ``watch`` ``None``: only by looking now and then.

    ``report`` is told (good or not, why) at the start and at every change; why is a stable word, and mostly more.
    ``keep`` is told what is put back from now on, at every change, for who comes after us. ``successor``: somebody was
    here before us, and what he guarded may be told in a moment (``follow``).
    """

    def __init__(
        self,
        firewall: Firewall,
        watch: Watch | None,
        report: Callable[[bool, str | None], None],
        keep: Callable[[GuardedTable], None] = lambda _: None,
        *,
        successor: bool = False,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._firewall = firewall
        self._watch = watch
        self._report = report
        self._keep = keep
        self._guarded: GuardedTable | None = None
        self._kept: GuardedTable | None = None
        self._successor = successor
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._restored_at: deque[float] = deque()
        self._faults = 0
        self._held_until = -math.inf
        self._holding = asyncio.Lock()
        self._noticed = asyncio.Event()
        self._state: tuple[bool, str | None] | None = None
        self._reported: tuple[bool, str | None] | None = None

    async def run(self) -> None:
        """Guards until cancelled. nftables is called in a thread, so the loop goes on even while it hangs."""
        noticed = self._noticed
        loop = asyncio.get_running_loop()
        watch = self._watch
        if watch is not None:
            loop.add_reader(watch.fileno(), lambda: noticed.set() if watch.changed() else None)
        try:
            if self._successor:
                await _wait(noticed, INHERIT_SECONDS)
            while True:
                noticed.clear()
                wait = await asyncio.to_thread(self.look)
                self._report_change()
                # Not to be kept busy by whoever changes the table all the time.
                pause = min(wait, PAUSE_SECONDS)
                await asyncio.sleep(pause)
                await _wait(noticed, wait - pause if wait else self._poll_seconds)
        finally:
            if watch is not None:
                loop.remove_reader(watch.fileno())

    def follow(self, inherited: InheritedTable) -> None:
        """A predecessor guarded this a moment ago."""
        self._firewall.follow(inherited)
        self._noticed.set()

    async def hold(self, seconds: float) -> None:
        """The operator changes the table himself (``apply-firewall``): restore nothing for so long, then adopt what is
        there. 0: he is done. Returns when no restoration is under way any more; the loop goes on meanwhile.

        A table that is no gate is reported all the while: nobody would put it back.
        """
        until = self._clock() + min(seconds, MAX_HOLD_SECONDS)
        self._held_until = max(self._held_until, until)
        async with self._holding:  # one after the other: the last word counts
            await asyncio.to_thread(self._firewall.look_anew)
            self._guarded = self._kept = None
            self._held_until = until
        self._noticed.set()

    def look(self) -> float:
        """See to it that the table is in force. Seconds until the next look is due, 0: now and then will do."""
        began = self._clock()
        if (left := self._held_until - began) > 0:
            return min(left, self._judge())
        try:
            wait = self._wait_for_peace(began)
            if wait and not self._firewall.in_force():
                self._degraded(CONTESTED, wait, {}, CONTESTED)
                return wait
            outcome = Outcome.KEPT if wait else self._firewall.ensure()
        except FirewallError as error:
            return self._failed(error)
        self._faults = 0
        self._guarded = self._firewall.guarded
        if outcome in RESTORATIONS:
            self._restored(outcome, began)
        elif outcome is Outcome.ADOPTED:
            for caution in self._firewall.cautions:
                log.event(FIREWALL_CAUTION, self._fields() | {"error.message": caution})
        self._good()
        return 0.0

    def _judge(self) -> float:
        """While the table is the operator's to change: nothing is put back, and nothing bad is called good."""
        try:
            self._firewall.judge()
        except FirewallError as error:
            return self._failed(error)
        self._faults = 0
        self._good()
        return self._poll_seconds

    def _wait_for_peace(self, now: float) -> float:
        """Seconds until we may restore again."""
        while self._restored_at and self._restored_at[0] <= now - FIGHT_SECONDS:
            self._restored_at.popleft()
        fights = len(self._restored_at) - FREE_RESTORATIONS
        return max(0.0, self._restored_at[-1] + FIGHT_BACKOFF.ceiling(fights) - now) if fights >= 0 else 0.0

    def _restored(self, outcome: Outcome, began: float) -> None:
        now = self._clock()
        self._restored_at.append(now)
        fields = self._fields() | {
            "hyperion.firewall.restored_ms": round((now - began) * 1_000),
            "hyperion.firewall.restorations": len(self._restored_at),
        }
        log.event(FIREWALL_RESTORED, fields, reason=outcome.value)

    def _failed(self, error: FirewallError) -> float:
        wait = FAULT_BACKOFF.ceiling(self._faults)
        self._faults += 1
        # That there is no table says all.
        told = error.reason if error.reason == TableMissingError.reason else f"{error.reason}: {error}"
        self._degraded(error.reason, wait, log.error_fields(error), told)
        return wait

    def _degraded(self, reason: str, wait: float, fields: dict[str, object], told: str) -> None:
        """Said once for each fault, however often it is tried."""
        if self._state != (False, told):
            log.event(FIREWALL_DEGRADED, self._fields() | {"hyperion.retry_in_s": wait} | fields, reason=reason)
            self._state = (False, told)

    def _good(self) -> None:
        if self._state != (True, None):
            if self._state is not None:
                log.event(FIREWALL_RECOVERED, self._fields())
            self._state = (True, None)

    def _report_change(self) -> None:
        if self._state is not None and self._state != self._reported:
            self._reported = self._state
            self._report(*self._state)
        if self._guarded is not None and self._guarded != self._kept:
            self._kept = self._guarded
            self._keep(self._guarded)

    def _fields(self) -> dict[str, object]:
        return {
            "hyperion.firewall.backend": self._firewall.backend,
            "hyperion.firewall.table": self._firewall.rules.table,
        }


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
