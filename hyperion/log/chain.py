"""Builds the structlog chain that turns an event into a line. The only module that imports structlog; imported by
``hyperion.log.configure`` and by nobody else, because it costs 30 ms.
"""

import os
import sys

from hyperion import __version__
from hyperion.events import LogEvent
from hyperion.log.console import ConsoleRenderer, wants_colour
from hyperion.log.ecs import EcsRenderer
from hyperion.log.field import Value
from hyperion.log.stamp import Stamp

# structlog imports rich, if it finds it, for a console renderer that we do not use: 80 ms and 4.5 MB in every worker.
# A None in sys.modules makes exactly that import fail, which structlog is prepared for.
_hide_rich = "rich" not in sys.modules
if _hide_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    if _hide_rich:
        del sys.modules["rich"]


class EventLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with one verb."""

    def line(self, what: LogEvent, flat: dict[str, Value], message: str, level: str) -> bytes:
        """The event as one line, without its line end. ``flat`` and ``message`` are clean."""
        rendered: bytes = self._proxy_to_logger("msg", message, what=what, fields=flat, level=level)
        return rendered


def build(service: str, worker: str | None, *, form: str, terminal: bool) -> EventLogger:
    """A logger that returns lines; writing them is ``hyperion.log.writer``'s part. ``form`` as in ``configure``."""
    renderer: EcsRenderer | ConsoleRenderer
    if form == "console" or (form == "auto" and terminal):
        renderer = ConsoleRenderer(colour=wants_colour(os.environ, terminal=terminal))
    else:
        renderer = EcsRenderer(service, __version__, worker)
    return EventLogger(structlog.ReturnLogger(), [Stamp(), renderer], {})
