"""How text looks on a terminal, and when it may look like anything at all.

Knows tones (``good``, ``warn``, ``bad``, ``dim``) and their colours; what the environment says about colour is
``hyperion.colour``'s. Refuses to know what is shown.
"""

import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from hyperion.colour import wants_colour
from hyperion.errors import one_line

Tone = Literal["", "good", "warn", "bad", "dim", "bold"]

#: Select Graphic Rendition, as ECMA-48 has it. The sixteen old colours: the user's theme decides how they look.
_SGR: Mapping[Tone, str] = {"good": "32", "warn": "33", "bad": "31;1", "dim": "2", "bold": "1"}


class Piece(NamedTuple):
    """Some text in one tone."""

    text: str
    tone: Tone = ""


Line = Sequence[Piece]


def piece(text: object, tone: Tone = "") -> Piece:
    """Whatever it is, on one line: words of a peer must not command a terminal."""
    return Piece(one_line(str(text)), tone)


def is_terminal() -> bool:
    """Whether a person most likely watches standard output, on something that can move its cursor."""
    out = sys.stdout
    return out is not None and out.isatty() and os.environ.get("TERM") != "dumb"


def wants_color(environ: Mapping[str, str] | None = None, *, terminal: bool | None = None) -> bool:
    """Whether to colour standard output."""
    return wants_colour(
        os.environ if environ is None else environ, terminal=is_terminal() if terminal is None else terminal
    )


def terminal_width() -> int | None:
    """Columns of the terminal that is written to; ``None`` without one: then nothing is left out."""
    if not is_terminal():
        return None
    # Here, because it loads every kind of archive that there is.
    import shutil  # noqa: PLC0415

    return shutil.get_terminal_size().columns


def paint(line: Line, *, color: bool) -> str:
    """The line as it is printed, without blanks at its end."""
    if not color:
        return "".join(item.text for item in line).rstrip()
    return "".join(
        f"\x1b[{_SGR[item.tone]}m{item.text}\x1b[0m" if item.tone and item.text.strip() else item.text for item in line
    ).rstrip()


def width(text: str) -> int:
    """Columns that ``text`` takes: two for wide characters, none for those that combine with the one before."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def pad(item: Piece, columns: int) -> Piece:
    """The piece, at least so wide."""
    return Piece(item.text + " " * (columns - width(item.text)), item.tone)


def columns(header: Sequence[str], rows: Iterable[Sequence[Piece]], *, limit: int | None, keep: int) -> list[Line]:
    """Header and rows, padded. Columns that do not fit into ``limit`` are left out from the right, never the first
    ``keep``."""
    table = [[Piece(title, "dim") for title in header], *[list(row) for row in rows]]
    widths = [max(width(row[place].text) for row in table) for place in range(len(header))]
    shown = len(header)
    while limit is not None and shown > keep and sum(widths[:shown]) + 2 * (shown - 1) > limit:
        shown -= 1
    lines: list[Line] = []
    for row in table:
        line: list[Piece] = []
        for place, item in enumerate(row[:shown]):
            line += [pad(item, widths[place]), Piece("  ")]
        lines.append(line)
    return lines
