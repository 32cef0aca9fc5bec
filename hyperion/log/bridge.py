"""Carries what libraries say through the standard library's ``logging`` (asyncio, mostly) into our own log.

Only the first line of the unformatted text goes over: arguments and the lines below it are ``repr`` of objects at work.
"""

import logging
from collections.abc import Callable
from typing import Final

from hyperion.events import Level

_LEVELS: Final[dict[int, Level]] = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "critical"}


#: Takes the logger's name, the text, the level and the exception.
Forward = Callable[[str, str, Level, BaseException | None], None]


def attach(forward: Forward) -> Callable[[], None]:
    """Hand warnings and worse of all libraries to ``forward``, until the returned function is called."""
    root, handler = logging.getLogger(), _LibraryHandler(forward)
    root.addHandler(handler)
    return lambda: root.removeHandler(handler)


class _LibraryHandler(logging.Handler):
    def __init__(self, forward: Forward) -> None:
        super().__init__(logging.WARNING)
        self._forward = forward

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: ``logging`` calls it from wherever a library stands."""
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        level = _LEVELS.get(record.levelno // 10 * 10, "error")
        exception = record.exc_info[1] if record.exc_info else None
        self._forward(record.name, text.partition("\n")[0], level, exception)
