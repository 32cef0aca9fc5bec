"""Builds the structlog chain that turns an event into a line. The only module that imports structlog; imported by
``hyperion.log.configure`` and by nobody else, because it costs 30 ms.
"""

import os
import sys
from collections.abc import Callable

from hyperion import __version__
from hyperion.colour import wants_colour
from hyperion.events import LogEvent
from hyperion.log.console import ConsoleRenderer
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

    def series(
        self,
        what: LogEvent,
        fixed: dict[str, Value],
        names: tuple[str, ...],
        message: str,
        level: str,
        put: Callable[[bytes], None],
        prefix: bytes,
    ) -> Callable[..., None] | None:
        """What puts the line of an event, made out of the values of ``names``. None if this form of the log cannot.

        It bypasses structlog's processors: what they would make of the event is in the template.
        """
        stamp, renderer = self._processors
        if not isinstance(stamp, Stamp) or not isinstance(renderer, EcsRenderer):
            return None
        template = renderer.template(what, level, message, fixed, names)
        if template is None:
            return None
        form, order = prefix.replace(b"%", b"%%") + template.numbers, template.order
        now, number = stamp.now_bytes, stamp.next_number

        def put_line(*values: int) -> None:
            holes = (now(), number(), *values)
            put(form % tuple([holes[index] for index in order]))

        return put_line


def build(service: str, worker: str | None, *, form: str, terminal: bool) -> EventLogger:
    """A logger that returns lines; writing them is ``hyperion.log.writer``'s part. ``form`` as in ``configure``."""
    renderer: EcsRenderer | ConsoleRenderer
    if form == "console" or (form == "auto" and terminal):
        renderer = ConsoleRenderer(colour=wants_colour(os.environ, terminal=terminal))
    else:
        renderer = EcsRenderer(service, __version__, worker)
    return EventLogger(structlog.ReturnLogger(), [Stamp(), renderer], {})
