"""A packet's way through a table: rule after rule, and into the chains that these lead to. Pure: nft's JSON in.

What comes of it is all that may: rules that take the packet in, rules that keep it out, the end of the chain. A rule
whose conditions it surely meets and that says a last word ends the way: nothing behind it counts. A statement that is
not understood may take the packet in. Knows nothing of what is good or bad about that (``judgement``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hyperion.firewall.narrow import Json, bare
from hyperion.firewall.packet import Meets, Packet, Why

#: Verdicts after which nothing else of this chain counts.
_SHUTS = frozenset({"drop", "reject"})
_LEADS = frozenset({"jump", "goto"})
#: They take nothing in, keep nothing out, and the rule goes on.
_PASSES = frozenset({"counter", "log", "notrack"})
#: The same, but the rule may end there.
_MAY_END = frozenset(
    {
        *("limit", "quota", "last", "ct count", "set", "map", "meter", "mangle"),
        *("ct helper", "ct timeout", "ct expectation", "secmark", "flow", "dup"),
    }
)


#: Behind these nothing of the same rule counts.
_LAST = frozenset({"accept", "queue", "return", "continue"}) | _SHUTS | _LEADS


@dataclass(frozen=True, slots=True)
class Step:
    """What a rule may do to the packet, and for which reasons that we know."""

    rule: Json
    verb: str
    why: Why


@dataclass(slots=True)
class Passage:
    """Through one chain. ``takes`` and ``shuts``: rules that may take it in, or keep it out; ``falls``: it may come to
    the end of the chain. ``end``: the rule behind which it surely never comes."""

    takes: list[Step] = field(default_factory=list)
    shuts: list[Step] = field(default_factory=list)
    falls: bool = True
    end: Json | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    verb: str
    target: str
    why: Why
    surely: bool


class Table:
    """Chains, rules and verdict maps of a table, as nft's JSON has them."""

    def __init__(self, chains: Iterable[str], rules: Sequence[Json], maps: Mapping[str, Sequence[Any]]) -> None:
        self._rules: dict[str, list[Json]] = {chain: [] for chain in chains}
        for rule in rules:
            self._rules.setdefault(str(rule.get("chain")), []).append(rule)
        self._maps = maps

    def passage(self, chain: str, packet: Packet) -> Passage:
        """Of ``packet`` through ``chain``."""
        return self._walk(chain, packet, {})

    def _walk(self, chain: str, packet: Packet, known: dict[str, Passage]) -> Passage:
        # One that leads back to itself (the kernel allows none) is taken for one that leads nowhere.
        passage = known[chain] = Passage()
        returns = False
        for rule in self._rules[chain]:
            for outcome in self._outcomes(rule, packet):
                if outcome.verb in _LEADS and outcome.target in self._rules:
                    beyond = known.get(outcome.target) or self._walk(outcome.target, packet, known)
                    _add(passage, beyond, outcome)
                    comes_back, ends = beyond.falls, outcome.verb == "goto" or not beyond.falls
                else:
                    _note(passage, rule, outcome)
                    comes_back, ends = outcome.verb == "return", outcome.verb in _LAST - {"continue"}
                returns = returns or (ends and comes_back)
                if ends and outcome.surely:
                    passage.falls = returns
                    passage.end = passage.end or rule
                    return passage
        return passage

    def _outcomes(self, rule: Json, packet: Packet) -> Iterator[_Outcome]:
        """What this rule may say to the packet, up to its last word."""
        surely, why = True, Why.NOTHING
        for kind, value in statements(rule):
            why |= packet.why(kind, value)
            if kind == "match":
                meets = packet.meets(value) if isinstance(value, dict) else Meets.MAYBE
                if meets is Meets.NEVER:
                    return
                surely = surely and meets is Meets.SURELY
            elif kind == "vmap":
                for verb, target, chosen in self._choices(value, packet):
                    yield _Outcome(verb, target, why, surely and chosen)
                surely = False
            elif kind in _LAST:
                meets = packet.is_answered(value) if kind == "reject" else Meets.SURELY
                if meets is not Meets.NEVER:
                    yield _Outcome(kind, _target(value), why, surely and meets is Meets.SURELY)
                return
            elif kind not in _PASSES:
                surely = False
                if kind not in _MAY_END:
                    yield _Outcome(kind, "", why, surely)

    def _choices(self, vmap: Any, packet: Packet) -> Iterator[tuple[str, str, bool]]:
        """The same of a choice of verdicts: those that the packet can get, and whether it surely does."""
        key, data = (vmap.get("key"), vmap.get("data")) if isinstance(vmap, dict) else (None, None)
        pairs = data.get("set") if isinstance(data, dict) else self._maps.get(str(data).removeprefix("@"))
        if not isinstance(key, dict) or not isinstance(pairs, list | tuple):
            yield "vmap", "", False
            return
        by_verdict: dict[tuple[str, str], list[Any]] = {}
        for pair in pairs:
            value, verdict = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)
            for kind, what in _as_statement(verdict).items():
                by_verdict.setdefault((kind, _target(what)), []).append(bare(value))
        for (verb, target), values in by_verdict.items():
            meets = packet.chosen(key, values)
            if meets is not Meets.NEVER:
                # A "*" stands for what has no other verdict.
                yield verb, target, meets is Meets.SURELY and "*" not in values


def _note(passage: Passage, rule: Json, outcome: _Outcome) -> None:
    step = Step(rule, outcome.verb, outcome.why)
    if outcome.verb in _SHUTS:
        passage.shuts.append(step)
    elif outcome.verb not in ("return", "continue"):
        passage.takes.append(step)


def _add(passage: Passage, beyond: Passage, outcome: _Outcome) -> None:
    """What comes of the chain that ``outcome`` leads to comes of this one."""
    for mine, theirs in ((passage.takes, beyond.takes), (passage.shuts, beyond.shuts)):
        # Each rule once for each reason, however many ways lead to it.
        known = {(id(one.rule), one.verb, one.why) for one in mine}
        more = [Step(one.rule, one.verb, one.why | outcome.why) for one in theirs]
        mine += [one for one in more if (id(one.rule), one.verb, one.why) not in known]
    if outcome.surely and not beyond.falls:
        passage.end = beyond.end


def statements(rule: Json) -> Iterator[tuple[str, Any]]:
    """Each statement of a rule in its order: its kind, and what it says."""
    for part in rule.get("expr", ()):
        yield from _as_statement(part).items()


def _as_statement(part: Any) -> Json:
    # A verdict is {"accept": null}; nft writes some statements as bare words.
    return part if isinstance(part, dict) else {str(part): None}


def _target(value: Any) -> str:
    return str(value.get("target", "")) if isinstance(value, dict) else ""
