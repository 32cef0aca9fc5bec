"""A status that stays on the screen and is true each second. The only place that loads rich.

Knows the screen. Refuses to know what the lines say: they are those of the status without ``--watch``.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hyperion.cli.style import Line, Tone, piece, wants_color
from hyperion.errors import TemporaryError

#: rich's names for the colours of ``style``.
_STYLES: dict[Tone, str] = {"good": "green", "warn": "yellow", "bad": "bold red", "dim": "dim", "bold": "bold"}

#: Seconds between two looks at something that begins.
LOOK_SECONDS = 0.1

Status = TypeVar("Status")


def text_of(lines: Sequence[Line]) -> Text:
    """The lines for rich; nothing in them is taken for markup."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, line in enumerate(lines):
        if number:
            text.append("\n")
        for item in line:
            text.append(item.text, style=_STYLES.get(item.tone, ""))
    return text


def make_console() -> Console:
    """Of standard output, coloured as the environment wants it."""
    return Console(no_color=not wants_color(), highlight=False, emoji=False, markup=False)


def watch_terminal(
    look: Callable[[], Status],
    render: Callable[[Status, int], list[Line]],
    interval: float,
    *,
    turns: int | None = None,
) -> int:
    """Until Ctrl-C, which is raised on; the screen is as before then. ``turns``: looks, for tests; 0 is returned."""
    console = make_console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        turn = 0
        while turns is None or turn < turns:
            turn += 1
            try:
                lines = render(look(), console.width)
            except TemporaryError as error:  # it is overloaded, or just ending: the next look knows more
                lines = [_note(str(error))]
            clock = time.strftime("%H:%M:%S", time.localtime())
            footer = _note(f"{clock}, every {interval:g} s; Ctrl-C ends this")
            live.update(text_of([*fitting(lines, console.height - 2), [], footer]), refresh=True)
            time.sleep(interval)
    return 0


def watch_until(
    look: Callable[[], Status],
    render: Callable[[Status, int], list[Line]],
    done: Callable[[Status], bool],
    seconds: float,
) -> Status:
    """A live picture below the cursor until ``done``, or for so long; it is gone afterwards. Returns the last look."""
    console = make_console()
    deadline = time.monotonic() + seconds
    with Live(console=console, transient=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            status = look()
            # One row less than there are: a picture as high as the screen cannot be taken away again.
            lines = fitting(render(status, console.width), console.height - 1)
            live.update(text_of(lines), refresh=True)
            if done(status) or time.monotonic() >= deadline:
                return status
            time.sleep(LOOK_SECONDS)


def fitting(lines: Sequence[Line], height: int) -> list[Line]:
    """As many as the screen has rows for; the last one says how many are missing."""
    if len(lines) <= height:
        return list(lines)
    shown = max(height - 1, 0)
    return [*lines[:shown], _note(f"and {len(lines) - shown} more lines: enlarge the window, or name some servers")]


def _note(text: str) -> Line:
    return [piece(text, "dim")]
