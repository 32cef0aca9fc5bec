"""Runs ``tests.helpers.supervise`` in a session of its own and watches it: log lines, processes, exit.

The session tells all its processes, orphans too, however they came to be.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: Seconds after which a test's patience is over; things take milliseconds.
PATIENCE = 20.0

Line = dict[str, Any]


class Supervised:
    """One running supervisor."""

    def __init__(self, what: str, settings: Path, options: list[str], environment: dict[str, str]) -> None:
        self.settings = settings
        self.lines: list[Line] = []
        self.raw: list[str] = []
        self._news = threading.Condition()
        # The fork server's socket lies in a directory that a killed supervisor cannot remove. A short name: a socket's
        # path has at most 107 bytes.
        self._temporary = tempfile.TemporaryDirectory(prefix="hyp")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.supervise", what, str(settings), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": self._temporary.name, **environment},
            start_new_session=True,
        )
        self.pid = self.process.pid
        self._readers = [threading.Thread(target=self._read, args=(stream,)) for stream in self._streams()]
        for reader in self._readers:
            reader.start()

    def _streams(self) -> list[Any]:
        return [self.process.stdout, self.process.stderr]

    def _read(self, stream: Any) -> None:
        for text in stream:
            with self._news:
                self.raw.append(text)
                if text.startswith(("{", "[")):
                    parsed = json.loads(text)
                    self.lines.append(parsed if isinstance(parsed, dict) else {"announced": parsed})
                self._news.notify_all()

    def wait_for(self, wanted: Callable[[Line], bool] | str, count: int = 1) -> list[Line]:
        """The first ``count`` lines that match: an event code, or a function that says so."""
        matches = (lambda line: code_of(line) == wanted) if isinstance(wanted, str) else wanted

        def found() -> list[Line]:
            return [line for line in self.lines if matches(line)]

        with self._news:
            done = self._news.wait_for(lambda: len(found()) >= count, PATIENCE)
        assert done, f"no {count} x {wanted} in:\n{''.join(self.raw)}"
        return found()[:count]

    def events(self, code: str) -> list[Line]:
        return [line for line in list(self.lines) if code_of(line) == code]

    def port(self) -> int:
        """Of the server, once it has started."""
        return int(self.wait_for("HYP0001N")[0]["destination"]["port"])

    def worker_pids(self, count: int) -> list[int]:
        """Of the first workers that became ready."""
        return [int(line["process"]["pid"]) for line in self.wait_for("HYP4001I", count)]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def rewrite(self, settings: dict[str, Any]) -> None:
        """New settings, and SIGHUP."""
        self.settings.write_text(json.dumps(settings), encoding="utf-8")
        self.send(signal.SIGHUP)

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def members(self) -> list[int]:
        """All processes of its session that are not zombies."""
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _session(pid) == self.pid]

    def clean_up(self) -> None:
        for pid in self.members():
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in self._streams():
            stream.close()
        self._temporary.cleanup()


def code_of(line: Line) -> str | None:
    event = line.get("event")
    code = event.get("code") if isinstance(event, dict) else None
    return code if isinstance(code, str) else None


def _session(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])


@contextmanager
def supervised(
    what: str,
    settings: Path,
    content: dict[str, Any] | None = None,
    *options: str,
    environment: dict[str, str] | None = None,
) -> Iterator[Supervised]:
    settings.write_text(json.dumps(content or {}), encoding="utf-8")
    program = Supervised(what, settings, list(options), environment or {})
    try:
        yield program
    finally:
        program.clean_up()


def open_pidfds(pids: list[int]) -> list[int]:
    return [os.pidfd_open(pid) for pid in pids]


def wait_until_ended(pidfds: list[int]) -> float:
    """Waits for processes that need not be our children; closes the descriptors; how long it took, seconds."""
    started = time.monotonic()
    try:
        for pidfd in pidfds:
            ready, _, _ = select.select([pidfd], [], [], PATIENCE)
            assert ready, "a process is still there"
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
    return time.monotonic() - started


def ask(port: int, host: str = "127.0.0.1") -> list[str]:
    """What a fake worker answers: its pid, its ports, its modules."""
    with socket.create_connection((host, port), PATIENCE) as connection, connection.makefile() as answer:
        return answer.readline().split(maxsplit=2)


def others(program: Supervised) -> list[int]:
    return [pid for pid in program.members() if pid != program.pid]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def descriptors(pid: int, kind: str) -> set[str]:
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith(kind)}


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
