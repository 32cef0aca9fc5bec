"""Writes lines to a file descriptor from a thread of its own, so that a reader who stops reading never stops the loop.

Knows bytes, a descriptor and how writing fails. Knows nothing of events. When the queue is full the newest line is
dropped and counted; once there is room again, one line reports how many. The thread lives as long as the process does
not fork.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: Lines waiting, at most: two seconds of a flood of 2,000 lines a second, longer than a journal takes to restart.
MAX_QUEUED_LINES: Final = 4_096
#: Bytes waiting, at most: what 40 client workers may cost together stays at 40 MiB even if nobody reads.
MAX_QUEUED_BYTES: Final = 1024 * 1024
#: Bytes per write: PIPE_BUF on Linux. A pipe takes such a write whole, so lines of processes that share it never mix.
MAX_WRITE_BYTES: Final = 4_096
#: Lines are gathered for so long before they are written, seconds. Every time the thread wakes it takes the interpreter
#: from the loop: measured, a wake-up for each line cost three times as much as the line.
GATHER_SECONDS: Final = 0.02
#: Pause before another attempt when a non-blocking descriptor is full, seconds.
RETRY_SECONDS: Final = 0.05
#: At most one report of dropped lines in this time, seconds, while more are being dropped.
REPORT_SECONDS: Final = 1.0
#: How often it is looked whether the file has another name by now, seconds.
FOLLOW_SECONDS: Final = 1.0

_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


class LineWriter:
    """``put`` never blocks. ``report`` renders the line about dropped ones and runs in the thread."""

    def __init__(self, fd: int, report: Callable[[int], bytes], path: str | None = None) -> None:
        """``path``: the file behind ``fd``. Once another file has that name (a log was rotated), ``fd`` leads there."""
        self._fd = fd
        self._path = path
        self._looked_at = time.monotonic()
        self._report = report
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped = 0
        self._reported_at = -REPORT_SECONDS
        self._torn = False
        self._busy = False
        self._hurried = 0  # callers that wait for everything to be out
        self._closing = False
        self._abandoned = threading.Event()
        # Re-entrant: a destructor that logs may run while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line (without line end) or count it as dropped."""
        with self._changed:
            full = len(self._lines) >= MAX_QUEUED_LINES or self._queued_bytes + len(line) > MAX_QUEUED_BYTES
            if full or self._closing:
                self._dropped += 1
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            if not self._busy:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written, at most ``timeout`` seconds; whether it is."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._lines and not self._busy, timeout)
            finally:
                self._hurried -= 1

    def close(self, timeout: float) -> bool:
        """Write what is queued, at most ``timeout`` seconds long, and end the thread; whether all was written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        self._abandoned.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (lines := self._next_lines()) and not self._abandoned.is_set():
            if self._write(b"\n".join(lines) + b"\n"):
                self._report_dropped()
            else:
                self._count_dropped(len(lines))

    def _next_lines(self) -> list[bytes]:
        """Wait for lines; as many as fit into one write. None at all means: closed."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._lines or self._closing)
            self._busy = True  # so that nobody wakes us while we gather
            self._changed.wait_for(lambda: self._closing or self._hurried or self._is_full(), GATHER_SECONDS)
            lines: list[bytes] = []
            room = MAX_WRITE_BYTES
            while self._lines and (not lines or len(self._lines[0]) < room):
                line = self._lines.popleft()
                room -= len(line) + 1
                self._queued_bytes -= len(line)
                lines.append(line)
            self._busy = bool(lines)
            return lines

    def _is_full(self) -> bool:
        """Enough for a write: waiting longer gathers nothing more."""
        return self._queued_bytes >= MAX_WRITE_BYTES

    def _write(self, data: bytes) -> bool:
        """Whether ``data`` went out. After a failure in the middle of a line the next write starts a new one."""
        self._follow()
        if self._torn:
            data = b"\n" + data
        sent = 0
        while sent < len(data):
            try:
                sent += os.write(self._fd, data[sent:])
            except BlockingIOError:
                if self._abandoned.wait(RETRY_SECONDS):
                    return False
            except OSError:  # nobody reads, disk full, closed: the program is worth more than its log
                self._torn = self._torn or sent > 0
                return False
        self._torn = False
        return True

    def _follow(self) -> None:
        """Whether the file still has its name is looked at once a second: no process need be told of a rotation."""
        if self._path is None or time.monotonic() - self._looked_at < FOLLOW_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            if _is_at(self._fd, self._path):
                return
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | _NOFOLLOW, 0o600)
        except OSError:  # as a service user we may not make it; what we have is still a file
            return
        os.dup2(fd, self._fd)
        os.close(fd)

    def _report_dropped(self) -> None:
        with self._changed:
            due = not self._lines or time.monotonic() - self._reported_at >= REPORT_SECONDS
            if not self._dropped or not due:
                return
            count, self._dropped = self._dropped, 0
        self._reported_at = time.monotonic()
        if not self._write(self._report(count) + b"\n"):
            self._count_dropped(count)

    def _count_dropped(self, count: int) -> None:
        with self._changed:
            self._dropped += count


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
