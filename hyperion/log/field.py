"""Makes any value fit for a log line: short, printable, and never a ``repr`` that could show a secret.

Knows nothing of schemas or streams. All strings are treated as written by an attacker: a key's name in a
configuration, an exception's text, a host name. What is not printable becomes visible text (``\\x1b``), in JSON as
well, because sooner or later somebody decodes the line onto a terminal. The escape is for eyes: a backslash is not
doubled, so it cannot be reversed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeGuard

#: Longest string value, characters. A name, a path or an error's text fits; 1 MiB from a peer does not.
MAX_TEXT_CHARS: Final = 256
#: Most characters of one stack: 16 frames of about 80.
MAX_STACK_CHARS: Final = 1_280
#: Longest dotted key, characters: twice the longest of our own.
MAX_KEY_CHARS: Final = 80
#: Most leaves in one line: four times the richest event.
MAX_FIELDS: Final = 64
#: Most elements shown of a list.
MAX_ITEMS: Final = 32
#: Deepest nesting of mappings and lists inside one value.
MAX_DEPTH: Final = 4
#: Integers beyond a signed 64-bit ``long`` break the index of a SIEM.
MAX_INTEGER: Final = 2**63 - 1

#: Types that nearly all values have: asking an abstract class about them would cost more than all the rest.
_PLAIN: Final = frozenset({str, int, float, bool})

Scalar = str | int | float | bool | None
Value = Scalar | list["Value"]
#: Values of a series of lines. (None only on the way: it is left out of a line.)
Numbers = tuple[int | None, ...]


def clean_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """``text`` in printable characters (no C0, C1, DEL, U+2028, surrogates), cut to ``limit`` and marked if longer."""
    if len(text) <= limit and text.isprintable():
        return text
    kept = "".join(char if char.isprintable() else _escape(char) for char in text[:limit])
    if len(text) <= limit and len(kept) <= limit:
        return kept
    return f"{kept[:limit]}[cut from {len(text)} chars]"


def flatten(fields: Mapping[str, object]) -> dict[str, Value]:
    """Dotted keys with clean values. Mappings inside become dotted keys, ``None`` is left out, a surplus is counted."""
    flat: dict[str, Value] = {}
    omitted = _flatten("", fields, flat, MAX_DEPTH)
    if omitted:
        flat["hyperion.log.fields_omitted"] = omitted
    return flat


def _flatten(prefix: str, fields: Mapping[str, object], flat: dict[str, Value], depth: int) -> int:
    """Fill ``flat``; the number of fields for which there was no room."""
    omitted = 0
    for name, value in fields.items():
        if _is_plain(value) and type(name) is str and not prefix and len(flat) < MAX_FIELDS:
            flat[_clean_key(name)] = value  # nearly every field comes this way, so it comes first
            continue
        if value is None:
            continue
        key = _clean_key(prefix + name if isinstance(name, str) else f"{prefix}<{type(name).__name__}>")
        if type(value) not in _PLAIN and isinstance(value, Mapping) and depth:
            omitted += _flatten(key + ".", value, flat, depth - 1)
        elif len(flat) >= MAX_FIELDS and key not in flat:
            omitted += 1
        elif key == "error.stack_trace" and isinstance(value, str):
            flat[key] = clean_text(str.__str__(value), MAX_STACK_CHARS)
        else:
            flat[key] = clean_value(value, depth)
    return omitted


def _is_plain(value: object) -> TypeGuard[Scalar]:
    """Fit for a line as it is: a short printable text or a number that any index takes."""
    if type(value) is str:
        return len(value) <= MAX_TEXT_CHARS and value.isprintable()
    return type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER


def clean_value(value: object, depth: int = MAX_DEPTH) -> Value:
    """``value`` if it is text, number, truth or a list of such; else its type's name. No ``repr`` is ever asked."""
    if isinstance(value, str):
        # The plain text of a subclass (an enum), not what its methods make of it.
        return clean_text(value if type(value) is str else str.__str__(value))
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else f"<int of {value.bit_length()} bits>"
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple) and depth:
        return _clean_items(value, depth - 1)
    return f"<{clean_text(type(value).__name__, MAX_KEY_CHARS)}>"


def _clean_items(items: Sequence[object], depth: int) -> list[Value]:
    cleaned = [clean_value(item, depth) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        cleaned.append(f"[+{len(items) - MAX_ITEMS} items]")
    return cleaned


@lru_cache(maxsize=512)  # our own keys, about 100; a mapping of foreign keys may turn it over but not grow it
def _clean_key(key: str) -> str:
    return clean_text(key, MAX_KEY_CHARS)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
