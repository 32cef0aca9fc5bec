"""Carries out what was decided: one call of the firewall after the other, in a thread, because nftables may take time.

Knows who waits for the firewall, and keeps ``admission``'s book in step with it. Does not know knocks. While the
firewall works, or hangs, knocks are heard and judged and the supervisor is obeyed.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from hyperion import log
from hyperion.events import FIREWALL_ADMITTED, FIREWALL_EXPIRED, FIREWALL_FAILED
from hyperion.firewall.nft import FirewallError, SetFullError
from hyperion.knockd.admission import MAX_SOURCES, Admission, Decision
from hyperion.proto.control_knockd import Admitted, Ended, Standing

GrantNews = Admitted | Standing | Ended

#: After a failure the firewall is asked something harmless so often, seconds, to hear when it works again.
PROBE_SECONDS = 2.0
#: Sources that may wait for the firewall. At 5 ms each the last one waits a second, as long as its client.
MAX_WAITING = 200


class Firewall(Protocol):
    """What is asked of the firewall; ``hyperion.knockd.firewall`` is one. Calls block and raise ``FirewallError``."""

    def admit(self, source: str, ttl: float) -> None:
        """Let ``source`` in for ``ttl`` seconds from now, anew if it is in already."""

    def revoke(self, source: str) -> None:
        """End the grant of ``source``."""

    def grants(self) -> Mapping[str, float]:
        """Who is in, and for how many seconds."""


class Door:
    """One per knockd. ``tell`` takes news of grants for the supervisor, ``on_state`` what is wrong with the firewall,
    or None; both are called on the loop. ``port``: the one behind the door, for the log.

    ``now`` is monotonic seconds everywhere.
    """

    def __init__(
        self,
        firewall: Firewall,
        admission: Admission,
        tell: Callable[[GrantNews], None],
        on_state: Callable[[str | None], None],
        port: int = 0,
    ) -> None:
        self._firewall = firewall
        self._admission = admission
        self._tell = tell
        self._on_state = on_state
        self._port = port
        # Source -> the id of the knock that lets it in, or None to shut it out. The last word about a source counts.
        self._waiting: dict[str, str | None] = {}
        # Revocations that failed: done as soon as the firewall works again. As many as there can be grants.
        self._owed: dict[str, None] = {}
        self._work = asyncio.Event()
        self._broken = False
        # Who was told what since it worked last: a client knocks several times a second, and goes on for hours.
        self._told: set[tuple[str, str]] = set()
        self._thread = ThreadPoolExecutor(1, "firewall")

    def admit(self, source: str, now: float, knock: str = "") -> str | None:
        """An authentic knock came from ``source``; one word why it opens nothing, or None: it will. ``knock``: its id
        in the log."""
        self.expire(now)
        if source not in self._waiting and len(self._waiting) >= MAX_WAITING:
            return "busy"
        decision = self._admission.decide(source, now)
        if decision in (Decision.FULL, Decision.GROUP_FULL):
            return str(decision.value)
        if decision.asks_firewall:
            self._put(source, knock)
        return None

    def revoke(self, source: str) -> None:
        """End the grant of ``source``; wins over an admission that still waits."""
        self._put(source, None)

    def doubt(self, now: float) -> None:
        """The operator changed the firewall: the next knock of every source is put to it, however young its grant."""
        self._admission.doubt(now)

    def expire(self, now: float) -> None:
        """Say whose grant has ended. The kernel ends it by itself."""
        for source in self._admission.expired(now):
            self._over(source, "expired")

    async def run(self, clock: Callable[[], float]) -> None:
        """Until cancelled. Then one call may still be running in its thread. Starts with what lives in the kernel."""
        try:
            await self._look(clock)
            while True:
                if not await self._has_work(PROBE_SECONDS if self._broken else None):
                    await self._probe(clock)
                while self._waiting:
                    source = next(iter(self._waiting))
                    await self._carry_out(source, self._waiting.pop(source))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _put(self, source: str, knock: str | None) -> None:
        self._waiting[source] = knock
        self._work.set()

    async def _has_work(self, timeout: float | None) -> bool:
        """Wait for work, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._work.wait()
        except TimeoutError:
            return False
        self._work.clear()
        return True

    async def _probe(self, clock: Callable[[], float]) -> None:
        """Something is to be done again, or at least asked, to hear whether the firewall works."""
        if self._owed:
            await self._carry_out(next(iter(self._owed)), None)
        else:
            await self._look(clock)

    async def _look(self, clock: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        try:
            grants = await loop.run_in_executor(self._thread, self._firewall.grants)
        except FirewallError:
            return  # the guard looks at the same time, and says what is wrong
        # What is to end is no grant any more: the next knock of its source asks for a new one.
        grants = {source: left for source, left in grants.items() if source not in self._owed}
        self._admission.load(grants, clock())
        for source, left in grants.items():
            self._tell(Standing(source, left))
        self._works()

    async def _carry_out(self, source: str, knock: str | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            if knock is not None:
                ttl = self._admission.ttl
                await loop.run_in_executor(self._thread, self._firewall.admit, source, ttl)
                self._owed.pop(source, None)
                about = {"hyperion.knock.id": knock or None, "hyperion.firewall.ttl_s": ttl}
                log.event(FIREWALL_ADMITTED, self._fields(source) | about)
                self._tell(Admitted(source, int(ttl), knock))
            else:
                self._admission.forget(source)
                await loop.run_in_executor(self._thread, self._firewall.revoke, source)
                self._owed.pop(source, None)
                self._over(source, "revoked")
            self._works()
        except (FirewallError, ValueError) as error:
            self._failed(source, error, revoking=knock is None)

    def _over(self, source: str, reason: str) -> None:
        log.event(FIREWALL_EXPIRED, self._fields(source), reason=reason)
        self._tell(Ended(source, reason))

    def _failed(self, source: str, error: FirewallError | ValueError, *, revoking: bool) -> None:
        # The next knock asks the firewall again.
        self._admission.forget(source)
        if revoking:
            self._owed.pop(source, None)
        # ValueError: no address that could be let in (a forged source, a slip of the supervisor).
        reason = error.reason if isinstance(error, FirewallError) else "no-source"
        if (source, reason) not in self._told and len(self._told) < MAX_SOURCES:
            self._told.add((source, reason))
            log.event(FIREWALL_FAILED, self._fields(source) | log.error_fields(error), reason=reason)
        # One that does not fit into a full set is not in it either: nothing is left to revoke.
        if isinstance(error, FirewallError) and not isinstance(error, SetFullError):
            if revoking and len(self._owed) < MAX_SOURCES:
                self._owed[source] = None  # behind all others
            self._broken = True
            self._on_state(f"{reason}: {error}")

    def _fields(self, source: str) -> dict[str, object]:
        return {"source.ip": source, "destination.port": self._port or None}

    def _works(self) -> None:
        self._broken = False
        self._told.clear()
        self._on_state(None)
        for source in self._owed:
            # A knock that came meanwhile has the last word.
            self._waiting.setdefault(source, None)
            self._work.set()
