"""A program that is started, watched by what it says, and stopped in order.

Everything it writes goes through one pipe into a bounded tail, read by a thread, so that a talkative program never
blocks and a failure can show its last lines. It gets a session of its own: Ctrl-C reaches only us, and we stop it.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

from bench import processes

#: Lines kept of what a program wrote: enough for forty forwards and a traceback.
TAIL_LINES = 1000

#: Of those, the ones that a failure shows in its traceback.
NOTED_LINES = 20

#: Bytes of output read at once.
READ_BYTES = 64 * 1024

#: Seconds a program may take to end after SIGTERM before it is killed and the caller is told.
STOP_TIMEOUT = 20.0

#: Seconds descendants may take to notice that their parent is gone.
REAP_TIMEOUT = 5.0

#: Seconds between two looks at something that sends no event: a port, a table of processes.
LOOK_INTERVAL = 0.02


class ChildError(Exception):
    """A program did not do what was expected; ``tail`` is the last it said."""

    def __init__(self, what: str, tail: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.tail = list(tail)
        if self.tail:  # for a traceback, which shows no attributes
            self.add_note("\n".join(self.tail[-NOTED_LINES:]))


class Child:
    """One running program. Raises ChildError when it cannot be started."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.killed: list[processes.Process] = []
        self._changed = threading.Condition()
        self._ended = False
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=descriptors,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise ChildError(f"{name} cannot be started: {error}") from error
        self._reader = threading.Thread(target=self._read, name=f"read-{name}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tail(self) -> list[str]:
        """The last lines it wrote, oldest first."""
        with self._changed:
            return list(self._lines)

    def wait_line(self, pattern: str, timeout: float) -> re.Match[str]:
        """The first line, past or to come, in which the regular expression is found.

        Raises ChildError when ``timeout`` seconds pass or the program ends first.
        """
        return self.wait_lines(pattern, 1, timeout)[0]

    def wait_lines(self, pattern: str, count: int, timeout: float) -> list[re.Match[str]]:
        """The first ``count`` lines that match; errors as ``wait_line``."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [match for line in self._lines if (match := wanted.search(line))]
                if len(found) >= count:
                    return found[:count]
                if self._ended:
                    raise ChildError(f"{self.name} ended before it was ready", self._lines)
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise ChildError(f"{self.name} did not say {pattern!r} within {timeout:g} s", self._lines)

    def wait_ended(self, timeout: float) -> bool:
        """Wait for the end; False if it still runs after ``timeout`` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, timeout: float = STOP_TIMEOUT, grace: float = REAP_TIMEOUT) -> int:
        """SIGTERM, then wait; what is left after ``timeout`` seconds is killed and listed in ``killed``.

        So is what it started and left behind, ``grace`` seconds after its own end.
        Returns the exit status; a negative one is the signal that ended it.
        """
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        if not self.wait_ended(timeout):
            self.killed.extend(processes.family(self.pid)[:1])
            self._process.kill()
        status = self._process.wait()
        self._end_session(grace)
        self._reader.join(REAP_TIMEOUT)
        return status

    def _end_session(self, grace: float) -> None:
        """Give descendants a moment to notice that their parent is gone, then kill those that did not."""
        deadline = time.monotonic() + grace
        while (left := processes.in_session(self.pid)) and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL)  # orphans are not ours to wait for: the kernel tells nobody but init
        for process in left:
            self.killed.append(process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            last = b""
            # Many lines at once: reading the log of what is measured shares its processors.
            while block := os.read(stream.fileno(), READ_BYTES):
                *lines, last = (last + block).split(b"\n")
                self._keep(lines)
            if last:
                self._keep([last])
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _keep(self, lines: list[bytes]) -> None:
        with self._changed:
            self._lines += [line.decode(errors="replace").rstrip() for line in lines[-TAIL_LINES:]]
            self._changed.notify_all()
