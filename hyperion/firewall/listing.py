"""Reads what nft says is loaded: who is in the sets, and whether the table does its work. Pure: JSON text in.

Knows nft's JSON. A table that an operator may have loaded or changed is judged by what must be there and by what must
not (``judgement``); what else there is is left alone.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from hyperion.firewall.judgement import Judgement
from hyperion.firewall.narrow import Json
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset
from hyperion.firewall.walk import statements

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
        # What has a time is there today only, and nobody looks at it again.
        self._maps: dict[str, list[Any]] = {
            str(found["name"]): found.get("elem", []) for found in maps if not _changes_by_itself(found)
        }
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
        """What keeps it from letting in who was admitted."""
        found = [
            f"set {name} is missing, or of another kind"
            for name, kind in ((rules.set, "ipv4_addr"), (rules.set6, "ipv6_addr"))
            if not _is_timed_set(self._sets.get(name, {}), kind)
        ]
        return found + self._judgement(rules).faults()

    def holes(self, rules: Ruleset) -> list[str]:
        """Rules that may let strangers in, each named."""
        return self._judgement(rules).holes()

    def cautions(self, rules: Ruleset) -> list[str]:
        """What an operator should know of a table without complaints."""
        return self._judgement(rules).cautions()

    def _judgement(self, rules: Ruleset) -> Judgement:
        return Judgement(rules, self._chains, self._rules, self._maps, self._fixed())

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
            if name not in filled and not _changes_by_itself(found)
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


def _changes_by_itself(found: Json) -> bool:
    return not {"timeout", "dynamic"}.isdisjoint(found.get("flags", ()))


def _is_timed_set(found: Json, kind: str) -> bool:
    """Of single addresses, each with its time."""
    flags = found.get("flags", ())
    return found.get("type") == kind and "timeout" in flags and "interval" not in flags
