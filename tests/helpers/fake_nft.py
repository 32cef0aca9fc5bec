"""nftables as the gate sees it, in memory: one table, its grants, and a memory of what was loaded."""

import json
import re
from typing import Any

from hyperion.firewall.nft import FirewallError, NoSuchObjectError
from hyperion.firewall.ruleset import Ruleset

_FILL = re.compile(r"add element inet \w+ (\w+) \{ (.*) \}")
_ADD = re.compile(r"add element inet \w+ \w+ \{ (\S+) timeout (\d+)ms \}")
_DELETE = re.compile(r"delete element inet \w+ \w+ \{ (\S+) \}")


class FakeNft:
    """A backend. ``now`` is its clock in seconds, ``fault`` what every call raises, ``table`` what is loaded."""

    name = "fake"

    def __init__(self, rules: Ruleset) -> None:
        self.rules = rules
        self.now = 1_000.0
        self.fault: FirewallError | None = None
        self.table: str | None = None
        self.until: dict[str, float] = {}
        #: What is in sets of the operator, in nft's words.
        self.foreign: dict[str, str] = {}
        #: The kernel's number of the table: another one each time that it is made.
        self.handle = 1
        self.loads: list[str] = []
        self.objects = objects(rules)
        #: What is listed once something was loaded, if that differs.
        self.objects_after_load: list[dict[str, Any]] | None = None

    def clock(self) -> float:
        return self.now

    def load(self, commands: str) -> None:
        self._fail()
        self.loads.append(commands)
        self.objects = self.objects_after_load or self.objects
        table: list[str] = []
        for line in commands.splitlines():
            if line.startswith("delete table"):
                self.table, self.until, self.foreign = None, {}, {}
                self.handle += 1
                table.clear()
            elif match := _ADD.fullmatch(line):
                self._needs_table()
                self.until.setdefault(match[1], self.now + int(match[2]) / 1_000)
            elif match := _FILL.fullmatch(line):
                self.foreign[match[1]] = match[2]
            elif match := _DELETE.fullmatch(line):
                if self.until.pop(match[1], None) is None:
                    raise NoSuchObjectError("element")
            else:
                table.append(line)
                self.table = "\n".join(table)

    def check(self, commands: str) -> None:
        self._fail()

    def list_text(self, *what: str, handles: bool = False) -> str:
        self._fail()
        text = self._needs_table()
        return re.sub(r"^(table inet \w+ \{)$", rf"\1 # handle {self.handle}", text, flags=re.M) if handles else text

    def list_whole(self, *what: str) -> str:
        self._fail()
        self._needs_table()
        elements = self.foreign.get(what[-1])
        return f"table inet x {{\n\tset {what[-1]} {{\n" + (f"\t\telements = {{ {elements} }}\n" if elements else "")

    def list_json(self, *what: str) -> str:
        self._fail()
        self._needs_table()
        alive = {source: until for source, until in self.until.items() if until > self.now}
        elements = {
            version: [
                {"elem": {"val": source, "timeout": 60, "expires": int(until - self.now)}}
                for source, until in alive.items()
                if (":" in source) == (version == "6")
            ]
            for version in ("", "6")
        }
        wanted = what[-1] if what[0] == "set" else None
        found = [
            {"set": {**item["set"], "elem": elements["6" if item["set"]["name"].endswith("6") else ""]}}
            if item.get("set", {}).get("name") in (self.rules.set, self.rules.set6)
            else item
            for item in self.objects
        ]
        return json.dumps({"nftables": [item for item in found if wanted in (None, item.get("set", {}).get("name"))]})

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    def _needs_table(self) -> str:
        if self.table is None:
            raise NoSuchObjectError("table")
        return self.table


def objects(rules: Ruleset) -> list[dict[str, Any]]:
    """What nft lists of a gate, without its elements and the rules that do not matter to who reads it."""
    sets = ((rules.set, "ipv4_addr"), (rules.set6, "ipv6_addr"))
    return [
        *({"set": {"name": name, "type": kind, "flags": ["timeout"]}} for name, kind in sets),
        {"chain": {"name": "input", "type": "filter", "hook": "input", "policy": "drop"}},
        *(opening_rule(rules, name) for name, _ in sets),
    ]


def opening_rule(rules: Ruleset, name: str) -> dict[str, Any]:
    consume = [{"set": {"op": "delete", "set": f"@{name}"}}] if rules.one_shot else []
    expressions = [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": rules.tunnel_port}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": f"@{name}"}},
        *consume,
        {"counter": {"packets": 0, "bytes": 0}},
        {"accept": None},
    ]
    return {"rule": {"chain": "input", "comment": "who knocked may connect", "expr": expressions}}
