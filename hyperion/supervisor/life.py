"""What is known of one child from its start to its end, and how that is put in words and in the log.

Refuses to know what follows from it: restarting is ``restart``'s business.
"""

from dataclasses import dataclass
from typing import NamedTuple

from hyperion import log
from hyperion.events import WORKER_CRASHED, WORKER_STARTED, WORKER_STOPPED
from hyperion.supervisor.signals import signal_name

#: What a reader of the log most often has to think of when nobody here sent the signal.
UNEXPECTED_KILL = "killed: perhaps out of memory"


class Facts(NamedTuple):
    """What an operator is told of one place in the crew.

    ``state``: ``starting`` (never ready yet), ``up``, ``restarting`` (it ended, and the next one is not ready). The
    process id is that of the child that runs, ``started_at`` (Unix seconds) when it became ready, ``reason`` why the
    one before it ended, ``heard_s`` how long ago it last said something.
    """

    state: str
    pid: int | None = None
    started_at: float | None = None
    restarts: int = 0
    reason: str | None = None
    heard_s: float | None = None


@dataclass(slots=True)
class Life:
    """One child. ``cause``: why we ended it, or what it said itself; ``sessions``: as of its last heartbeat."""

    name: str
    pid: int | None = None
    exit_code: int | None = None
    cause: str | None = None
    sessions: int = 0

    def reason(self) -> str:
        """Why it ended: our cause, the signal's name or the exit code."""
        if self.cause is not None:
            return self.cause
        if self.exit_code is None:
            return "exit code unknown"
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        name = signal_name(-self.exit_code)
        return UNEXPECTED_KILL if name == "SIGKILL" else name

    def log_ready(self) -> None:
        """It serves."""
        log.event(WORKER_STARTED, self._fields())

    def log_stopped(self) -> None:
        """It ended because it was told to."""
        log.event(WORKER_STOPPED, self._fields(), reason=self.reason())

    def log_crashed(self, restarts: int, *, given_up: bool) -> None:
        """It ended, and nobody here had told it to."""
        code = self.exit_code
        fields = self._fields() | {
            "hyperion.worker.signal": signal_name(-code) if code is not None and code < 0 else None,
            "hyperion.worker.restarts": restarts,
            "hyperion.worker.sessions_lost": self.sessions,
        }
        log.event(WORKER_CRASHED, fields, reason=self.reason(), level="critical" if given_up else "error")

    def _fields(self) -> dict[str, object]:
        return {"process.pid": self.pid, "process.exit_code": self.exit_code, "hyperion.worker.id": self.name}
