"""What an operator keeps in named sets and maps of the gate's table, so that it can be put back. Pure: nft's text.

Rules that name a set without its elements do nothing, or lock somebody out. Only what stays is kept: elements with a
time, and those that count connections, come and go by themselves. Knows nothing of our grants (``ruleset``).
"""

import re
from collections.abc import Iterable, Mapping

from hyperion.firewall.ruleset import Ruleset
from hyperion.firewall.snapshot import lasting_elements

#: ``set`` or ``map``, and the name.
Place = tuple[str, str]
Elements = Mapping[Place, tuple[str, ...]]

_HEAD = re.compile(r"^\t(set|map) (\S+) \{", re.MULTILINE)


def own_sets(rules: Ruleset) -> frozenset[str]:
    """The names of the sets that ``print-firewall`` makes."""
    return frozenset((rules.set, rules.set6, f"{rules.set}_connections", f"{rules.set6}_connections"))


def foreign_places(listing: str, rules: Ruleset) -> list[Place]:
    """Sets and maps in a listing of the table that are none of ours."""
    return [(kind, name) for kind, name in _HEAD.findall(listing) if name not in own_sets(rules)]


def lasting(listings: Iterable[tuple[Place, str]]) -> Elements:
    """What stays in each, of which there is a listing with elements."""
    return {place: lasting_elements(listing) for place, listing in listings}


def elements_text(table: str, elements: Elements) -> str:
    """Adds them to a table ``inet table`` that has these sets and maps, all empty."""
    return "".join(
        f"add element inet {table} {name} {{ {', '.join(found)} }}\n" for (_, name), found in elements.items() if found
    )
