"""The gate as the supervisor sees it: whether it works, who has a grant, what was knocked.

It follows what knockd says, and shuts the tunnel port (``shutter``) for as long as knockd is not there or not sure:
then nothing but a firewall table that nobody guards would stand between a stranger and the workers. It starts shut.

Knows messages, not processes: somebody calls ``heard``, ``ended`` and ``session_opened``. What it asks of knockd goes
to ``tell``.
"""

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Callable

from hyperion import log
from hyperion.events import GATE_OPENED, GATE_SHUT, KNOCKED_IN_VAIN
from hyperion.proto.control import Fault, Message, Ready
from hyperion.proto.control_knockd import Admitted, Ended, GateState, KnockCounts, Revoke, Standing
from hyperion.proto.operator import GateLine, GrantLine
from hyperion.supervisor.in_vain import InVain
from hyperion.supervisor.shutter import Shutter

#: With ``close_behind``: seconds from the last session of a source to the end of its grant. The rest of a client's pool
#: comes within one; a knock that renews nothing, because the grant is younger than one, must still be worth two.
CLOSE_BEHIND_SECONDS = 3.0
#: Grants that we keep in mind: as many as knockd gives (``knockd.admission.MAX_SOURCES``).
MAX_GRANTS = 4_096

#: A socket that could not be shut, or opened again, is tried again so often, seconds. It takes microseconds.
RETRY_SECONDS = 1.0

STARTING = "knockd is starting"
AWAY = "knockd is not running"


class Gate:
    """``port``: where knocks are heard (UDP). Everything is called on the loop.

    ``close_behind``: a grant ends soon after its source has its sessions. ``one_shot``: it is used up by the first.
    """

    def __init__(
        self,
        shutter: Shutter,
        port: int,
        tell: Callable[[Message], None],
        *,
        close_behind: bool = False,
        one_shot: bool = False,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.close_behind = close_behind
        self.one_shot = one_shot
        self.port = port
        self._shutter = shutter
        self._tell = tell
        self._changed = changed
        self._clock = clock
        self._until: dict[str, float] = {}
        self._in_vain = InVain()
        self._closing: dict[str, asyncio.TimerHandle] = {}
        # Asked to be closed, and not yet said to have ended: a knockd that dies meanwhile forgets it.
        self._to_close: dict[str, None] = {}
        #: Of knockds that have ended: each counts from its own start.
        self._before: Counter[str] = Counter()
        self._dropped_before = 0
        self._counts = KnockCounts({}, 0)
        self.reason: str | None = STARTING
        #: What knockd, or its absence, asks for, whether that could be done or not.
        self._wanted: str | None = STARTING
        self._retry: asyncio.TimerHandle | None = None
        self._since = clock()

    @property
    def is_open(self) -> bool:
        """Whether a right knock opens the way to a worker."""
        return self.reason is None

    def heard(self, message: Message) -> None:
        """What knockd says."""
        match message:
            case Ready():
                # It says anew which grants there are.
                self._until.clear()
                for source in self._to_close:
                    self._tell(Revoke(source))
            case GateState(ok=ok, reason=reason):
                self._is(None if ok else reason or "it does not say why")
            case Fault():
                self._is(message.words())
            case Admitted(source=source, ttl=ttl):
                self._granted(source, ttl)
                if self._in_vain.knocked(source, self._clock()):
                    log.event(KNOCKED_IN_VAIN, {"source.ip": source, "destination.port": self.port})
                # A new knock: another connection is on its way.
                self._keep_open(source)
                self._to_close.pop(source, None)
            case Standing(source=source, left=left):
                self._granted(source, left)
            case Ended(source=source):
                self._until.pop(source, None)
                self._to_close.pop(source, None)
            case KnockCounts():
                self._counts = message
            case _:
                return
        self._changed()

    def ended(self) -> None:
        """knockd has ended, however that came. The grants it gave are still in the kernel."""
        self._before.update(self._counts.verdicts)
        self._dropped_before += self._counts.dropped
        self._counts = KnockCounts({}, 0)
        # A reason that it gave itself says more than that it is not there.
        self._is(AWAY if self._wanted in (None, STARTING) else self._wanted)
        self._changed()

    def session_opened(self, source: str) -> None:
        """A client from this address has proven itself."""
        source = plain(source)
        self._in_vain.came(source)
        if self.one_shot:
            self._until.pop(source, None)
        if self.close_behind:
            self._keep_open(source)
            loop = asyncio.get_running_loop()
            self._closing[source] = loop.call_later(CLOSE_BEHIND_SECONDS, self._close, source)

    def close(self) -> None:
        """No more timers."""
        for timer in self._closing.values():
            timer.cancel()
        self._closing.clear()
        if self._retry is not None:
            self._retry.cancel()

    def line(self) -> GateLine:
        """For ``status``."""
        verdicts = self._before + Counter(self._counts.verdicts)
        return GateLine(
            state="ok" if self.is_open else "shut",
            reason=self.reason,
            since=self._since,
            port=self.port,
            verdicts=dict(verdicts),
            dropped=self._dropped_before + self._counts.dropped,
            in_vain=self._in_vain.count(self._clock()),
        )

    def grants(self) -> list[GrantLine]:
        """For ``status``: who may connect now."""
        now = self._clock()
        return [GrantLine(source, until, until - now) for source, until in self._until.items() if until > now]

    def _granted(self, source: str, seconds: float) -> None:
        now = self._clock()
        if source not in self._until and len(self._until) >= MAX_GRANTS:
            self._until = {other: until for other, until in self._until.items() if until > now}
        if source in self._until or len(self._until) < MAX_GRANTS:
            self._until[source] = now + seconds

    def _keep_open(self, source: str) -> None:
        if (timer := self._closing.pop(source, None)) is not None:
            timer.cancel()

    def _close(self, source: str) -> None:
        del self._closing[source]
        if source in self._to_close or len(self._to_close) < MAX_GRANTS:
            self._to_close[source] = None
        self._tell(Revoke(source))

    def _is(self, reason: str | None) -> None:
        """From now on the gate is to be as ``reason`` says; ``None``: in order."""
        self._wanted = reason
        if reason is None:
            self._shutter.open()
        else:
            self._shutter.shut()
        if (trouble := self._shutter.trouble) is not None:
            reason = trouble if reason is None else f"{reason}; {trouble}"
            self._try_again()
        self._now(reason)

    def _try_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retried)

    def _retried(self) -> None:
        self._retry = None
        self._is(self._wanted)
        self._changed()

    def _now(self, reason: str | None) -> None:
        if reason == self.reason:
            return
        if (reason is None) != (self.reason is None):
            self._since = self._clock()
        self.reason = reason
        self._log(reason)

    def _log(self, reason: str | None) -> None:
        fields: dict[str, object] = {"destination.port": self.port, "error.message": reason}
        if reason is None:
            log.event(GATE_OPENED, fields)
        else:
            log.event(GATE_SHUT, fields, reason="knockd-away" if self._wanted == AWAY else "degraded")


def plain(source: str) -> str:
    """An address as knockd writes it: an IPv4 one also where a socket for both calls it ``::ffff:...``; no zone."""
    address = ipaddress.ip_address(source.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
