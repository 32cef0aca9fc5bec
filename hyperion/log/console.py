"""Renders an event as one line for a person: time, level, message, the caller's fields as ``key=value``.

Knows colours; whether to use them is ``hyperion.colour``'s. Values were cleaned before (``log.field``); here they are
quoted so that a value cannot pass for a further field. structlog's own console renderer would import rich: 4.5 MB and
80 ms in every process.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from hyperion.events import LogEvent
from hyperion.log.ecs import MAX_LINE_BYTES
from hyperion.log.field import Value

_RESET: Final = "\x1b[0m"
_COLOURS: Final = {
    "critical": "\x1b[1;31m",
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "notice": "\x1b[32m",
    "info": "\x1b[36m",
    "debug": "\x1b[2m",
}
#: Said by the line already or of no use at a terminal.
_HIDDEN: Final = frozenset({"event.start", "event.end"})
#: Characters that make quotes necessary.
_DELIMITERS: Final = frozenset(" =\"'[]{},")
_CUT: Final = b" [cut]"


class ConsoleRenderer:
    """Last processor of the chain: takes the event dictionary, gives one line of UTF-8 without its line end."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
        what: LogEvent = event_dict["what"]
        level: str = event_dict["level"]
        label = f"{level:<8}"
        if self._colour:
            label = f"{_COLOURS[level]}{label}{_RESET}"
        time_of_day = event_dict["timestamp"][11:]
        pairs = _pairs(event_dict["fields"])
        line = f"{time_of_day} {label} {event_dict['event']} {pairs}code={what.code}".encode()
        if len(line) > MAX_LINE_BYTES:
            line = line[: MAX_LINE_BYTES - len(_CUT)].decode(errors="ignore").encode() + _CUT
        return line


def _pairs(fields: Mapping[str, Value]) -> str:
    return "".join(
        f"{_quote(key.removeprefix('hyperion.').removeprefix('event.'))}={_format(value)} "
        for key, value in fields.items()
        if key not in _HIDDEN
    )


def _format(value: Value) -> str:
    return _quote(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _quote(text: str) -> str:
    if text and _DELIMITERS.isdisjoint(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
