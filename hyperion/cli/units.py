"""Numbers as people read them: durations, bytes, milliseconds, lists of ports.

Knows nothing else.
"""

from collections.abc import Sequence

#: What is shown where there is nothing to show.
NOTHING = "-"

#: Ports that are listed before the rest is only counted.
SHOWN_PORTS = 6

_SECONDS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")


def duration(seconds: float | None) -> str:
    """The two largest units: ``2 h 5 min``, ``42 s``, ``0.3 s`` below ten; never negative: clocks jump."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = int(seconds), []
    for unit, size in _SECONDS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def volume(count: int | None) -> str:
    """Bytes with three digits or so: ``0 B``, ``1.2 MB``. A kilobyte is 1,000."""
    if count is None:
        return NOTHING
    number, place = float(count), 0
    while number >= 999.5 and place < len(_BYTES) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.0f} {_BYTES[place]}" if place == 0 or number >= 99.95 else f"{number:.1f} {_BYTES[place]}"


def milliseconds(value: float | None) -> str:
    """``0.21 ms``, ``12.3 ms``, ``412 ms``."""
    if value is None:
        return NOTHING
    digits = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def skew(value_ms: int | None) -> str:
    """How far another clock is ahead, in seconds: ``+0.1 s``."""
    if value_ms is None:
        return NOTHING
    tenths = round(value_ms / 100)
    return f"{tenths / 10:+.1f} s" if tenths else "0.0 s"


def ports(numbers: Sequence[int] | None) -> str:
    """``22,443``; many are cut; an empty list is ``none``."""
    if numbers is None:
        return NOTHING
    if not numbers:
        return "none"
    shown = ",".join(str(number) for number in numbers[:SHOWN_PORTS])
    more = len(numbers) - SHOWN_PORTS
    return f"{shown} and {more} more" if more > 0 else shown


def count(number: int, what: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
