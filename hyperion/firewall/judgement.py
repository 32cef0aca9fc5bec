"""Whether a table is a gate: whoever was admitted gets in at the tunnel port, a stranger never. Pure.

A *fault* is what keeps it from letting in who was admitted, a *hole* what may let in somebody else, or for longer: with
one of them it is no gate. A *caution* is what an operator may want, and should know. Follows both packets (``packet``)
through every chain that what comes in passes (``walk``). Knows nothing of how a table is listed (``listing``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hyperion.firewall.narrow import Json, part
from hyperion.firewall.packet import Packet, Why
from hyperion.firewall.ruleset import Ruleset
from hyperion.firewall.walk import Passage, Step, Table, statements

#: Where what is for this host passes.
_HOOKS = frozenset({"ingress", "prerouting", "input"})
_FILLS = frozenset({"add", "update"})
#: Fields of a header that a packet is no other one by. (TCP's options are no fields.)
_OF_NO_MATTER = frozenset({"dscp", "ecn", "ttl", "hoplimit", "flowlabel"})


class Judgement:
    """Of a table that has these chains, rules and verdict maps; ``sets``: what is in those that only the operator fills
    (``narrow.Conditions``)."""

    def __init__(
        self,
        rules: Ruleset,
        chains: Sequence[Json],
        found: Sequence[Json],
        maps: Mapping[str, Sequence[Any]],
        sets: Mapping[str, Sequence[Any]],
    ) -> None:
        self._rules = rules
        self._chains = [chain for chain in chains if chain.get("hook") in _HOOKS]
        self._found = found
        self._table = Table((str(chain["name"]) for chain in chains), found, maps)
        names = (rules.set, rules.set6)
        ours = frozenset(f"@{name}" for name in names)
        self._stranger = Packet(rules.tunnel_port, ours, sets)
        versions = zip(names, (4, 6), strict=True)
        self._guests = {
            name: Packet(rules.tunnel_port, ours, sets, guest_of=f"@{name}", version=version)
            for name, version in versions
        }

    def faults(self) -> list[str]:
        """Each told with its rule."""
        if not self._dropping:
            return ["no chain drops what comes in"]
        gate = min(self._dropping, key=lambda chain: len(self._unopened(chain)))
        if found := self._unopened(gate):
            return found
        shut = {name: list(self._shut(name, gate)) for name in self._guests}
        # One of the versions of IP may be unwanted here.
        return _each(what for found in shut.values() for what in found) if all(shut.values()) else []

    def holes(self) -> list[str]:
        """Each told with its rule. Of several chains that drop one without holes is enough: what another accepts comes
        to that one, too."""
        gates = [chain for chain in self._dropping if not self._unopened(chain)]
        return _each(self._own_doing()) or min((self._leaks(chain) for chain in gates), key=len, default=[])

    def cautions(self) -> list[str]:
        """Each told with its rule, of a table without faults and holes."""
        gates = [chain for chain in self._dropping if not self._unopened(chain) and not self._leaks(chain)]
        return _each(what for gate in gates[:1] for what in self._cautions(gate))

    def _cautions(self, gate: str) -> Iterator[str]:
        port = self._rules.tunnel_port
        for name in self._guests:
            yield from self._shut(name, gate)
            for step in self._passage(gate, name).takes:
                if Why.GRANT in step.why and Why.PORT not in step.why:
                    yield f"a rule opens more than port {port} to set {name}: {_name(step.rule)}"
        for chain in self._chains:
            for step in self._table.passage(str(chain["name"]), self._stranger).shuts:
                if step.verb == "reject":
                    seen = f"a rule answers strangers at port {port}, so they see that somebody is here"
                    yield f"{seen}: {_name(step.rule)}"

    @property
    def _dropping(self) -> list[str]:
        """Chains that drop what comes in, unless a rule says otherwise. One for NAT sees tracked packets only."""
        wanted = ("filter", "input", "drop")
        found = [(str(chain["name"]), tuple(map(chain.get, ("type", "hook", "policy")))) for chain in self._chains]
        return [name for name, of_kind in found if of_kind == wanted]

    def _passage(self, chain: str, name: str) -> Passage:
        return self._table.passage(chain, self._guests[name])

    def _unopened(self, chain: str) -> list[str]:
        """Sets that no rule opens the port to, not even one that is never come to."""
        return [
            f"port {self._rules.tunnel_port} is not opened to set {name}"
            for name in self._guests
            if not any(self._is_opening(step) for step in self._passage(chain, name).takes)
            and not self._is_opened_alone(chain, name)
        ]

    def _shut(self, name: str, gate: str) -> Iterator[str]:
        """Why nobody in set ``name`` gets in, although ``gate`` opens the port to it."""
        for chain in self._chains:
            passage = self._passage(str(chain["name"]), name)
            if passage.takes or (passage.falls and chain.get("policy", "accept") == "accept"):
                continue
            where = f"chain {chain['name']}" if passage.end is None else _name(passage.end)
            if chain["name"] == gate:
                yield f"a rule comes before the one that opens port {self._rules.tunnel_port} to set {name}: {where}"
            else:
                yield f"nothing that comes from set {name} gets through: {where}"

    def _is_opening(self, step: Step) -> bool:
        wanted = Why.GRANT | Why.PORT | (Why.USED_UP if self._rules.one_shot else Why.NOTHING)
        return step.verb == "accept" and step.why == wanted

    def _is_opened_alone(self, chain: str, name: str) -> bool:
        """Whether a rule of ``chain`` would open the port to set ``name`` if no other came before it."""
        alone = (Table((), [rule], {}) for rule in self._found if rule.get("chain") == chain)
        return any(self._is_opening(step) for table in alone for step in table.passage(chain, self._guests[name]).takes)

    def _leaks(self, gate: str) -> list[str]:
        """Rules that may let in a stranger, or somebody again whose grant is used up."""
        found = [self._hole(step) for step in self._table.passage(gate, self._stranger).takes]
        for name in self._guests if self._rules.one_shot else ():
            kept = [step for step in self._passage(gate, name).takes if Why.GRANT in step.why]
            found += [
                f"a rule lets set {name} in without using the grant up: {_name(step.rule)}"
                for step in kept
                if Why.USED_UP not in step.why
            ]
        return _each(found)

    def _hole(self, step: Step) -> str:
        asks = any(kind in ("match", "vmap") for kind, _ in statements(step.rule))
        if step.verb == "accept" and not asks:
            return f"a rule accepts everything: {_name(step.rule)}"
        return f"a rule may open port {self._rules.tunnel_port} to everybody: {_name(step.rule)}"

    def _own_doing(self) -> Iterator[str]:
        """Rules by which a packet changes who it is, or lets its sender in."""
        for rule in self._found:
            for kind, value in statements(rule):
                if not isinstance(value, dict):
                    continue
                if kind == "set" and value.get("op") in _FILLS and str(value.get("set"))[1:] in self._guests:
                    yield f"a rule lets a packet put its sender into set {str(value['set'])[1:]}: {_name(rule)}"
                if kind == "mangle" and _is_rewriting(value):
                    yield _rewrites(rule)
        for chain in self._chains:
            steps = self._table.passage(str(chain["name"]), self._stranger).takes if chain["hook"] == "input" else ()
            # Elsewhere nobody has been judged yet, or by another sender than he came with.
            yield from (_rewrites(step.rule) for step in steps if step.verb == "snat")


def _is_rewriting(mangle: Json) -> bool:
    """Whether the packet has another port or address behind this, so that no condition says anything of it."""
    key = mangle.get("key")
    payload = part(key, "payload") if isinstance(key, dict) else {}
    return bool(payload) and payload.get("field") not in _OF_NO_MATTER


def _rewrites(rule: Json) -> str:
    return f"a rule rewrites where a packet goes to or comes from: {_name(rule)}"


def _each(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _name(rule: Json) -> str:
    handle = f", handle {rule['handle']}" if "handle" in rule else ""
    return f"chain {rule.get('chain')}{handle}"
