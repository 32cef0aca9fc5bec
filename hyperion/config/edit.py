"""Edits of a configuration file: one section more, one less. Pure: text goes in, text comes out.

Every other byte stays, comments above all. tomlkit writes what is new, but does not remove: it takes a comment for the
end of the section above it, where people put it on top of the section below. So sections are found here, line by line.

A file that holds such sections as a list of inline tables is left to a person.
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any

import tomlkit

from hyperion.errors import ConfigError

#: A string of any kind (so that nothing in it is taken for a heading), a comment, or a heading at the start of a line.
_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|^[ \t]*(?P<open>\[\[?)[ \t]*(?P<name>[^\]\n]*?)[ \t]*\]"
    r"|#[^\n]*",
    re.DOTALL | re.MULTILINE,
)


def add_section(text: str, kind: str, values: dict[str, Any]) -> str:
    """``text`` with one more ``[[kind]]`` at its end. Raises ``ConfigError`` if that is not possible in this file."""
    before = _tables(text)
    section = tomlkit.dumps({kind: [values]}).strip("\n") + "\n"
    newline = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else newline if text.endswith("\n") else newline * 2
    result = text + gap + section.replace("\n", newline)
    return _proven(result, before | {kind: [*before.get(kind, []), values]}, kind)


def remove_sections(text: str, kind: str, key: str, value: str) -> str:
    """``text`` without each ``[[kind]]`` whose ``key`` is ``value``, and without the comment on top of it. Raises
    ``ConfigError`` if that is not possible in this file."""
    before = _tables(text)
    if kind not in before:
        return text
    lines = _lines(text)
    _cut(lines, before, kind, lambda each: each[key] == value)
    left = [each for each in before[kind] if each[key] != value]
    expected = {name: table for name, table in before.items() if name != kind} | ({kind: left} if left else {})
    rest = "".join(lines)
    # Not more blank lines at the end than there were.
    return _proven(rest if text.endswith(("\n\n", "\n\r\n")) else _one_newline(rest), expected, kind)


def remove_from_list(text: str, section: str, key: str, value: str) -> str:
    """``text`` without ``value`` in the list ``key`` of ``[section]``. Raises ``ConfigError`` as the others."""
    before = _tables(text)
    document = tomlkit.parse(text)
    items: Any = document[section][key]
    for place in reversed([place for place, each in enumerate(items) if each == value]):
        del items[place]
    left = [each for each in before[section][key] if each != value]
    return _proven(tomlkit.dumps(document), before | {section: before[section] | {key: left}}, section)


def _one_newline(text: str) -> str:
    stripped = text.rstrip("\r\n")
    return text[: len(stripped)] + ("\r\n" if text[len(stripped) :].startswith("\r") else text[len(stripped) :][:1])


def _cut(lines: list[str], tables: dict[str, Any], kind: str, goes: Callable[[dict[str, Any]], bool]) -> None:
    """Empties the lines of each ``[[kind]]`` that ``goes``."""
    headings = _headings("".join(lines))
    starts = [line for line, name in headings if name == kind]
    if len(starts) != len(tables.get(kind, [])):
        raise _left_to_a_person(kind)
    following = [line for line, _ in headings] + [len(lines)]
    for start, table in zip(starts, tables.get(kind, []), strict=True):
        if goes(table):
            first, end = _top(lines, start), next(line for line in following if line > start)
            for line in range(first, _bottom(lines, start, end)):
                lines[line] = ""


def _top(lines: list[str], heading: int) -> int:
    """The first line of the comment directly on top of a heading; the heading itself if there is none."""
    top = heading
    while top > 0 and _is_comment(lines[top - 1]):
        top -= 1
    # A comment that goes on directly below a value belongs to that value's section.
    above = lines[top - 1].strip() if top > 0 else ""
    return heading if above and not above.startswith("[") else top


def _bottom(lines: list[str], heading: int, end: int) -> int:
    """The line behind a section whose last line is before ``end``: behind its last value, the comments that go on
    directly below it, and the blank lines after that. What comes then is on top of the next section, or at the end."""
    bottom = 1 + max(line for line in range(heading, end) if lines[line].strip() and not _is_comment(lines[line]))
    while bottom < end and _is_comment(lines[bottom]):
        bottom += 1
    while bottom < end and not lines[bottom].strip():
        bottom += 1
    return bottom


def _lines(text: str) -> list[str]:
    """As TOML counts them. ``splitlines`` also ends one at U+0085 or U+2028, letters like any other there."""
    return text.splitlines(keepends=True) if text.isascii() else re.findall(r"[^\n]*\n|[^\n]+", text)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _headings(text: str) -> list[tuple[int, str]]:
    """Line (0-based) and name of each heading; the name is empty for ``[section]``."""
    found = []
    for piece in _PIECE.finditer(text):
        if piece["open"] is not None:
            name = piece["name"].strip("\"'") if piece["open"] == "[[" else ""
            found.append((text.count("\n", 0, piece.start()), name))
    return found


def _tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix("\ufeff"))


def _proven(text: str, expected: dict[str, Any], kind: str) -> str:
    """``text``, if it says what it should."""
    try:
        found: dict[str, Any] | None = _tables(text)
    except tomllib.TOMLDecodeError:
        found = None
    if found != expected:
        raise _left_to_a_person(kind)
    return text


def _left_to_a_person(kind: str) -> ConfigError:
    return ConfigError(
        f"the file is written in a way that this command cannot edit: expected each {kind} under its own [[{kind}]]",
        hint="edit it by hand",
    )
