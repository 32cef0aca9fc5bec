"""The way back: a whole ruleset, or one table, as it was. Pure text, for ``apply-firewall``.

Knows which parts of nft's listing run on by themselves (counters, the time that elements have left), so that two
listings can be compared byte for byte. Knows nothing of how they are taken (``nft list ruleset``).
"""

import re

from hyperion.firewall.ruleset import check_name, remove_text

#: How nft lists what only iptables' own program can load again: ``xt match NAME``. Older versions wrote a comment,
#: which nothing else in a listing is.
_FOREIGN = re.compile(r"\bxt (?:match|target) |^\s*#", re.MULTILINE)
#: Counters, and the time that elements have left.
_RUNNING = (
    (re.compile(r"\bcounter packets \d+ bytes \d+"), "counter"),
    (re.compile(r" expires (?:\d+(?:ms|[dhms]))+"), ""),
)


def can_be_restored(ruleset: str) -> bool:
    """Whether nft can load all of this listing again. What iptables-nft made it cannot: then use
    ``restore_table_text``, which touches no other table. Ask nft as well (``Backend.check(restore_text(...))``)."""
    return _FOREIGN.search(ruleset) is None


def restore_text(ruleset: str) -> str:
    """One transaction that makes the whole ruleset what ``nft list ruleset`` had shown, with its counters and with the
    time its elements had left then."""
    return "flush ruleset\n" + ruleset


def restore_table_text(table: str, listing: str | None) -> str:
    """One transaction that makes the table ``inet table`` what ``nft list table inet NAME`` had shown; ``None``: there
    was none. Raises ``ConfigError`` for a bad name."""
    check_name("table", table)
    return remove_text(table) + (listing or "")


def comparable(ruleset: str) -> str:
    """The listing without what runs on by itself. Equal texts: byte for byte the same rules, sets and elements.

    Elements come in the kernel's own order, which differs from load to load, so they are sorted.
    """
    for pattern, replacement in _RUNNING:
        ruleset = pattern.sub(replacement, ruleset)
    return re.sub(r"elements = \{(.*?)\}", _sorted_elements, ruleset, flags=re.S)


def _sorted_elements(match: re.Match[str]) -> str:
    elements = sorted(" ".join(element.split()) for element in match[1].split(","))
    return f"elements = {{ {', '.join(elements)} }}"
