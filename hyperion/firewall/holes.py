"""Rules that may let a stranger in at the tunnel port. Pure: nft's JSON in.

Follows the packet through the chain and all that it leads to. A rule that takes a packet in is a hole unless one of
its conditions is known to shut strangers out (``narrow``): what is not understood is a hole. The order of rules is not
looked at, so a rule behind one that drops everything counts too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hyperion.firewall.narrow import Conditions, Json, bare

#: ``queue`` hands the packet to a program, which may take it in.
_TAKES = frozenset({"accept", "queue"})
_LEADS = frozenset({"jump", "goto"})
_ENDS = frozenset({"drop", "reject", "return", "continue"})
#: They take nothing in, and shut nobody out for certain.
_PASSES = frozenset(
    {
        *("counter", "log", "limit", "quota", "last", "ct count", "set", "map", "meter", "mangle", "notrack"),
        *("ct helper", "ct timeout", "ct expectation", "secmark", "flow", "dup"),
    }
)


class Table:
    """Chains, rules and verdict maps of a table, as nft's JSON has them, under ``conditions`` for one port."""

    def __init__(
        self, chains: Iterable[str], rules: Sequence[Json], maps: Mapping[str, Sequence[Any]], conditions: Conditions
    ) -> None:
        self._chains = frozenset((*chains, *(str(rule.get("chain")) for rule in rules)))
        self._rules = rules
        self._maps = maps
        self._conditions = conditions

    def holes(self, chain: str, port: int) -> list[str]:
        """What is wrong with ``chain`` and the ones that it leads strangers to, each rule named; empty: nothing."""
        return list(dict.fromkeys(self._holes(chain, port, set())))

    def _holes(self, chain: str, port: int, seen: set[str]) -> Iterator[str]:
        seen.add(chain)
        for rule in self._rules:
            if rule.get("chain") != chain:
                continue
            for verb, target in self._outcomes(rule):
                if verb not in _LEADS or target not in self._chains:
                    yield f"{_what(rule, verb, port)}: {_name(rule)}"
                elif target not in seen:
                    yield from self._holes(target, port, seen)

    def _outcomes(self, rule: Json) -> Iterator[tuple[str, str]]:
        """What happens to a stranger's packet there that may take it in: a verb and, if it leads on, where to."""
        for kind, value in statements(rule):
            if kind in _ENDS or (kind == "match" and isinstance(value, dict) and self._conditions.shut_out(value)):
                return
            if kind == "vmap":
                yield from self._choices(value)
            elif kind != "match" and kind not in _PASSES:
                yield kind, _target(value)

    def _choices(self, vmap: Any) -> Iterator[tuple[str, str]]:
        """The same of a choice of verdicts: those that a stranger's packet can get."""
        key, data = (vmap.get("key"), vmap.get("data")) if isinstance(vmap, dict) else (None, None)
        pairs = data.get("set") if isinstance(data, dict) else self._maps.get(str(data).removeprefix("@"))
        if not isinstance(key, dict) or not isinstance(pairs, list | tuple):
            yield "vmap", ""
            return
        by_verdict: dict[tuple[str, str], list[Any]] = {}
        for pair in pairs:
            value, verdict = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)
            for kind, what in _as_statement(verdict).items():
                by_verdict.setdefault((kind, _target(what)), []).append(bare(value))
        for outcome, values in by_verdict.items():
            if outcome[0] not in _ENDS and not self._conditions.none_meets(key, "==", values):
                yield outcome


def statements(rule: Json) -> Iterator[tuple[str, Any]]:
    """Each statement of a rule in its order: its kind, and what it says."""
    for part in rule.get("expr", ()):
        yield from _as_statement(part).items()


def _as_statement(part: Any) -> Json:
    # A verdict is {"accept": null}; nft writes some statements as bare words.
    return part if isinstance(part, dict) else {str(part): None}


def _target(value: Any) -> str:
    return str(value.get("target", "")) if isinstance(value, dict) else ""


def _what(rule: Json, verb: str, port: int) -> str:
    if verb == "accept" and not any(kind in ("match", "vmap") for kind, _ in statements(rule)):
        return "a rule accepts everything"
    return f"a rule may open port {port} to everybody"


def _name(rule: Json) -> str:
    handle = f", handle {rule['handle']}" if "handle" in rule else ""
    return f"chain {rule.get('chain')}{handle}"
