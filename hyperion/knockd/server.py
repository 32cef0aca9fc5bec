"""The gatekeeper: packets in, admissions out.

One way for every packet: parsed, opened, judged fresh and new, for the right port, written down, then handed to the
firewall. Whatever fails on the way is silence: nothing is ever sent to a network, and no exception leaves ``hear``.

Knows the order, and what the supervisor is told. Does not know how packets are caught (``capture``), how the kernel is
changed (``door``), or how to get and drop rights (``__main__``). The clock is an argument.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from hyperion import log
from hyperion.errors import ConfigError, HyperionError
from hyperion.events import DIAGNOSTIC, SNIFFER_DEGRADED
from hyperion.flood import source_group
from hyperion.knockd.admission import Admission
from hyperion.knockd.capture import TRANSIENT, Handler
from hyperion.knockd.door import Door, Firewall
from hyperion.knockd.replay_file import CUT_SHORT, MISSING, ReplayFile, ReplayFileError
from hyperion.knockd.report import Report, knock_id
from hyperion.proto.control_knockd import GateState, KnockdConfig, KnockdToSupervisor
from hyperion.proto.ip import UdpDatagram, parse_udp
from hyperion.proto.knock import MAGIC, NONCE_BYTES, Knock, KnockTable, Verdict, open_knock
from hyperion.proto.replay import Remembered, ReplayGuard

#: Packets read in one turn of the loop, 1 ms of work: then control messages have theirs.
PACKETS_PER_TURN = 100
#: Seconds between looks at counters, summaries and the replay file. The supervisor gets counts at most so often.
TICK_SECONDS = 1.0
#: Pause after the kernel reported trouble on a socket, seconds: it must not keep us busy.
TROUBLE_PAUSE_SECONDS = 0.1
#: Sleeps may end so much too early, seconds.
CLOCK_GRAIN_SECONDS = 0.02

#: A lock-out that is shorter is not told, seconds: a client goes on knocking for as long.
PATIENCE_SECONDS = 5

#: All knocks are sealed with the key derived from the PSK that everybody shares.
HOLDER = "fleet"
_KEY_BYTES = 32
_MAX_PORT = 65_535

# Parts of knockd that can be in trouble
FIREWALL, TABLE, MEMORY, PAST, CALL = "firewall", "table", "replay-memory", "past", "nftables"
NOT_YET = "not looked at yet"

#: Verdicts on what lacks even the form of a knock.
_JUNK = frozenset({Verdict.WRONG_LENGTH, Verdict.WRONG_MAGIC})


class Capture(Protocol):
    """A ``CaptureSocket``, or what a test puts in its place."""

    def fileno(self) -> int:
        """For the loop."""

    def read(self, handle: Handler, limit: int) -> int:
        """Hand on what waits."""

    def dropped(self) -> int:
        """Lost packets since the start."""


class CaptureDiedError(HyperionError):
    """A packet socket is at its end. It cannot be opened again: the right to do so is gone. A restart helps."""

    exit_code = 75


class Knockd:
    """``send`` takes a message for the supervisor; ``clock`` gives Unix seconds, ``monotonic`` seconds since whenever.

    Raises ``ConfigError`` for values that cannot work.
    """

    def __init__(
        self,
        config: KnockdConfig,
        firewall: Firewall,
        memory: ReplayFile,
        send: Callable[[KnockdToSupervisor], None],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check(config)
        self._config = config
        self._memory = memory
        self._send = send
        self._clock = clock
        self._monotonic = monotonic
        self._table = KnockTable(config.server_public, {HOLDER: config.knock_key})
        self._guard = ReplayGuard(config.window)
        self._report = Report(config.knock_port)
        self._troubles = {TABLE: NOT_YET}
        #: Why knocks that are in time are refused, if they are.
        self._past = "what was let in before cannot be told any more"
        self._clock_ahead = clock() - monotonic()
        self._running = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.door = Door(
            firewall,
            Admission(config.ttl, one_shot=config.one_shot),
            tell=send,
            on_state=lambda reason: self.trouble(FIREWALL, reason),
            port=config.tunnel_port,
        )

    async def remember(self) -> None:
        """Take over what predecessors saw. After this, a knock sealed now by a right clock is accepted."""
        start = int(self._clock())
        known = self._memory.load(start, self._config.window, expected=self._config.successor)
        self._guard.load(known, start)
        damage = self._memory.damage
        self._rewrite_memory()
        if damage in (MISSING, CUT_SHORT):
            # Knocks of this very second may have been seen before; nobody shall wait for an answer to one.
            rest = start + 1 - self._clock()
            await asyncio.sleep(min(max(rest, 0.0), 1.0) + CLOCK_GRAIN_SECONDS)
        elif damage is not None:
            self._past = f"the replay memory was {damage}"
            text = f"{self._past}: knocks are refused for {self._config.window} s"
            log.event(DIAGNOSTIC, reason=f"{MEMORY}-{damage}", message=text, level="error")
        self._look_back()

    async def run(self, captures: Iterable[Capture]) -> None:
        """Hear, until cancelled. Raises ``CaptureDiedError``."""
        captures = tuple(captures)
        self._running = True
        # Until the guard has looked there is nothing to tell: nobody thinks that all is well.
        if self._troubles.get(TABLE) != NOT_YET:
            self._send_state()
        tasks = [asyncio.create_task(self.door.run(self._monotonic)), asyncio.create_task(self._tick(captures))]
        loop = asyncio.get_running_loop()
        try:
            for capture in captures:
                loop.add_reader(capture.fileno(), self._read, capture)
            await asyncio.wait([self._failure, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._failure, *tasks):
                if ended.done():
                    ended.result()
        finally:
            for capture in captures:
                loop.remove_reader(capture.fileno())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def hear(self, packet: bytes, checksum_is_complete: bool) -> None:
        """One packet from its IP header on, from anybody. All that can come of it is an admission."""
        datagram = parse_udp(packet, verify_checksum=checksum_is_complete)
        if datagram is None or datagram.destination_port != self._config.knock_port:
            self._report.junk("malformed-packet")
            return
        verdict, knock = open_knock(datagram.payload, self._table)
        if knock is not None:
            self._judge(knock, _text(datagram.source), datagram.source_port)
        elif verdict in _JUNK:
            self._report.junk(verdict.value)
        else:
            self._reject(verdict, datagram)

    def trouble(self, part: str, reason: str | None) -> None:
        """``part`` cannot do its work because of ``reason``, or (None) can again. The supervisor hears of changes."""
        before = dict(self._troubles)
        if reason is None:
            self._troubles.pop(part, None)
        else:
            self._troubles[part] = reason
        if self._running and self._troubles != before:
            self._send_state()

    def on_table(self, ok: bool, reason: str | None) -> None:
        """The guard tells whether the table is in force. If it is, nftables works: old troubles with it are over."""
        self.trouble(TABLE, None if ok else reason)
        if ok:
            self.trouble(FIREWALL, None)

    def on_overdue(self, reason: str | None) -> None:
        """A call of nftables does not come back, or (None) has."""
        self.trouble(CALL, reason)

    def _send_state(self) -> None:
        table = self._troubles.get(TABLE)
        # A grant fails where there is no table, and for the same reason: said once.
        same = table is not None and self._troubles.get(FIREWALL, "").startswith(f"{table.partition(':')[0]}:")
        told = (item for item in sorted(self._troubles.items()) if not (same and item[0] == FIREWALL))
        reasons = [f"{name}: {why}" for name, why in told]
        self._send(GateState(not reasons, "; ".join(reasons) or None))

    def _judge(self, knock: Knock, source: str, port: int) -> None:
        wall = self._clock()
        group = source_group(source).hex()
        verdict = self._guard.judge(knock, group, int(wall))
        if verdict is Verdict.ACCEPTED:
            verdict = knock.verdict_for(self._config.tunnel_port)
        now = self._monotonic()
        refusal: str | None
        if verdict is not Verdict.ACCEPTED:
            refusal = verdict.value
        elif not self._write_down(knock, group):
            refusal = "not-remembered"
        else:
            refusal = self.door.admit(source, now, knock_id(knock.nonce))
        if refusal is None:
            self._report.accepted(knock, source, port, wall)
        else:
            self._report.refused(refusal, knock, source, port, wall, now)

    def _write_down(self, knock: Knock, group: str) -> bool:
        fresh_until = knock.timestamp + self._config.window
        try:
            self._memory.append(Remembered(knock.holder, knock.nonce, group, fresh_until))
        except ReplayFileError as error:
            self.trouble(MEMORY, str(error))
            return False
        return True

    def _reject(self, verdict: Verdict, datagram: UdpDatagram) -> None:
        nonce = datagram.payload[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
        source = _text(datagram.source)
        self._report.rejected(verdict.value, nonce, source, datagram.source_port, self._monotonic())

    def _read(self, capture: Capture) -> None:
        try:
            capture.read(self.hear, PACKETS_PER_TURN)
        except OSError as error:
            loop = asyncio.get_running_loop()
            loop.remove_reader(capture.fileno())
            if error.errno in TRANSIENT:
                loop.call_later(TROUBLE_PAUSE_SECONDS, self._resume, capture)
            elif not self._failure.done():
                log.event(SNIFFER_DEGRADED, log.error_fields(error), reason="capture-died")
                self._failure.set_exception(CaptureDiedError(f"packet capture: {error.strerror}"))

    def _resume(self, capture: Capture) -> None:
        if capture.fileno() >= 0:
            asyncio.get_running_loop().add_reader(capture.fileno(), self._read, capture)

    async def _tick(self, captures: tuple[Capture, ...]) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._monotonic()
            self._report.dropped(sum(capture.dropped() for capture in captures), now)
            self._report.summarise(now)
            self.door.expire(now)
            if (counts := self._report.changed_counts()) is not None:
                self._send(counts)
            if self._memory.is_large or MEMORY in self._troubles:
                self._rewrite_memory()
            self._look_at_clock()
            self._look_back()

    def _look_at_clock(self) -> None:
        """Say so when it was set back by so much that knocks of before are fresh again."""
        ahead = self._clock() - self._monotonic()
        back, self._clock_ahead = self._clock_ahead - ahead, ahead
        if back > self._config.window:
            self._past = "the clock was set back"
            log.event(DIAGNOSTIC, reason="clock-set-back", message=f"{self._past} by {back:.0f} s", level="warning")

    def _look_back(self) -> None:
        """A knock may be in time and all the same not be told from one of before: then nobody new gets in."""
        now = int(self._clock())
        until = self._guard.shut_until(now)
        if until is None:
            self.trouble(PAST, None)
        elif PAST in self._troubles or until > now + PATIENCE_SECONDS:
            self.trouble(PAST, f"{self._past}: knocks are refused until {_time_of_day(until)}")

    def _rewrite_memory(self) -> None:
        try:
            self._memory.rewrite(self._guard.dump(int(self._clock())))
        except ReplayFileError as error:
            self.trouble(MEMORY, str(error))
        else:
            self.trouble(MEMORY, None)


def check(config: KnockdConfig) -> None:
    """Raises ``ConfigError`` for what cannot work. The supervisor has looked already; nobody trusts anybody here."""
    if len(config.knock_key) != _KEY_BYTES or len(config.server_public) != _KEY_BYTES:
        raise ConfigError(f"knock key and server key have {_KEY_BYTES} bytes each")
    if not (0 < config.knock_port <= _MAX_PORT and 0 < config.tunnel_port <= _MAX_PORT):
        raise ConfigError("knock port and tunnel port are between 1 and 65535")
    if config.window < 1 or config.ttl < 1:
        raise ConfigError("window and time of a grant are at least a second")


def _time_of_day(second: int) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(second))


def _text(source: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(source) == 4 else socket.AF_INET6, source)
