"""``nft`` as a trial uses it, in memory: our table and one of somebody else."""

import json

from hyperion.firewall.nft import FirewallError, NoSuchObjectError

THEIRS = "table ip theirs {\n\tchain c {\n\t\taccept\n\t}\n}\n"
NEW = "table inet hyperion {\n\tchain input {\n\t\tnew\n\t}\n}\n"
OLD = "table inet hyperion {\n\tset knock_allow {\n\t\ttype ipv4_addr\n\t}\n\tchain input {\n\t\told\n\t}\n}\n"


class FakeNftProgram:
    """``ours`` is the listing of our table; loading a ruleset makes it ``NEW``. ``fault`` is raised by ``load``, once
    it has done its work if ``late``. ``undone_by``: loads that somebody else makes undone at once."""

    name = "nft"

    def __init__(self, ours: str | None = None) -> None:
        self.ours = ours
        self.theirs = THEIRS
        self.loads: list[str] = []
        self.checks: list[str] = []
        self.fault: FirewallError | None = None
        self.check_fault: FirewallError | None = None
        self.late = False
        self.undone_by = 0

    def load(self, commands: str) -> None:
        if self.fault is not None and not self.late:
            raise self.fault
        self.loads.append(commands)
        before = self.ours
        if "\ndelete table inet hyperion" in commands:
            self.ours = None
        elif "\told\n" in commands:
            self.ours = OLD
        else:
            self.ours = NEW
        if self.undone_by > 0 and before == NEW:
            self.undone_by -= 1
            self.ours = before
        if self.fault is not None:
            raise self.fault

    def check(self, commands: str) -> None:
        self.checks.append(commands)
        if self.check_fault is not None:
            raise self.check_fault

    def list_whole(self, *what: str) -> str:
        return (self.ours or "") + self.theirs

    def list_json(self, *what: str) -> str:
        if self.ours is None:
            raise NoSuchObjectError("table")
        sets = [{"set": {"name": name}} for name in ("knock_allow", "trusted") if name in self.ours]
        return json.dumps({"nftables": [*sets, {"chain": {"name": "input"}}]})
