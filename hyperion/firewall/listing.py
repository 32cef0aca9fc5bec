"""Reads what nft says is loaded: who is in the sets, and whether the table does its work. Pure: JSON text in.

Knows nft's JSON. Judges a table that an operator may have loaded or changed, so it looks for what must be there and for
holes (``holes``), and leaves alone what else there is.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from hyperion.firewall.holes import Table, statements
from hyperion.firewall.narrow import Conditions, Json
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset

#: As nft's text has it: of a table, not of one of its sets.
_DORMANT = re.compile(r"^\tflags\b.*\bdormant\b", re.MULTILINE)
#: What nft's text says of handles: at the end of a line, where no quoted comment can be.
_HANDLE = re.compile(r" # handle \d+$", re.MULTILINE)
_MADE = re.compile(r"^(?:table inet|\tset) (\S+) \{ # handle (\d+)$", re.MULTILINE)

#: The numbers of a table and of its sets, by name. Whoever deletes one and makes it again makes another one.
Handles = dict[str, int]


class Listing:
    """One listing of a table or set, as ``nft --json list`` wrote it. Raises ``FirewallError`` for what is none."""

    def __init__(self, text: str) -> None:
        try:
            objects = msgspec.json.decode(text, type=dict[str, list[Json]])["nftables"]
        except (msgspec.DecodeError, KeyError):
            raise FirewallError("nft's answer is not JSON as it should be") from None
        self._sets: dict[str, Json] = {item["set"]["name"]: item["set"] for item in objects if "set" in item}
        maps = [item["map"] for item in objects if "map" in item]
        self._maps: dict[str, list[Any]] = {str(found["name"]): found.get("elem", []) for found in maps}
        self._chains: list[Json] = [item["chain"] for item in objects if "chain" in item]
        self._rules: list[Json] = [item["rule"] for item in objects if "rule" in item]

    def has_sets(self, rules: Ruleset) -> bool:
        """Whether both sets of grants are there, whatever they look like."""
        return {rules.set, rules.set6} <= self._sets.keys()

    def is_ours(self, set_name: str) -> bool:
        """Whether the table was made for this gate (an empty one serves nobody yet): no other may be replaced."""
        return set_name in self._sets or not (self._sets or self._chains or self._rules)

    def grants(self, rules: Ruleset) -> dict[str, float]:
        """Each source and the whole seconds it has left, rounded down. What has no timeout is not a grant of ours."""
        return {
            str(element["val"]): float(element["expires"])
            for element in self._elements(rules)
            if isinstance(element, dict) and "expires" in element
        }

    def complaints(self, rules: Ruleset) -> list[str]:
        """Why this table is no gate for ``rules``; empty if it is one. Further rules of the operator are welcome, if it
        is certain that they let no stranger in at the tunnel port."""
        return self.faults(rules) or self.holes(rules)

    def faults(self, rules: Ruleset) -> list[str]:
        """What is missing in it."""
        found = [
            f"set {name} is missing, or of another kind"
            for name, kind in ((rules.set, "ipv4_addr"), (rules.set6, "ipv6_addr"))
            if not _is_timed_set(self._sets.get(name, {}), kind)
        ]
        if not self._dropping:
            return [*found, "no chain drops what comes in"]
        return found + min((self._unopened(chain, rules) for chain in self._dropping), key=len)

    def holes(self, rules: Ruleset) -> list[str]:
        """Rules that may let strangers in, each named. Of several chains that drop one without holes is enough: what
        another accepts comes to that one, too."""
        port, names = rules.tunnel_port, (rules.set, rules.set6)
        conditions = Conditions(port, frozenset(f"@{name}" for name in names), self._fixed())
        table = Table((str(chain["name"]) for chain in self._chains), self._rules, self._maps, conditions)
        gates = [chain for chain in self._dropping if not self._unopened(chain, rules)]
        return min((table.holes(chain, port) for chain in gates), key=len, default=[])

    @property
    def _dropping(self) -> list[str]:
        """Chains that drop what comes in, unless a rule says otherwise."""
        found = [chain for chain in self._chains if (chain.get("hook"), chain.get("policy")) == ("input", "drop")]
        return [str(chain["name"]) for chain in found]

    def _unopened(self, chain: str, rules: Ruleset) -> list[str]:
        inside = [rule for rule in self._rules if rule.get("chain") == chain]
        return [
            f"port {rules.tunnel_port} is not opened to set {name}"
            for name in (rules.set, rules.set6)
            if not any(_opens(rule, rules, name) for rule in inside)
        ]

    def _fixed(self) -> dict[str, list[Any]]:
        """The elements of the sets that only the operator fills: not rules (a packet of anybody would do), and not
        time, as far as nft says (1.0.6 leaves out ``dynamic``)."""
        filled = {
            str(value.get("set")).removeprefix("@")
            for rule in self._rules
            for kind, value in statements(rule)
            if kind in ("set", "map", "meter") and isinstance(value, dict) and value.get("op") != "delete"
        }
        return {
            name: found.get("elem", [])
            for name, found in self._sets.items()
            if name not in filled and not {"timeout", "dynamic"} & set(found.get("flags", ()))
        }

    def _elements(self, rules: Ruleset) -> Iterable[Any]:
        for name in (rules.set, rules.set6):
            for element in self._sets.get(name, {}).get("elem", ()):
                # An element with a timeout is {"elem": {...}}, one without is just its value.
                yield element["elem"] if isinstance(element, dict) and "elem" in element else element


def split_handles(text: str) -> tuple[str, Handles]:
    """A text that was listed with handles, without them; and those of the table and of its sets."""
    return _HANDLE.sub("", text), {name: int(number) for name, number in _MADE.findall(text)}


def is_dormant(text: str) -> bool:
    """Whether the table is switched off: its rules are there and do nothing. nft 1.0.6 says so in text only."""
    return _DORMANT.search(text) is not None


def _is_timed_set(found: Json, kind: str) -> bool:
    return found.get("type") == kind and "timeout" in found.get("flags", ())


def _opens(rule: Json, rules: Ruleset, name: str) -> bool:
    parts = list(statements(rule))
    matches = [value for kind, value in parts if kind == "match"]
    return (
        bool(parts)
        and parts[-1][0] == "accept"
        and any(_is_port(match, rules.tunnel_port) for match in matches)
        and any(match.get("op") == "==" and match.get("right") == f"@{name}" for match in matches)
        and rules.one_shot == any(kind == "set" and _deletes(value, name) for kind, value in parts)
    )


def _deletes(statement: Json, name: str) -> bool:
    return statement.get("op") == "delete" and statement.get("set") == f"@{name}"


def _is_port(match: Json, port: int) -> bool:
    left = match.get("left")
    is_port = isinstance(left, dict) and left.get("payload") == {"protocol": "tcp", "field": "dport"}
    return is_port and match.get("op") == "==" and match.get("right") == port
