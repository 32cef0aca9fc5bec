"""A trial from its order to its verdict: load, wait for proof, keep or put back.

Knows the order of things, which is the whole point: the way back is on disk before anything is changed, and whatever
ends the wait without a proof leads back. Refuses to know who started it and how messages travel.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from hyperion.errors import HyperionError
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset
from hyperion.proto.control import Message
from hyperion.proto.trial import (
    Committed,
    Confirmed,
    ConfirmRequest,
    Failed,
    Loaded,
    NotConfirmed,
    Order,
    RolledBack,
    Seen,
)
from hyperion.trial.connections import Connection, established, list_connections, listening_ports, parse_address
from hyperion.trial.conntrack import take_over
from hyperion.trial.plan import Plan, Snapshot, difference, make_plan, others, take_snapshot, undo
from hyperion.trial.record import Record, RecordFile
from hyperion.trial.witness import Witness, judge

#: Seconds for which the server's guard is held off while the rules are changed; it is told when that is done.
HOLD_SECONDS = 30.0
#: Seconds between questions to the server.
POLL_SECONDS = 0.25
#: A guard that could not be told puts the rules back a few times before it waits (``knockd.guard``): so we try longer.
UNDO_ATTEMPTS = 12
#: Seconds after which what was undone is looked at: what a guard does, it does at once.
SETTLE_SECONDS = 0.3

Tell = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``by``: ``knock`` or ``login``, or ``None`` for no proof, with the reason."""

    by: str | None
    source: str = ""
    reason: str = ""


class Guardian:
    """Runs one trial. ``tell`` gets what happens; it must not raise."""

    def __init__(self, order: Order, nft: NftProgram, witness: Witness, file: RecordFile, tell: Tell) -> None:
        self._order = order
        self._nft = nft
        self._witness = witness
        self._file = file
        self._tell = tell
        self._old: dict[Connection, str] | None = None
        self._strangers = 0
        #: What the new rules look like, in nft's own words.
        self._loaded: Snapshot | None = None
        self._verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """To the end; the last message says which. The caller holds the record's lock."""
        try:
            plan = make_plan(self._nft, _rules(self._order))
            record = Record.of(plan.snapshot)
            self._file.write(record)
        except HyperionError as error:
            self._failed(error)
            return
        try:
            await self._load(plan)
        except HyperionError as error:
            if not self._may_have_changed(record):
                self._failed(error)
                return
            self.end("load-failed")
        verdict = await self._wait()
        if verdict.by is None:
            self._tell(await roll_back(self._nft, self._witness, self._file, record, verdict.reason))
        else:
            self._file.remove()
            self._tell(Committed(verdict.by, verdict.source))

    def end(self, reason: str) -> None:
        """No proof will come: the command is gone, or we are told to stop."""
        self._decide(Verdict(None, reason=reason))

    def confirm(self, request: ConfirmRequest) -> Confirmed | NotConfirmed:
        """Somebody says that this connection of his came through the new rules."""
        try:
            connection = Connection(
                parse_address(request.remote), request.remote_port, parse_address(request.local), request.local_port
            )
        except ValueError:
            return NotConfirmed("that is no connection")
        if self._old is None:
            return NotConfirmed("the new rules are not loaded yet", "try again in a moment")
        if connection.stays_inside:
            hint = "log in over the network, or connect a client, which is proof by itself"
            return NotConfirmed("this login comes from this host itself, so it proves nothing", hint)
        if connection in self._old:
            return NotConfirmed("this login is older than the new rules", "log in anew, beside this, and confirm there")
        if connection not in established():
            return NotConfirmed("there is no such connection")
        if not self._prove("login", str(connection.remote)):
            return NotConfirmed("it is over already, or somebody changed the new rules")
        return Confirmed()

    def _prove(self, by: str, source: str) -> bool:
        """Somebody got in; whether that is the verdict. It says nothing of rules that are not there any more."""
        if not self._in_force():
            self.end("changed")
            return False
        return self._decide(Verdict(by, source))

    def _in_force(self) -> bool:
        """Whether what was loaded is still there: a guard that did not hear of us may have put back the old rules."""
        try:
            return self._loaded is not None and difference(self._nft, self._loaded) is None
        except FirewallError:
            return False

    def _decide(self, verdict: Verdict) -> bool:
        """The first word counts."""
        if self._verdict.done():
            return False
        self._verdict.set_result(verdict)
        return True

    async def _load(self, plan: Plan) -> None:
        try:
            refusal = await self._witness.hold(HOLD_SECONDS)
            if refusal is not None:
                raise FirewallError(f"the running server cannot let go of its table: {refusal}", hint="see its log")
            if not self._verdict.done():
                self._exchange(plan)
        finally:
            # Also one that refused: it may have been late, and hold its guard now.
            await self._witness.hold(0)

    def _exchange(self, plan: Plan) -> None:
        try:
            self._nft.load(plan.load)
            self._loaded = take_snapshot(self._nft, self._order.table)
        finally:
            # After the load: what began in between is taken for old, which costs its owner one more login.
            self._old = list_connections()
            self._strangers = take_over(established(), listening_ports())

    def _may_have_changed(self, record: Record) -> bool:
        """A call of nft that was killed may have been done."""
        try:
            return difference(self._nft, record.snapshot) is not None
        except FirewallError:
            return True

    def _failed(self, error: HyperionError) -> None:
        self._file.remove()
        self._tell(Failed(error.message, error.hint, error.exit_code))

    async def _wait(self) -> Verdict:
        if self._verdict.done():
            return self._verdict.result()
        since = time.time()
        heard = await self._witness.heard(since)
        reason = None if heard is not None else "no server is running here, or it does not answer"
        self._tell(Loaded(self._order.seconds, heard is not None, reason, self._strangers))
        asking = asyncio.create_task(self._ask(since))
        try:
            async with asyncio.timeout(self._order.seconds):
                return await asyncio.shield(self._verdict)
        except TimeoutError:
            self.end("no-proof")
            return self._verdict.result()
        finally:
            asking.cancel()

    async def _ask(self, since: float) -> None:
        told: set[tuple[str, str]] = set()
        while True:
            heard = await self._witness.heard(since)
            if heard is not None:
                judgement = judge(*heard, since, self._old or ())
                for source, what in sorted(judgement.half - told):
                    self._tell(Seen(source, what))
                told |= judgement.half
                if judgement.proven_by is not None:
                    self._prove("knock", judgement.proven_by)
                    return
            await asyncio.sleep(POLL_SECONDS)


async def roll_back(
    nft: NftProgram, witness: Witness, file: RecordFile, record: Record, reason: str, attempts: int = UNDO_ATTEMPTS
) -> RolledBack:
    """Until the table is as it was, or ``attempts`` have failed: then the record stays for who comes later."""
    snapshot, detail = record.snapshot, None
    try:
        for _ in range(attempts):
            await witness.hold(HOLD_SECONDS)
            detail = await _try_to_undo(nft, record)
            if detail is None:
                file.remove()
                break
    finally:
        await witness.hold(0)
    try:
        changed = snapshot.others != others(nft.list_whole("ruleset"), snapshot.table)
    except FirewallError:
        changed = False
    return RolledBack(reason, detail is None, changed, detail)


async def _try_to_undo(nft: NftProgram, record: Record) -> str | None:
    """What is not as it was, in words; ``None``: all is."""
    try:
        undo(nft, record.snapshot, record.elapsed)
        await asyncio.sleep(SETTLE_SECONDS)
        return difference(nft, record.snapshot)
    except FirewallError as error:
        await asyncio.sleep(SETTLE_SECONDS)
        return error.message


def _rules(order: Order) -> Ruleset:
    return Ruleset(
        order.tunnel_port,
        table=order.table,
        set=order.set,
        keep_ports=order.keep_ports,
        one_shot=order.one_shot,
        dhcpv6=order.dhcpv6,
        max_connections=order.max_connections,
    )
