"""Whether a condition of a rule keeps strangers away from the tunnel port, for certain. Pure: nft's JSON in.

A stranger sends the first packet of a TCP connection to the tunnel port, from any address and by any interface that the
operator has not named. Knows the few conditions that such a packet can never meet. All else, and whatever is not
understood, is taken for one that it meets. Knows nothing of verdicts (``holes``).
"""

import ipaddress
import operator
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Addresses that a rule may name and still be one for somebody in particular, by version of IP: as many as the largest
#: block that was ever given to one holder has (IPv4: a /8), or less than a registry gets for a continent (IPv6: a /16).
_FEW_SOURCES = {4: 1 << 24, 6: 1 << 112}
#: Beside these, which nobody can send from over the internet.
_INSIDE: tuple[Network, ...] = (
    *map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(ipaddress.IPv4Network, ("100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")),
    *map(ipaddress.IPv6Network, ("fc00::/7", "fe80::/10", "::1/128")),
)
#: Headers that no TCP packet has: a condition on one of them is never met, whatever it says.
_NOT_TCP = frozenset({"udp", "udplite", "icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "comp"})
#: Protocols that no header of another one follows, so that there is no TCP behind them.
_FINAL = frozenset({"udp", "udplite", "icmp", "icmpv6", "ipv6-icmp", "igmp", "sctp", "dccp"})
#: No first packet of a connection is in one of these states.
_LATER = frozenset({"established", "related"})
#: Relations that a condition names by these signs.
ORDERS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


class Conditions:
    """For TCP ``port``. ``ours``: the sets of grants, as a rule names them. ``sets``: what is in other named sets that
    only the operator fills; one that is not there is not understood."""

    def __init__(self, port: int, ours: frozenset[str], sets: Mapping[str, Sequence[Any]]) -> None:
        self._port = port
        self._ours = ours
        self._sets = sets

    def shut_out(self, match: Json) -> bool:
        """Whether no stranger meets this condition of nft's JSON."""
        left, right = match.get("left"), match.get("right")
        op = "==" if match.get("op") == "in" else match.get("op")
        if not isinstance(left, dict):
            return False
        if names_source(match) in self._ours:
            return True
        values = self.values(right)
        return values is not None and self.none_meets(left, str(op), values)

    def none_meets(self, left: Json, op: str, values: Sequence[Any]) -> bool:
        """Whether ``left`` of a stranger's packet never stands in the relation ``op`` to (one of) ``values``."""
        payload, meta = part(left, "payload"), part(left, "meta")
        if payload.get("protocol") in _NOT_TCP:
            return True
        if payload.get("protocol") in ("tcp", "th") and payload.get("field") == "dport":
            return self._is_another_port(op, values)
        if meta.get("key") == "l4proto" or (payload.get("protocol"), payload.get("field")) == ("ip", "protocol"):
            return _is_another_protocol(op, values)
        if op != "==":
            return False
        if isinstance(left.get("concat"), list):
            return self._none_meets_together(left["concat"], values)
        if (payload.get("protocol"), payload.get("field")) == ("ip6", "nexthdr"):
            return all(isinstance(value, str) and value in _FINAL for value in values)
        if meta.get("key") in ("iif", "iifname"):
            return all(isinstance(value, str) and "*" not in value for value in values)
        if part(left, "ct").get("key") == "state":
            return all(isinstance(value, str) and value in _LATER for value in values)
        return _is_source(left) and _are_few(values)

    def values(self, right: Any) -> list[Any] | None:
        """What a condition compares with: one value or many. ``None``: not understood."""
        if isinstance(right, str) and right.startswith("@"):
            named = self._sets.get(right[1:])
            return None if named is None else [bare(one) for one in named]
        if isinstance(right, dict) and isinstance(right.get("set"), list):
            return [bare(one) for one in right["set"]]
        return right if isinstance(right, list) else [right]

    def _is_another_port(self, op: str, values: Sequence[Any]) -> bool:
        if op == "==":
            return all(misses(value, self._port) for value in values)
        if op == "!=":
            return any(hits(value, self._port) for value in values)
        order = ORDERS.get(op)
        return order is not None and all(type(value) is int and not order(self._port, value) for value in values)

    def _none_meets_together(self, parts: Sequence[Any], values: Sequence[Any]) -> bool:
        """``parts`` of a packet are compared together with as many in each of ``values``."""
        found = [value.get("concat") if isinstance(value, dict) else None for value in values]
        entries = [entry for entry in found if isinstance(entry, list) and len(entry) == len(parts)]
        if len(entries) < len(found):
            return False
        places = [(place, one) for place, one in enumerate(parts) if isinstance(one, dict)]
        met = [
            entry
            for entry in entries
            if not any(not _is_source(one) and self.none_meets(one, "==", [entry[place]]) for place, one in places)
        ]
        # Sources that are few each may be all of them together.
        return not met or any(_is_source(one) and _are_few([entry[place] for entry in met]) for place, one in places)


def bare(element: Any) -> Any:
    """The value of an element of a set, which nft wraps up where there is more to say of it."""
    inner = element.get("elem") if isinstance(element, dict) else None
    return inner["val"] if isinstance(inner, dict) and "val" in inner else element


def names_source(match: Json) -> str | None:
    """The set that the packet's source is to be in, as a rule names it; ``None`` if this asks for something else."""
    left, right = match.get("left"), match.get("right")
    is_one = isinstance(left, dict) and _is_source(left) and match.get("op") in ("==", "in")
    return right if is_one and isinstance(right, str) and right.startswith("@") else None


def names_port(match: Json) -> int | None:
    """The one TCP port that this asks for; ``None`` if it asks for something else, or more."""
    left, right = match.get("left"), match.get("right")
    is_one = isinstance(left, dict) and left.get("payload") == {"protocol": "tcp", "field": "dport"}
    return right if is_one and match.get("op") == "==" and type(right) is int else None


def part(left: Json, name: str) -> Json:
    """What ``left`` looks at, if that is of this kind."""
    found = left.get(name)
    return found if isinstance(found, dict) else {}


def _is_source(left: Json) -> bool:
    payload = part(left, "payload")
    return payload.get("protocol") in ("ip", "ip6") and payload.get("field") == "saddr"


def _is_another_protocol(op: str, values: Sequence[Any]) -> bool:
    if op == "!=":
        return any(value in ("tcp", 6) for value in values)
    # A "*" stands for all, and a range of names for who knows what.
    return op == "==" and all(isinstance(value, str | int) and value not in ("tcp", 6, "*") for value in values)


def hits(value: Any, port: int) -> bool:
    """Whether a port, or a range of them, is or has ``port``."""
    if isinstance(value, dict) and (ends := _ends(value)) is not None:
        return ends[0] <= port <= ends[1]
    return type(value) is int and value == port


def misses(value: Any, port: int) -> bool:
    """The contrary; neither, where it is not understood."""
    if isinstance(value, dict):
        return (ends := _ends(value)) is not None and not ends[0] <= port <= ends[1]
    return type(value) is int and value != port


def _ends(value: Json) -> tuple[int, int] | None:
    match value:
        case {"range": [int(first), int(last)]}:
            return first, last
        case _:
            return None


def _are_few(sources: Sequence[Any]) -> bool:
    """Whether these are the addresses of somebody in particular."""
    try:
        networks = [network for source in sources for network in _networks(source)]
    except (ValueError, TypeError):
        return False
    outside = [one for one in networks if not any(_is_within(one, inside) for inside in _INSIDE)]
    return all(
        sum(one.num_addresses for one in outside if one.version == version) <= most
        for version, most in _FEW_SOURCES.items()
    )


def _is_within(one: Network, other: Network) -> bool:
    same = one.version == other.version and one.prefixlen >= other.prefixlen
    return same and int(one.network_address) ^ int(other.network_address) < other.num_addresses


def _networks(source: Any) -> list[Network]:
    """Raises ``ValueError`` and ``TypeError`` for what is no source."""
    match source:
        case str():
            return [ipaddress.ip_network(source)]
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return [ipaddress.ip_network((address, length), strict=False)]
        case {"range": [str(first), str(last)]}:
            ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
            return list(ipaddress.summarize_address_range(*ends))
        case _:
            raise ValueError("not a source")
