"""Who may come in, as far as the kernel is concerned: one table, and the sources in its sets, each with its time.

Knows what the table should be (its *reference*) and which grants it gave, so that it can put both back. Knows nothing
of knocks, of who deserves a grant (``admission``), or of when to look (``guard``).

The reference is the operator's: a table that does its work when we first see it is adopted as it is, with every rule
that was added to it, and what stays in the sets and maps that these rules name. Where there is none, or one that does
not do its work, that is said, and nothing is changed.

Every call blocks, 0.2 ms with the library, 5 ms with the program, up to its timeout if the program hangs. Calls from
several threads wait for each other.
"""

import enum
import threading
import time
from collections.abc import Callable, Mapping

from hyperion.firewall.listing import Handles, Listing, is_dormant, split_handles
from hyperion.firewall.nft import Backend, FirewallError, NftTimeoutError, NoSuchObjectError
from hyperion.firewall.ruleset import (
    SET_SIZE,
    Ruleset,
    admit_text,
    grants_text,
    parse_source,
    replace_text,
    revoke_text,
)
from hyperion.knockd.foreign_sets import ForeignSets
from hyperion.proto.control_knockd import MAX_GUARDED_BYTES, GuardedTable, InheritedTable

_APPLY_HINT = "load the gate's table: hyperion-server print-firewall ... | nft -f -"
_HOLE_HINT = (
    "see it: nft -a list table inet {table}; let it name other ports, an interface or a few sources, or take it out"
)


#: A table that somebody changes while it is judged is looked at again, so often in one go.
ADOPT_TRIES = 3


class TableMissingError(FirewallError):
    """There is no table. Loading one that drops everything is the operator's step."""

    exit_code = 78
    reason = "table-missing"


class TableWrongError(FirewallError):
    """There is a table that is no gate. We do not replace it."""

    exit_code = 78
    reason = "table-wrong"


class TableRestlessError(FirewallError):
    """Somebody changes the table all the time: what was judged is not what is there."""

    reason = "contested"


class Outcome(enum.Enum):
    """What ``ensure`` found and did. The values are stable words for logs."""

    KEPT = "kept"
    ADOPTED = "adopted"
    #: The table was gone: until now everything was open.
    RESTORED_DELETED = "deleted"
    #: Somebody had changed it.
    RESTORED_EDITED = "edited"
    #: Somebody had put the same table in its place, without the grants.
    RESTORED_RELOADED = "reloaded"


RESTORATIONS = frozenset({Outcome.RESTORED_DELETED, Outcome.RESTORED_EDITED, Outcome.RESTORED_RELOADED})


class Firewall:
    """The table of ``rules``, through ``backend``. ``clock`` counts seconds and never goes back.

    It never puts up a table that drops everything where the operator has loaded none: ``ensure`` raises then. What was
    once adopted is restored, also by a successor that was told what it was (``follow``).
    """

    def __init__(
        self,
        backend: Backend,
        rules: Ruleset,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._foreign = ForeignSets(backend, rules, clock)
        self._reference: str | None = None
        #: What the operator should know of the table that was adopted last.
        self.cautions: tuple[str, ...] = ()
        # What a predecessor would have restored.
        self._inherited: InheritedTable | None = None
        # Of the table and its sets of grants, while we know that they are the ones that our grants went into.
        self._handles: Handles | None = None
        # The kernel's sets are the truth; this is what is left of it when somebody deletes them. Source -> clock.
        self._granted_until: dict[str, float] = {}

    @property
    def backend(self) -> str:
        """Its name, for logs."""
        return self._backend.name

    @property
    def rules(self) -> Ruleset:
        """What it was made with (ports that a loaded table kept open are not in it)."""
        return self._rules

    def ensure(self) -> Outcome:
        """See to it that the table is in force, with all grants and the time they have left.

        Raises ``TableMissingError`` and ``TableWrongError`` where none was adopted yet, other ``FirewallError`` where
        nftables fails.
        """
        with self._lock:
            live, handles = self._look()
            if self._reference is None:
                outcome = self._first(live)
            elif live is not None and live == self._reference and self._takes_over(live, handles):
                if self._handles in (None, handles):
                    self._handles = handles
                    return Outcome.KEPT
                if grants := self._grants_left(live, handles):
                    self._backend.load(grants_text(self._rules, grants))
                outcome = Outcome.RESTORED_RELOADED
            else:
                grants = self._grants_left(live, handles)
                self._restore(self._reference, self._foreign.text(), grants)
                outcome = Outcome.RESTORED_DELETED if live is None else Outcome.RESTORED_EDITED
            live, handles = self._look()
            # Whoever was at it in between made what we know nothing about.
            self._handles = handles if live == self._reference else None
            return outcome

    def follow(self, inherited: InheritedTable) -> None:
        """A predecessor guarded this a moment ago: if there is no gate any more, the next ``ensure`` puts it back."""
        is_ours = inherited.listing.startswith(f"table inet {self._rules.table} {{")
        self._inherited = inherited if is_ours else None

    @property
    def guarded(self) -> GuardedTable | None:
        """What is put back from now on; ``None``: nothing was adopted yet."""
        reference = self._reference
        if reference is None:
            return None
        found = GuardedTable(reference, self._foreign.text())
        length = len(found.listing.encode()) + len(found.elements.encode())
        return found if length <= MAX_GUARDED_BYTES else GuardedTable("", "")

    def look_anew(self) -> None:
        """The operator changes the table: the next ``ensure`` adopts what it finds, as the first one did."""
        with self._lock:
            self._reference = self._handles = self._inherited = None

    def judge(self) -> None:
        """Whether a table is there that does its work, whichever. Changes and adopts nothing. Raises as ``ensure`` does
        where none was adopted."""
        with self._lock:
            self._gate_in(self._look()[0])

    def in_force(self) -> bool:
        """Whether the table is as it was when ``ensure`` last saw to it. Changes nothing."""
        with self._lock:
            return self._reference is not None and self._look()[0] == self._reference

    def admit(self, source: str, ttl: float) -> None:
        """Let ``source`` in for ``ttl`` seconds from now, whether it has a grant or not.

        Raises ``ValueError`` for what is no source or no time, ``NoSuchObjectError`` without a table, ``SetFullError``.
        """
        address = parse_source(source)
        commands = admit_text(self._rules, address, ttl)
        with self._lock:
            until = self._clock() + ttl
            self._load_again(commands)
            if len(self._granted_until) >= SET_SIZE:  # no more can live in the kernel
                self._forget_expired()
            self._granted_until[str(address)] = until

    def revoke(self, source: str) -> None:
        """End the grant of ``source``, if it has one. What is connected stays connected."""
        address = parse_source(source)
        with self._lock:
            # First: even if nft fails, no restoration brings it back.
            self._granted_until.pop(str(address), None)
            self._load_again(revoke_text(self._rules, address))

    def grants(self) -> dict[str, float]:
        """Who is in, by the kernel's word, and the seconds left. Raises ``NoSuchObjectError`` without a table."""
        with self._lock:
            return self._live_grants()

    def _load_again(self, commands: str) -> None:
        """Once more, if the grant ended just between the add and the delete of one transaction."""
        try:
            self._backend.load(commands)
        except NoSuchObjectError:
            self._backend.load(commands)

    def _first(self, live: str | None) -> Outcome:
        inherited = self._inherited
        try:
            self._adopt(live)
        except (TableMissingError, TableWrongError):
            if inherited is None or not (live is None or self._list_json().is_ours(self._rules.set)):
                raise
        else:
            return Outcome.ADOPTED
        # One that is there, though it is no gate, still knows who is in.
        grants = {} if live is None else self._list_json().grants(self._rules)
        self._restore(inherited.listing, inherited.elements, _alive(grants))
        self._inherited = None
        self._adopt(self._look()[0])
        return Outcome.RESTORED_DELETED if live is None else Outcome.RESTORED_EDITED

    def _adopt(self, live: str | None) -> None:
        """Text and JSON are two listings: one that changed in between would be put back without ever being judged."""
        for _ in range(ADOPT_TRIES):
            listing = self._gate_in(live)
            assert live is not None  # else it has raised
            elements = self._foreign.read(live)
            before, live = live, self._look()[0]
            if live == before:
                break
        else:
            raise TableRestlessError(f"table inet {self._rules.table} is being changed")
        self.cautions = tuple(listing.cautions(self._rules))
        self._foreign.remember(elements)
        self._reference, self._inherited = live, None
        self._remember(listing.grants(self._rules))

    def _gate_in(self, live: str | None) -> Listing:
        """What is in the table that we know no reference for, if it is a gate."""
        rules = self._rules
        if live is None:
            raise TableMissingError(f"there is no firewall table inet {rules.table}", hint=_APPLY_HINT)
        listing = self._list_json()
        complaints = listing.complaints(rules)
        if is_dormant(live):
            complaints.append("it is dormant, so its rules do nothing")
        if complaints:
            raise self._wrong(listing, complaints)
        return listing

    def _takes_over(self, live: str, handles: Handles) -> bool:
        """Whether what the operator put into his own sets meanwhile leaves the gate shut. Then it is to stay."""
        found = self._foreign.read_changed(live, anew=self._handles not in (None, handles))
        if found is None:
            return True
        if self._list_json().complaints(self._rules):
            return False
        self._foreign.remember(found)
        return True

    def _restore(self, reference: str, elements: str, grants: Mapping[str, float]) -> None:
        """The table as it is to be, with what was in the operator's sets. If nft does not take that, without: what is
        wanted first is a gate that is shut."""
        try:
            self._backend.load(replace_text(self._rules, f"{reference.rstrip()}\n{elements}", grants))
        except NftTimeoutError:
            raise
        except FirewallError:
            if not elements:
                raise
            self._backend.load(replace_text(self._rules, reference, grants))

    def _wrong(self, listing: Listing, complaints: list[str]) -> TableWrongError:
        table = f"table inet {self._rules.table}"
        if not listing.is_ours(self._rules.set):
            hint = "give the gate a table name of its own ([firewall] table)"
            return TableWrongError(f"{table} belongs to somebody else: {complaints[0]}", hint=hint)
        faulty = listing.faults(self._rules) or not listing.holes(self._rules)
        hint = _APPLY_HINT if faulty else _HOLE_HINT.format(table=self._rules.table)
        return TableWrongError(f"{table} is no gate: {complaints[0]}", hint=hint)

    def _look(self) -> tuple[str | None, Handles]:
        """The table's text, ``None`` without one, and the handles of it and its sets of grants."""
        try:
            listed = self._backend.list_text("table", "inet", self._rules.table, handles=True)
        except NoSuchObjectError:
            return None, {}
        text, found = split_handles(listed)
        names = (self._rules.table, self._rules.set, self._rules.set6)
        return text, {name: found[name] for name in names if name in found}

    def _list_json(self) -> Listing:
        return Listing(self._backend.list_json("table", "inet", self._rules.table))

    def _grants_left(self, live: str | None, handles: Handles) -> Mapping[str, float]:
        """What to restore. While the sets are there that our grants went into they are right, also about what the
        operator took out; sets that somebody made anew only add to what we know."""
        self._forget_expired()
        same = handles == self._handles
        listing = None if live is None else self._list_json()
        found = listing.grants(self._rules) if listing is not None and listing.has_sets(self._rules) else None
        if self._rules.one_shot and (found is None or not same):
            # Which of them were used up went with the sets: who was not in yet knocks again.
            self._granted_until.clear()
        if found is not None:
            self._remember(found if same else {**found, **self._left()})
        return self._left()

    def _left(self) -> dict[str, float]:
        now = self._clock()
        return _alive({source: until - now for source, until in self._granted_until.items()})

    def _live_grants(self) -> dict[str, float]:
        names = (self._rules.set, self._rules.set6)
        listings = [Listing(self._backend.list_json("set", "inet", self._rules.table, name)) for name in names]
        return {source: left for listing in listings for source, left in listing.grants(self._rules).items()}

    def _remember(self, grants: Mapping[str, float]) -> None:
        """The kernel's word, in whole seconds; our own, to the millisecond, where it says the same."""
        now = self._clock()
        self._granted_until = {
            source: _finer(now + left, self._granted_until.get(source, now)) for source, left in grants.items()
        }

    def _forget_expired(self) -> None:
        now = self._clock()
        self._granted_until = {source: until for source, until in self._granted_until.items() if until > now}


def _finer(floor: float, known: float) -> float:
    """``known``, if the kernel's time, of which nft shows whole seconds, agrees with it."""
    # A tenth more: between our clock and the kernel's lie a call and its rounding.
    return known if floor <= known + 0.1 and known <= floor + 1.1 else floor


def _alive(grants: Mapping[str, float]) -> dict[str, float]:
    """Without those whose time rounds to nothing: nft takes 0 for "for ever"."""
    return {source: left for source, left in grants.items() if left >= 0.001}
