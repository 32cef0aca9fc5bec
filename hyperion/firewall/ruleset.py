"""The text of the gate's table, in nft's own language. Pure: text in, text out.

Knows every rule and why it is there. Knows nothing of how text reaches the kernel (``nft``), of what is loaded there
(``listing``) and of who is admitted (``admission``).

One table ``inet NAME``, because an IPv4 table alone would leave IPv6 wide open. Text and not JSON, although nft takes
both: nft 1.0.6 loses flags and milliseconds in JSON, and the operator can read this.

The drop policy holds against all other tables: what another table accepts is still dropped here, so ``keep_ports`` is
the only way to leave a port open.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hyperion.errors import ConfigError

#: Elements a set holds. Twice the sources that ``admission`` admits: a refresh needs room for its element twice, and
#: expired elements count until the kernel collects them. About 1 MB when full.
SET_SIZE = 8_192
#: The kernel gives this timeout to an element that is added without one, by whatever mistake, seconds. The shortest
#: time in which a person can notice.
DEFAULT_TIMEOUT_SECONDS = 60
#: Connections that one admitted source may hold open at the tunnel port: 8 admins behind one NAT with 8 each.
MAX_CONNECTIONS_PER_SOURCE = 64
#: Longest life of a grant, seconds: a day. Longer is a port that stands open.
MAX_TTL_SECONDS = 86_400.0

#: How the table says whose it is.
OUR_COMMENT = "hyperion: the gate"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")
_MAX_PORT = 65_535

#: A new connection and nothing else. Conntrack also calls a bare ACK new, and the answer to that, a reset, shows a scan
#: that somebody is here.
_SYN = "ct state new tcp flags & (fin | syn | rst | ack) == syn"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What the table says. Names are those of nft objects; ports are TCP.

    ``one_shot``: the first SYN of a source consumes its grant, so that a neighbour behind the same NAT cannot follow;
    each further connection needs a knock of its own. ``dhcpv6``: let answers of a DHCPv6 server of the link in, for
    machines that have their IPv6 address from one (an on-link stranger who fakes such answers can see the machine).

    Raises ``ConfigError`` for a name or port that does not fit.
    """

    tunnel_port: int
    table: str = "hyperion"
    set: str = "admitted"
    keep_ports: tuple[int, ...] = ()
    one_shot: bool = False
    dhcpv6: bool = False
    max_connections: int = MAX_CONNECTIONS_PER_SOURCE

    def __post_init__(self) -> None:
        check_name("table", self.table)
        check_name("set", self.set)
        for port in (self.tunnel_port, *self.keep_ports):
            if not 1 <= port <= _MAX_PORT:
                raise ConfigError(f"port {port} is not between 1 and {_MAX_PORT}")
        if self.tunnel_port in self.keep_ports:
            raise ConfigError(f"port {self.tunnel_port} is the tunnel's: kept open to everybody it would need no gate")
        if self.max_connections < 1:
            raise ConfigError("at least one connection per source must be allowed")

    @property
    def set6(self) -> str:
        """The set of IPv6 sources."""
        return f"{self.set}6"

    def set_for(self, source: Address) -> str:
        """The set that ``source`` belongs into."""
        return self.set if source.version == 4 else self.set6


def check_name(what: str, name: str) -> None:
    """Raises ``ConfigError`` unless ``name`` can stand in nft's language without meaning anything else there."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"firewall {what}: expected {_NAME.pattern}, got {name!r}")


def parse_source(source: str) -> Address:
    """The address, an IPv4 one also where it comes as IPv6 (``::ffff:``). Raises ``ValueError`` for what is none, or
    what cannot send a SYN."""
    address = ipaddress.ip_address(source)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("a source has no zone")
        address = address.ipv4_mapped or address
    if address.is_multicast or address.is_unspecified:
        raise ValueError(f"{address} is no source")
    return address


def ruleset_text(rules: Ruleset) -> str:
    """What ``print-firewall`` prints. Loading it (``nft -f -``) any number of times leaves one copy and keeps all
    grants with their time; it is one transaction, so there is no moment without rules."""
    return "\n".join(
        (
            f"table inet {rules.table} {{",
            f'  comment "{OUR_COMMENT}. Made by print-firewall; load it as often as you like"',
            *_sets(rules),
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            "  }",
            "}",
            "# The rules of an earlier load go, its sets with the live grants stay.",
            f"flush chain inet {rules.table} input",
            f"table inet {rules.table} {{",
            "  chain input {",
            *(f'    {rule} comment "{comment}"' for rule, comment in _rules(rules)),
            "  }",
            "}",
            "",
        )
    )


def _sets(rules: Ruleset) -> Iterable[str]:
    for name, kind in ((rules.set, "ipv4_addr"), (rules.set6, "ipv6_addr")):
        yield f"  set {name} {{"
        # dynamic: one-shot rules delete from it.
        yield f"    type {kind}; size {SET_SIZE}; flags dynamic, timeout; timeout {DEFAULT_TIMEOUT_SECONDS}s;"
        yield "  }"
        yield f"  set {name}_connections {{"
        yield f"    type {kind}; size {SET_SIZE}; flags dynamic;"
        yield "  }"


def _rules(rules: Ruleset) -> Iterable[tuple[str, str]]:
    """Each rule with its comment, in order: what is most frequent first, then what keeps the host reachable at all."""
    yield "ct state established accept", "what is already open goes on, also when its grant ends"
    yield "ct state invalid drop", "packets of no connection"
    yield 'iifname "lo" accept', "this host to itself"
    yield from _neighbours(rules)
    yield from _errors()
    for port in rules.keep_ports:
        yield f"tcp dport {port} {_SYN} accept", f"keep-port {port}: open to everybody"
    yield from _gate(rules, "ip", rules.set)
    yield from _gate(rules, "ip6", rules.set6)
    yield "counter drop", "everything else, in silence"


def _neighbours(rules: Ruleset) -> Iterable[tuple[str, str]]:
    """Without these IPv6 ends a minute after loading. Hop limit 255: no router has passed it on."""
    kinds = "{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }"
    yield f"icmpv6 type {kinds} ip6 hoplimit 255 accept", "IPv6 finds its neighbours and routers"
    yield (
        "icmpv6 type mld-listener-query ip6 saddr fe80::/10 ip6 hoplimit 1 accept",
        "switches go on sending us neighbour discovery",
    )
    if rules.dhcpv6:
        yield (
            "ip6 saddr fe80::/10 ip6 daddr fe80::/10 udp sport 547 udp dport 546 accept",
            "answers of a DHCPv6 server of the link",
        )


def _errors() -> Iterable[tuple[str, str]]:
    """Path MTU discovery and quick failures. ``related``: only errors about a connection of ours are let in."""
    kinds = "{ destination-unreachable, time-exceeded, parameter-problem }"
    yield f"ct state related icmp type {kinds} accept", "errors about our connections (with fragmentation-needed)"
    kinds = "{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }"
    yield f"ct state related icmpv6 type {kinds} accept", "errors about our connections, IPv6"


def _gate(rules: Ruleset, family: str, name: str) -> Iterable[tuple[str, str]]:
    wanted = f"tcp dport {rules.tunnel_port} {_SYN} {family} saddr @{name}"
    over = f"add @{name}_connections {{ {family} saddr ct count over {rules.max_connections} }}"
    yield f"{wanted} {over} counter drop", f"at most {rules.max_connections} connections per source"
    if rules.one_shot:
        yield f"{wanted} delete @{name} {{ {family} saddr }} counter accept", "one connection for each knock"
    else:
        yield f"{wanted} counter accept", "who knocked may connect"


def admit_text(rules: Ruleset, source: Address, ttl: float) -> str:
    """One transaction that gives ``source`` a grant of ``ttl`` seconds, whether it has one or not.

    Adding what exists does not refresh it, and deleting what does not exist is an error: so add, delete, add. The first
    add has the timeout, too: on an existing element an add without one makes it last for ever (measured, Linux 6.18).
    """
    element = _element(rules, source, ttl)
    return f"add {element}\ndelete element {_place(rules, source)} {{ {source} }}\nadd {element}\n"


def revoke_text(rules: Ruleset, source: Address) -> str:
    """One transaction that ends the grant of ``source``, whether it has one or not."""
    element = _element(rules, source, DEFAULT_TIMEOUT_SECONDS)
    return f"add {element}\ndelete element {_place(rules, source)} {{ {source} }}\n"


def replace_text(rules: Ruleset, table: str, grants: Mapping[str, float]) -> str:
    """One transaction that puts ``table`` (a listing, or ``ruleset_text``) in the place of whatever bears its name,
    with ``grants`` (seconds left)."""
    return remove_text(rules.table) + table.rstrip("\n") + "\n" + grants_text(rules, grants)


def grants_text(rules: Ruleset, grants: Mapping[str, float]) -> str:
    """Adds each of ``grants`` (seconds left) to a table in which none of them is."""
    return "".join(f"add {_element(rules, parse_source(source), left)}\n" for source, left in grants.items())


def remove_text(table: str) -> str:
    """One transaction that leaves no table of that name, if there was one or not (nft 1.0.6 has no ``destroy``)."""
    check_name("table", table)
    return f"table inet {table}\ndelete table inet {table}\n"


def _place(rules: Ruleset, source: Address) -> str:
    return f"inet {rules.table} {rules.set_for(source)}"


def _element(rules: Ruleset, source: Address, ttl: float) -> str:
    milliseconds = round(ttl * 1_000)
    if not 1 <= milliseconds <= MAX_TTL_SECONDS * 1_000:  # nft takes 0 for "for ever"
        raise ValueError(f"a grant of {ttl:g} s is not between 1 ms and {MAX_TTL_SECONDS:g} s")
    return f"element {_place(rules, source)} {{ {source} timeout {milliseconds}ms }}"
