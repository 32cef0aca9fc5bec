"""Reads what nft says is loaded: who is in the sets, and whether the table does its work. Pure: JSON text in.

Knows nft's JSON. Judges a table that an operator may have loaded or changed, so it looks for what must be there and for
holes, and leaves alone what else there is.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset

Json = dict[str, Any]
_VERDICTS = frozenset({"accept", "drop", "jump", "goto", "queue", "return", "reject"})
_WITHOUT_EFFECT = frozenset({"counter", "log", "limit"})
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
        """Why this table is no gate for ``rules``; empty if it is one. Further rules of the operator are welcome,
        unless they accept everything, or everybody at the tunnel port."""
        found = [
            f"set {name} is missing, or of another kind"
            for name, kind in ((rules.set, "ipv4_addr"), (rules.set6, "ipv6_addr"))
            if not _is_timed_set(self._sets.get(name, {}), kind)
        ]
        chain = next((chain for chain in self._chains if chain.get("hook") == "input"), None)
        if chain is None or chain.get("policy") != "drop":
            return [*found, "no chain drops what comes in"]
        inside = [rule for rule in self._rules if rule.get("chain") == chain["name"]]
        found += [
            f"port {rules.tunnel_port} is not opened to set {name}"
            for name in (rules.set, rules.set6)
            if not any(_opens(rule, rules, name) for rule in inside)
        ]
        port = rules.tunnel_port
        met = self._met_by_strangers(str(chain["name"]), port, set())
        found += ["a rule accepts everything" for rule in met if _accepts_all(rule)]
        found += [f"a rule opens port {port} to everybody" for rule in met if _lets_everybody_in(rule, port)]
        return found

    def _met_by_strangers(self, chain: str, port: int, seen: set[str]) -> list[Json]:
        """The rules that the first packet of a stranger to ``port`` comes to, also in chains that it is sent to."""
        if chain in seen:
            return []
        seen.add(chain)
        own = [rule for rule in self._rules if rule.get("chain") == chain]
        others = [target for rule in own for target in _targets(rule) if _meets_everybody(rule, port)]
        return own + [rule for target in others for rule in self._met_by_strangers(target, port, seen)]

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


def _expressions(rule: Json) -> list[Json]:
    # A verdict is {"accept": null}; nft writes some statements as bare words.
    return [part if isinstance(part, dict) else {str(part): None} for part in rule.get("expr", ())]


def _opens(rule: Json, rules: Ruleset, name: str) -> bool:
    parts = _expressions(rule)
    matches = [part["match"] for part in parts if "match" in part]
    consumed = [part["set"] for part in parts if "set" in part]
    return (
        bool(parts)
        and "accept" in parts[-1]
        and _port(rule) == rules.tunnel_port
        and any(match.get("right") == f"@{name}" for match in matches)
        and rules.one_shot == any(_deletes(statement, name) for statement in consumed)
    )


def _deletes(statement: Json, name: str) -> bool:
    return statement.get("op") == "delete" and statement.get("set") == f"@{name}"


def _port(rule: Json) -> int | None:
    for part in _expressions(rule):
        match = part.get("match", {})
        left = match.get("left", {})
        if isinstance(left, dict) and left.get("payload") == {"protocol": "tcp", "field": "dport"}:
            return match["right"] if isinstance(match["right"], int) else None
    return None


def _accepts_all(rule: Json) -> bool:
    kinds = {key for part in _expressions(rule) for key in part}
    return "accept" in kinds and not kinds - _VERDICTS - _WITHOUT_EFFECT


def _lets_everybody_in(rule: Json, port: int) -> bool:
    """Whether it accepts new connections at ``port`` and asks for nothing else, such as who sends them."""
    kinds = {key for part in _expressions(rule) for key in part}
    return {"accept", "match"} <= kinds and _meets_everybody(rule, port)


def _targets(rule: Json) -> list[str]:
    """Chains that it sends packets to."""
    found = [part.get(verb) for part in _expressions(rule) for verb in ("jump", "goto")]
    return [str(target["target"]) for target in found if isinstance(target, dict) and "target" in target]


def _meets_everybody(rule: Json, port: int) -> bool:
    """Whether its verdict is that on every first packet of a connection to ``port``, as far as that can be told."""
    parts = _expressions(rule)
    kinds = {key for part in parts for key in part}
    return kinds <= _VERDICTS | _WITHOUT_EFFECT | {"match"} and all(
        _holds_for_all(part["match"], port) for part in parts if "match" in part
    )


def _holds_for_all(match: Json, port: int) -> bool:
    """Whether every first packet of a connection to TCP ``port`` passes, as far as that can be told."""
    left, right = match.get("left"), match.get("right")
    if not isinstance(left, dict):
        return False
    if match.get("op") == "!=":  # all but one are as good as all
        return _asks_for_origin(left)
    if match.get("op") not in ("==", "in"):
        return False
    if "&" in left:
        return left["&"][0] == {"payload": {"protocol": "tcp", "field": "flags"}} and right == "syn"
    if left.get("ct") == {"key": "state"}:
        return _covers(right, "new")
    if left.get("meta") == {"key": "l4proto"}:
        return _covers(right, "tcp")
    payload = left.get("payload", {})
    return payload.get("field") == "dport" and payload.get("protocol") in ("tcp", "th") and _covers(right, port)


def _asks_for_origin(left: Json) -> bool:
    """Whether it looks at where a packet comes from."""
    by_interface = left.get("meta", {}).get("key") in ("iif", "iifname", "iifgroup", "iiftype")
    return by_interface or left.get("payload", {}).get("field") in ("saddr", "sport")


def _covers(right: Any, wanted: str | int) -> bool:
    """Whether ``wanted`` is among the values that a match names: one, a list, a set, a range."""
    if isinstance(right, dict):
        if (ends := right.get("range")) is not None and isinstance(wanted, int):
            return bool(ends[0] <= wanted <= ends[1])
        right = right.get("set", [])
    if isinstance(right, list):
        return any(_covers(one, wanted) for one in right)
    return bool(right == wanted)
