"""The way back: one table as it was, in its old place among the others. Pure text, for the trial of a ruleset.

Knows which parts of nft's listing run on by themselves: counters, and the time that elements have left. They are set
aside where two listings are compared, and the time that has passed is taken off where a listing is loaded again, so
that nobody's grant lives longer because of it. Knows nothing of how listings are taken (``nft list ruleset``).
"""

import re
from collections.abc import Callable, Iterator

from hyperion.firewall.contents import empty_text
from hyperion.firewall.ruleset import check_name, remove_text

#: How nft lists what only iptables' own program can load again: ``xt match NAME``. Older versions wrote a comment,
#: which nothing else in a listing is.
_FOREIGN = re.compile(r"\bxt (?:match|target) |^\s*#", re.MULTILINE)
_COUNTER = re.compile(r"\bpackets \d+ bytes \d+")
_USED = re.compile(r"\bused \d+ \w+")
_EXPIRES = re.compile(r" expires ((?:\d+(?:ms|[dhms]))+)")
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_ELEMENTS = re.compile(r"^\t+elements = \{", re.MULTILINE)
#: Elements that come and go by themselves: the ones with a time, and the ones that count connections.
_LIVING = re.compile(r" expires | ct count ")
#: nft quotes comments and prefixes; there is no escape in them.
_TOKEN = re.compile(r'"[^"]*"|[{},]')


def can_be_restored(listing: str) -> bool:
    """Whether nft can load all of this listing again; what iptables-nft made it cannot."""
    return _FOREIGN.search(listing) is None


def table_of(ruleset: str, table: str) -> str | None:
    """The listing of ``inet table`` out of that of the whole ruleset; ``None`` if there is none."""
    start = re.search(rf"^table inet {re.escape(table)} \{{.*\n", ruleset, re.MULTILINE)
    if start is None:
        return None
    end = re.compile(r"^\}\n?", re.MULTILINE).search(ruleset, start.end())
    return ruleset[start.start() : end.end() if end else len(ruleset)]


def restore_text(table: str, before: str | None, now: str | None, elapsed: float) -> str:
    """One transaction that makes the table ``inet table`` what its listing ``before`` showed ``elapsed`` seconds ago.

    ``now`` is nft's JSON of what it is now; ``None``, each time, stands for no table. Raises ``ConfigError`` for a bad
    name, and as ``empty_text``.
    """
    check_name("table", table)
    if before is None:
        return remove_text(table)
    emptied = "" if now is None else empty_text(table, now)
    return f"table inet {table}\n{emptied}{aged(before, elapsed)}"


def aged(listing: str, elapsed: float) -> str:
    """The listing as it would be after so many seconds: elements have less time left, and who had no more is gone."""
    passed = round(elapsed * 1_000)

    def older(element: str) -> str | None:
        match = _EXPIRES.search(_unquoted(element))
        if match is None:
            return element
        left = _milliseconds(match[1]) - passed
        return f"{element[: match.start(1)]}{left}ms{element[match.end(1) :]}" if left > 0 else None

    return _with_elements(listing, lambda found: [new for one in found if (new := older(one)) is not None])


def comparable(listing: str, *, living: bool = True) -> str:
    """The listing without what runs on by itself. Equal texts: byte for byte the same rules, sets and elements.

    Elements come in the kernel's own order, which differs from load to load, so they are sorted. Without ``living``
    also those are left out that come and go: the ones with a time, and the ones that count connections.
    """

    def kept(elements: list[str]) -> list[str]:
        alive = elements if living else [one for one in elements if not _LIVING.search(_unquoted(one))]
        return sorted(_EXPIRES.sub("", " ".join(one.split())) for one in alive)

    text = _with_elements(listing, kept)
    return _USED.sub("used", _COUNTER.sub("packets bytes", text))


def lasting_elements(listing: str) -> tuple[str, ...]:
    """The elements in a listing of one set or map that stay until somebody takes them out, counters at nothing."""
    found = (" ".join(one.split()) for _, _, elements in _element_lists(listing) for one in elements)
    return tuple(sorted(_without_counts(one) for one in found if not _LIVING.search(_unquoted(one))))


def _with_elements(listing: str, change: Callable[[list[str]], list[str]]) -> str:
    """The listing with each list of elements changed; a list without any left goes."""
    parts, position = [], 0
    for start, end, elements in _element_lists(listing):
        changed = change(elements)
        parts.append(listing[position:start])
        if changed:
            parts.append(f"\t\telements = {{ {', '.join(changed)} }}\n")
        position = end
    return "".join((*parts, listing[position:]))


def _element_lists(listing: str) -> Iterator[tuple[int, int, list[str]]]:
    """Where each list of elements begins and ends, with its line's end, and what is in it."""
    for head in _ELEMENTS.finditer(listing):
        elements, begin = [], head.end()
        for token in _TOKEN.finditer(listing, head.end()):
            if token[0] not in ",}":
                continue
            elements.append(listing[begin : token.start()].strip())
            begin = token.end()
            if token[0] == "}":
                yield head.start(), begin + 1, elements
                break


def _unquoted(element: str) -> str:
    """As long as ``element``, but with nothing to be found in its quotes."""
    return re.sub(r'"[^"]*"', lambda quoted: "_" * len(quoted[0]), element)


def _without_counts(element: str) -> str:
    match = _COUNTER.search(_unquoted(element))
    return f"{element[: match.start()]}packets 0 bytes 0{element[match.end() :]}" if match else element


def _milliseconds(duration: str) -> int:
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", duration))
