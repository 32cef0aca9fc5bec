"""The face of the log: ``configure`` once a process, then ``event``.

Knows the level and whether there is a log at all. What an event is called stands in ``hyperion.events``, how a line
looks in ``log.ecs`` and ``log.console``, how it leaves in ``log.writer``. Before ``configure`` and after ``close``,
events vanish.

A process that forks calls ``configure`` in the child: the writer is a thread, and threads do not survive a fork. The
thread keeps the rights its process had when it started, so give up privileges before ``configure``. Processes that end
through ``os._exit`` (children of ``multiprocessing``) call ``close`` themselves: no exit handler runs there.
"""

import atexit
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from hyperion.events import LIBRARY_MESSAGE, LOG_DROPPED, SEVERITIES, Level, LogEvent
from hyperion.log.fault import error_fields
from hyperion.log.field import Numbers, clean_text, flatten
from hyperion.log.writer import LineWriter

if TYPE_CHECKING:  # at run time it would import structlog
    from hyperion.log.chain import EventLogger

__all__ = ["Series", "close", "configure", "enabled", "error_fields", "event", "flush"]

#: Accepted by ``configure(format=...)``.
FORMATS: Final = ("auto", "json", "console")
#: How long the end of the process waits for a reader who has stopped reading, seconds.
CLOSE_SECONDS: Final = 2.0
#: Threshold that no event passes.
_SILENT: Final = -1
_STDERR: Final = 2
_ONLY_INT: Final = frozenset({int})


#: Takes the numbers of one line.
Write = Callable[..., None]


class _Log:
    """What one ``configure`` made."""

    def __init__(
        self, logger: "EventLogger", fd: int, detach: Callable[[], None], *, journal: bool, path: str | None
    ) -> None:
        self._logger = logger
        self._journal = journal
        self.pid = os.getpid()
        self.writer = LineWriter(fd, self._render_dropped, path)
        self.detach = detach

    def render(self, what: LogEvent, fields: Mapping[str, object], message: str, level: Level) -> bytes:
        """One line, with the priority that journald looks for if it is the reader."""
        line = self._logger.line(what, flatten(fields), message, level)
        return b"<%d>%b" % (SEVERITIES[level], line) if self._journal else line

    def series(self, what: LogEvent, fixed: Mapping[str, object], names: tuple[str, ...], level: Level) -> Write | None:
        """What writes events that differ only in ``names``; None if this form of the log cannot."""
        prefix = b"<%d>" % SEVERITIES[level] if self._journal else b""
        text = clean_text(what.message)
        return self._logger.series(what, flatten(fixed), names, text, level, self.writer.put, prefix)

    def _render_dropped(self, count: int) -> bytes:
        fields = {"hyperion.log.dropped": count}
        return self.render(LOG_DROPPED, fields, f"{count} log lines dropped", LOG_DROPPED.level)


_log: _Log | None = None
_threshold = _SILENT


def configure(
    service: str,
    *,
    format: str = "auto",
    level: str = "info",
    worker: str | None = None,
    fd: int = _STDERR,
    path: str | None = None,
) -> None:
    """Start logging to ``fd`` as ``service`` (and ``worker``); again: start anew. Raises ValueError for an unknown
    name.

    ``auto`` is ``console`` on a terminal and ``json`` elsewhere. ``level`` is the least severe that is written.
    ``path``: the file that ``fd`` leads to; when another file takes its name, that one is written to.
    """
    global _log, _threshold
    if format not in FORMATS or level not in SEVERITIES:
        raise ValueError(f"unknown log format or level: {format}, {level}")
    # Here and not above: structlog and logging cost 30 ms, which a command line that logs nothing does not pay.
    from hyperion.log.bridge import attach  # noqa: PLC0415
    from hyperion.log.chain import build  # noqa: PLC0415

    close()
    logger = build(service, worker, form=format, terminal=os.isatty(fd))
    _log = _Log(logger, fd, attach(_library_message), journal=_is_journal(fd), path=path)
    _threshold = SEVERITIES[level]


def event(
    what: LogEvent,
    fields: Mapping[str, object] | None = None,
    *,
    reason: str | None = None,
    message: str | None = None,
    level: Level | None = None,
) -> None:
    """Write one line about ``what``; never blocks, never raises for any value in ``fields``.

    ``fields`` has flat ECS names (``"source.ip"``), which come out nested; ``None`` values are left out. ``reason`` is
    one of our own words. Texts are shortened and made printable; objects that are not text, number or list show as the
    name of their type.
    """
    chosen = level or what.level
    if SEVERITIES[chosen] > _threshold or _log is None:
        return
    if reason is not None:
        fields = {"event.reason": reason, **(fields or {})}
    _log.writer.put(_log.render(what, fields or {}, clean_text(message or what.message), chosen))


class Series:
    """Events of one kind that differ only in some whole numbers: what they share is rendered once.

    ``names`` are the fields of these numbers. For what is written thousands of times a second: a line costs a third.
    """

    __slots__ = ("_fixed", "_log", "_names", "_what", "_writers")

    def __init__(self, what: LogEvent, fixed: Mapping[str, object], names: tuple[str, ...]) -> None:
        self._what = what
        self._fixed = fixed
        self._names = names
        self._log: _Log | None = None  # for which the writers were made
        self._writers: dict[str | None, Write] = {}

    def event(self, *values: int | None, reason: str | None = None) -> None:
        """As the function ``event``, with one value for each name. ``reason`` is one of few words."""
        if self._log is not _log:
            self._log = _log
            self._writers.clear()
        if self._log is None or not _ONLY_INT.issuperset(map(type, values)):
            self._event(values, reason)
            return
        writer = self._writers.get(reason)
        if writer is None:
            writer = self._writers[reason] = self._new_writer(self._log, reason)
        writer(*values)

    def _event(self, values: Numbers, reason: str | None) -> None:
        """The long way."""
        event(self._what, {**self._fixed, **dict(zip(self._names, values, strict=True))}, reason=reason)

    def _new_writer(self, to: _Log, reason: str | None) -> Write:
        level = self._what.level
        if SEVERITIES[level] > _threshold:
            return lambda *values: None
        fixed = self._fixed if reason is None else {"event.reason": reason, **self._fixed}
        return to.series(self._what, fixed, self._names, level) or (lambda *values: self._event(values, reason))


def enabled(level: Level) -> bool:
    """Whether an event of this level would be written: ask before collecting costly fields."""
    return SEVERITIES[level] <= _threshold


def flush(timeout: float = CLOSE_SECONDS) -> bool:
    """Wait until all lines are out, at most ``timeout`` seconds; whether they are."""
    return _log is None or _log.writer.flush(timeout)


def close(timeout: float = CLOSE_SECONDS) -> bool:
    """Write what is queued, at most ``timeout`` seconds long, and stop logging; whether all was written."""
    global _log, _threshold
    log, _log, _threshold = _log, None, _SILENT
    if log is None:
        return True
    log.detach()
    # In a forked child the parent's writer has no thread, and its lock may be held for ever.
    return log.pid != os.getpid() or log.writer.close(timeout)


def _library_message(name: str, text: str, level: Level, exception: BaseException | None) -> None:
    fields: dict[str, object] = {"log.logger": name}
    if exception is not None:
        fields.update(error_fields(exception))
    event(LIBRARY_MESSAGE, fields, message=text, level=level)


def _is_journal(fd: int) -> bool:
    """Whether ``fd`` leads to systemd's journal; the variable alone also reaches processes redirected since."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


atexit.register(close)
