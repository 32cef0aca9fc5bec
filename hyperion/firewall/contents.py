"""What is in a table, so that it can be emptied without deleting it. Pure: nft's JSON in, nft's text out.

A table that is deleted and made again goes to the end of the kernel's list, and so of every listing; one that is
emptied and filled again stays where it was.
"""

import re
from typing import Any

import msgspec

from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import check_name

#: In this order nothing is deleted that something else still needs: rules are flushed first, the elements of maps name
#: chains, and only rules name objects.
_KINDS = (
    *("map", "set", "flowtable", "chain"),
    *("counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy"),
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./\\-]*")


def empty_text(table: str, listing: str) -> str:
    """The part of a transaction that leaves the table ``inet table``, of which ``listing`` is nft's JSON, with nothing
    in it. Raises ``FirewallError`` for a listing that is none, and for names that cannot be said."""
    check_name("table", table)
    found = _named(listing)
    lines = [f"delete {kind} inet {table} {name}" for kind in _KINDS for name in found[kind]]
    return "\n".join((f"flush table inet {table}", *lines, ""))


def set_names(listing: str) -> frozenset[str]:
    """The sets of a table. Raises as ``empty_text``."""
    return frozenset(_named(listing)["set"])


def foreign_sets(listing: str) -> list[str]:
    """Sets and maps that no gate made, whatever its set is called: kind and name. Raises as ``empty_text``."""
    found = _named(listing)
    gates = {name for name in found["set"] if {f"{name}6", f"{name}_connections"} <= set(found["set"])}
    ours = gates | {f"{name}{end}" for name in gates for end in ("6", "_connections", "6_connections")}
    return [f"{kind} {name}" for kind in ("set", "map") for name in found[kind] if name not in ours]


def _named(listing: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    try:
        objects = msgspec.json.decode(listing, type=dict[str, list[dict[str, Any]]])["nftables"]
        for item in objects:
            for kind in found.keys() & item.keys():
                found[kind].append(_checked(str(item[kind]["name"])))
    except (msgspec.DecodeError, KeyError, TypeError):
        raise FirewallError("nft's answer is not JSON as it should be") from None
    return found


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise FirewallError(f"nft cannot be told to delete {name!r}")
    return name
