"""Whether a packet meets a condition of a rule for certain: the other side of ``narrow``. Pure: nft's JSON in.

The packet is the first one of a TCP connection to the tunnel port. Of a stranger's nothing more is known, not even that
the kernel takes it for new. One from an admitted source is what an honest client sends. All else, and whatever is not
understood, is not certain. Knows nothing of verdicts (``walk``).
"""

from collections.abc import Sequence
from typing import Any

from hyperion.firewall.narrow import ORDERS, Json, hits, misses, part

#: The names of TCP and of the versions of IP in conditions, by their keys.
_TCP = ("tcp", 6)
_NAMES = {"nfproto": {4: "ipv4", 6: "ipv6"}, "protocol": {4: "ip", 6: "ip6"}}
#: Headers that only one version of IP has.
_HEADERS = {"ip": 4, "icmp": 4, "igmp": 4, "arp": 4, "ip6": 6, "icmpv6": 6}
#: Flags of TCP that the first packet has or has not, for certain. (ECN's it may have.)
_FLAGS = frozenset({"fin", "syn", "rst", "psh", "ack", "urg"})


def anybody_meets(port: int, left: Json, op: str, values: Sequence[Any]) -> bool:
    """Whether the packet of anybody stands in the relation ``op`` to (one of) ``values``."""
    op = "==" if op == "in" else op
    payload, meta = part(left, "payload"), part(left, "meta")
    if payload.get("protocol") in ("tcp", "th") and payload.get("field") == "dport":
        return _has_port(port, op, values)
    if meta.get("key") == "l4proto":
        if op == "==":
            return any(value in _TCP for value in values)
        return op == "!=" and all(isinstance(value, str | int) and value not in (*_TCP, "*") for value in values)
    return False


def guest_meets(version: int, left: Json, op: str, values: Sequence[Any]) -> bool:
    """The same of what more is known of an honest client's packet, by IP of this ``version``."""
    if (flags := _masked(left)) is not None:
        return _has_flags(flags, op, values)
    op = "==" if op == "in" else op
    if part(left, "ct").get("key") == "state":
        return _is_new(op, values)
    meta = part(left, "meta").get("key")
    if meta in ("iif", "iifname"):
        return op == "!=" and all(value == "lo" for value in values)
    mine = _NAMES.get(str(meta), {}).get(version)
    return mine is not None and ((op == "==" and mine in values) or (op == "!=" and _are_others(mine, values)))


def is_of_another_version(version: int, left: Json, op: str, values: Sequence[Any]) -> bool:
    """Whether only packets of another version of IP meet this."""
    op = "==" if op == "in" else op
    if _HEADERS.get(str(part(left, "payload").get("protocol")), version) != version:
        return True
    mine = _NAMES.get(str(part(left, "meta").get("key")), {}).get(version)
    return mine is not None and ((op == "==" and _are_others(mine, values)) or (op == "!=" and mine in values))


def _are_others(mine: str, values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and value not in (mine, "*") for value in values)


def _has_port(port: int, op: str, values: Sequence[Any]) -> bool:
    if op == "==":
        return any(value == "*" or hits(value, port) for value in values)
    if op == "!=":
        return all(misses(value, port) for value in values)
    order = ORDERS.get(op)
    return order is not None and all(type(value) is int and order(port, value) for value in values)


def _is_new(op: str, values: Sequence[Any]) -> bool:
    if op == "==":
        return "new" in values
    return op in ("!=", "!") and all(isinstance(value, str) and value != "new" for value in values)


def _masked(left: Json) -> frozenset[str] | None:
    """Which of the flags that a condition looks at are known; ``None``: it does not look at flags, or at others too."""
    masked = left.get("&")
    field, mask = masked if isinstance(masked, list) and len(masked) == 2 else (left, sorted(_FLAGS))
    mask = [mask] if isinstance(mask, str) else mask
    payload = part(field, "payload") if isinstance(field, dict) else {}
    if (payload.get("protocol"), payload.get("field")) != ("tcp", "flags") or not isinstance(mask, list):
        return None
    return frozenset(mask) if all(isinstance(one, str) and one in _FLAGS for one in mask) else None


def _has_flags(looked_at: frozenset[str], op: str, values: Sequence[Any]) -> bool:
    found, wanted = looked_at & {"syn"}, {str(value) for value in values}
    if op == "in":
        return bool(found & wanted)
    # Without a mask the flags of ECN are compared as well.
    return op == "==" and looked_at != _FLAGS and found == wanted
