"""A program started by its command line, as a user starts it: its two outputs kept apart, its log read, its end seen.

Knows processes and JSON lines. Refuses to know what any program is for. Unlike ``bench.child`` it keeps every line and
loses none, because tests judge all of them.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from bench import processes
from bench.child import LOOK_INTERVAL

ROOT = Path(__file__).parents[2]

#: Seconds after which a test's patience is over; what is waited for takes tenths of a second.
PATIENCE = 30.0

#: Seconds that descendants may take to notice that their parent is gone.
GONE_TIMEOUT = 10.0

#: Lines shown of a program that did not do what was expected.
SHOWN_LINES = 30

Record = dict[str, Any]

T = TypeVar("T")


class Program:
    """One running program in a session of its own, so that all it starts can be found, orphans too."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        directory: Path = ROOT,
    ) -> None:
        """``user``: whom root runs it as."""
        self.name = name
        self.out: list[str] = []
        self.err: list[str] = []
        #: Lines of standard error that are JSON objects, and those that are not.
        self.records: list[Record] = []
        self.strange: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        streams = [(self._process.stdout, self._hear_out), (self._process.stderr, self._hear_err)]
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in streams]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_out(self, accept: Callable[[str], bool], count: int = 1, timeout: float = PATIENCE) -> list[str]:
        """The first ``count`` lines of standard output that are accepted."""
        return self._wait(lambda: [line for line in self.out if accept(line)], count, timeout)

    def wait_err(self, text: str, timeout: float = PATIENCE) -> str:
        """The first line of standard error with ``text`` in it."""
        return self._wait(lambda: [line for line in self.err if text in line], 1, timeout)[0]

    def events(self, action: str) -> list[Record]:
        """Log lines so far of this ``event.action`` or ``event.code``."""
        with self._news:
            return [record for record in self.records if action in (record["event"]["action"], record["event"]["code"])]

    def wait_events(self, action: str, count: int = 1, timeout: float = PATIENCE) -> list[Record]:
        """All events of this action, once there are ``count``."""
        return self._wait(lambda: self.events(action), count, timeout)

    def has_events(self, action: str, count: int, within: float) -> bool:
        """Whether there are so many by now, or soon: for who does something else in between."""
        with self._news:
            return self._news.wait_for(lambda: len(self.events(action)) >= count, within)

    def wait_for(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Until ``condition`` holds; asked again after each line."""
        self._wait(lambda: [True] if condition() else [], 1, timeout)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit status, once it has ended and nothing of its session is left, nor any line unread."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:g} s:\n{self.tail()}") from None
        self.wait_gone()
        return status

    def wait_gone(self) -> None:
        """No process of its session is left; those that do not go by themselves are killed and complained of."""
        left = self._wait_left()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert not left, f"{self.name} left {left}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """``number``, then as ``wait``. On a program that has ended already: its status."""
        if self.running:
            self.send(number)
        return self.wait()

    def end(self) -> None:
        """However the test went, nothing of it goes on."""
        for process in processes.in_session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def family(self) -> list[processes.Process]:
        """All living processes of its session."""
        return processes.in_session(self.pid)

    def tail(self) -> str:
        return "\n".join([*self.out[-SHOWN_LINES:], *self.err[-SHOWN_LINES:]])

    def _wait_left(self) -> list[processes.Process]:
        deadline = time.monotonic() + GONE_TIMEOUT
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL)  # orphans are not ours to wait for: the kernel tells nobody but init
        return left

    def _wait(self, found: Callable[[], list[T]], count: int, timeout: float) -> list[T]:
        with self._news:
            self._news.wait_for(lambda: len(found()) >= count or not self._reading(), timeout)
            result = found()
        assert len(result) >= count, f"{self.name}: {len(result)} of {count} in {timeout:g} s:\n{self.tail()}"
        return result

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def _read(self, stream: IO[str], hear: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    hear(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _hear_out(self, line: str) -> None:
        self.out.append(line)

    def _hear_err(self, line: str) -> None:
        self.err.append(line)
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and "event" in record:
            self.records.append(record)
        else:
            self.strange.append(line)
