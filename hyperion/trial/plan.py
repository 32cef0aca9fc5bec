"""What a trial loads, and how it undoes it. Both are shown to nft before anything is changed.

Knows our own table and no other: what other programs do to theirs meanwhile is their business, and is neither looked
at nor put back. So "as it was" means: the listing of our table, byte for byte, but for counters and time, which ran on
by themselves; in its old place among the others; and no table at all where there was none.
"""

from dataclasses import dataclass

from hyperion.firewall.contents import foreign_sets, set_names
from hyperion.firewall.listing import Listing
from hyperion.firewall.nft import FirewallError, NoSuchObjectError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import OUR_COMMENT, Ruleset, grants_text, ruleset_text
from hyperion.firewall.snapshot import can_be_restored, comparable, restore_text, table_of


class NotOursError(FirewallError):
    """A table of this name belongs to somebody else, or holds what nft could not put back."""

    exit_code = 78
    reason = "table-wrong"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was there: the listing of ``inet table`` (``None``: there was none) and of the whole ruleset."""

    table: str
    before: str | None
    ruleset: str

    @property
    def others(self) -> str:
        """The listing of all other tables, without what runs on by itself."""
        return others(self.ruleset, self.table)


@dataclass(frozen=True, slots=True)
class Plan:
    """``load`` is one transaction. ``drops``: the operator's own sets and maps in the table, which go with it, and with
    the rules that name them."""

    snapshot: Snapshot
    load: str
    drops: tuple[str, ...] = ()


def take_snapshot(nft: NftProgram, table: str) -> Snapshot:
    """Of what is loaded now. Raises ``FirewallError``."""
    ruleset = nft.list_whole("ruleset")
    return Snapshot(table, table_of(ruleset, table), ruleset)


def make_plan(nft: NftProgram, rules: Ruleset) -> Plan:
    """Asks nft whether it would take the rules, and whether it would take them back. Changes nothing.

    Raises ``NotOursError`` for a table that must not be touched, other ``FirewallError`` where nft refuses.
    """
    snapshot = take_snapshot(nft, rules.table)
    now = list_json(nft, rules.table)
    if snapshot.before is None or now is None:
        nft.check(ruleset_text(rules))
        return Plan(snapshot, ruleset_text(rules))
    check_it_is_ours(snapshot.before, now, rules.table, rules.set)
    if not can_be_restored(snapshot.before):
        what = f"table inet {rules.table} holds rules of iptables, which nft cannot put back"
        raise NotOursError(what, hint="take them out of it")
    try:
        nft.check(restore_text(rules.table, snapshot.before, now, 0.0))
    except FirewallError as error:
        hint = f"save it, take it away (nft delete table inet {rules.table}), and try again"
        raise NotOursError(f"nft could not put table inet {rules.table} back: {error}", hint=hint) from None
    drops = tuple(found for found in foreign_sets(now) if found != f"set {rules.set}")
    return Plan(snapshot, _load_over(nft, rules, now, whole=not drops), drops)


def undo(nft: NftProgram, snapshot: Snapshot, elapsed: float) -> None:
    """Our table as it was ``elapsed`` seconds ago. Raises ``FirewallError``; then nothing was changed."""
    now = list_json(nft, snapshot.table)
    nft.load(restore_text(snapshot.table, snapshot.before, now, elapsed))


def difference(nft: NftProgram, snapshot: Snapshot) -> str | None:
    """What is not as it was, in a word; ``None``: nothing. Grants and counted connections come and go by themselves."""
    now = take_snapshot(nft, snapshot.table)
    if (now.before is None) != (snapshot.before is None):
        return "the table is there" if snapshot.before is None else "the table is gone"
    if now.before is None or snapshot.before is None:
        return None
    same = comparable(now.before, living=False) == comparable(snapshot.before, living=False)
    return None if same else "the rules differ"


def others(ruleset: str, table: str) -> str:
    """The listing without the table ``inet table`` and without what runs on by itself."""
    return comparable(ruleset.replace(table_of(ruleset, table) or "\0", ""), living=False)


def list_json(nft: NftProgram, table: str) -> str | None:
    """Of the table ``inet table``, ``None`` if there is none."""
    try:
        return nft.list_json("table", "inet", table)
    except NoSuchObjectError:
        return None


def check_it_is_ours(before: str, now: str, table: str, set_name: str) -> None:
    """``before`` is its text, ``now`` its JSON. Raises ``NotOursError``."""
    if not (Listing(now).is_ours(set_name) or OUR_COMMENT in before):
        hint = "give the gate another name ([firewall] table)"
        raise NotOursError(f"table inet {table} belongs to somebody else", hint=hint)


def _load_over(nft: NftProgram, rules: Ruleset, now: str, *, whole: bool) -> str:
    """As ``print-firewall`` is loaded, if the sets are ours already, and the ``whole`` table is: then grants keep their
    time to the millisecond. Else the table is emptied in the same transaction, and they keep it to the second."""
    text = ruleset_text(rules)
    wanted = frozenset((rules.set, rules.set6, f"{rules.set}_connections", f"{rules.set6}_connections"))
    if whole and set_names(now) == wanted:
        try:
            nft.check(text)
        except FirewallError:  # sets of another kind, a chain at another place
            pass
        else:
            return text
    alive = {source: left for source, left in Listing(now).grants(rules).items() if left >= 1}
    emptied = restore_text(rules.table, text, now, 0.0) + grants_text(rules, alive)
    nft.check(emptied)
    return emptied
